"""`curate audit`."""

import shlex
from pathlib import Path
from typing import Any

import click

from curate.commands.options import load_data, reading, reading_options, say, talking
from curate.terminal import audit_lines, progress_for


@click.command()
@click.argument("data")
@click.option("--test", metavar="DATA", help="A test set, whose rows must not be among these; default the source's own.")
@click.option("--encoder", metavar="E", help="`curate list encoders`; default by the kind of data.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder for page, findings, vectors and scores.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="Where an encoder's model runs.")
@click.option("--overwrite", is_flag=True, help="Start anew.")
@reading
@talking
def audit(data: str, test: str | None, as_json: bool, quiet: bool, **given: Any) -> None:
    """Check DATA for everything that needs no training: copies, junk, outliers, wrong labels, leaks.

    curate audit train.parquet --test test.parquet --out audit
    """
    from curate.stages import auditing

    loaded = load_data(data, given)
    source = shlex.join([data, *reading_options()])
    found = auditing.audit(loaded, test=test, source=source, progress=progress_for(quiet), **given)
    page = given["out"] / auditing.PAGE
    say(as_json, {"out": str(given["out"]), "page": str(page), **found.as_json()}, audit_lines(found.as_json(), str(page)))
