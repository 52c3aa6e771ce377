"""`curate map`."""

from pathlib import Path

import click

from curate.commands.options import say, talking


@click.command("map")
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="map.png or map.svg")
@talking
def map_(store: Path, out: Path, as_json: bool, quiet: bool) -> None:
    """Draw the data map of a score store: confidence against variability."""
    from curate.stages.mapping import draw_map

    counts = draw_map(store, out)
    named = ", ".join(f"{count:,} {region}" for region, count in counts.items() if region not in ("rows", "drawn"))
    say(as_json, {"out": str(out), **counts}, f"wrote {out}: {counts['rows']:,} rows, {named}")
