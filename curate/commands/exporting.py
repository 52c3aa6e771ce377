"""`curate export`."""

from pathlib import Path
from typing import Any

import click

from curate.commands.options import load_data, reading, say, talking
from curate.terminal import progress_for


@click.command()
@click.argument("selection", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--format", "format_", default="parquet", show_default=True, metavar="parquet|arrow|jsonl|ids")
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option(
    "--data", metavar="DATA", help="The source: where the selection was written with --rows-only, for --decisions, or for all of its rows."
)
@click.option(
    "--decisions",
    metavar="review.csv",
    type=click.Path(path_type=Path),
    help="Drop rows and put labels right as decided on a report's page.",
)
@click.option("--with-scores", "scores", metavar="DIR", type=click.Path(path_type=Path), help="Add this store's scores as columns.")
@click.option("--push-to-hub", metavar="ORG/NAME", help="Upload the folder afterwards; the token comes from HF_TOKEN or `hf auth login`.")
@click.option("--overwrite", is_flag=True, help="Start anew.")
@reading
@talking
def export(selection: Path | None, format_: str, data: str | None, as_json: bool, quiet: bool, **given: Any) -> None:
    """Convert a selection to parquet, arrow (save_to_disk), jsonl or ids; without DIR, all rows of --data.

    curate export subset --format jsonl --out subset-jsonl

    curate export --data train.parquet --decisions review.csv --out train-reviewed
    """
    from curate.stages import exporting

    loaded = load_data(data, given) if data is not None else load_data(None, given)
    folder = exporting.export(selection, format=format_, data=loaded, progress=progress_for(quiet), **given)
    pushed = f"\npushed to {given['push_to_hub']}" if given["push_to_hub"] else ""
    say(as_json, {"out": str(folder), "format": format_, "pushed": given["push_to_hub"]}, f"wrote {folder}{pushed}")
