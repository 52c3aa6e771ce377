"""`curate report`."""

from pathlib import Path
from typing import Any

import click

from curate.commands.options import load_data, reading, say, talking
from curate.terminal import progress_for


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="report.html")
@click.option("--data", metavar="DATA", help="The source of the rows, whose images or texts are then shown.")
@click.option("--scores", metavar="DIR", type=click.Path(path_type=Path), help="A store of scores to add to a selection's page.")
@click.option("--selection", metavar="DIR", type=click.Path(path_type=Path), help="A selection to add.")
@click.option("--comparison", metavar="DIR", type=click.Path(path_type=Path), help="A comparison to add.")
@click.option("--issues", metavar="FILE.csv", type=click.Path(path_type=Path), help="Also write the ranked list of doubted labels.")
@reading
@talking
def report(store: Path, out: Path, data: str | None, as_json: bool, quiet: bool, **given: Any) -> None:
    """Write one page about scores, a selection, a comparison or a distilled set: a map, rows to look at, suspect labels, curves.

    curate report scores --data train.parquet -o report.html
    """
    from curate.stages import reporting

    loaded = load_data(data, given)
    page = reporting.report(store, out, data=loaded, progress=progress_for(quiet), **given)
    say(as_json, {"out": str(page), "bytes": page.stat().st_size}, f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB)")
