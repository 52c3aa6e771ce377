"""`curate bench`."""

from pathlib import Path
from typing import Any

import click

from curate.commands.options import load_data, reading, running, say, talking
from curate.terminal import bench_lines, progress_for


@click.command()
@click.argument("data")
@click.option("--scorer", "scorers", multiple=True, required=True, metavar="[AS=]NAME[:opt=v,…]", help="May be given many times.")
@click.option("--hardness", multiple=True, metavar="KIND[:p=SHARE]", help="May be given many times; default all that fit the data.")
@click.option("--seeds", type=int, default=3, show_default=True, metavar="K", help="Runs on each changed copy.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is planted, and the first run's.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The store to make or go on with.")
@click.option("--encoder", metavar="E", help="For scorers that read embeddings: `curate list encoders`; default by the kind of data.")
@running
@click.option("--device", default="auto", show_default=True)
@click.option("--overwrite", is_flag=True, help="Start anew.")
@reading
@talking
def bench(data: str, scorers: tuple[str, ...], as_json: bool, quiet: bool, **given: Any) -> None:
    """Plant hard rows of known kinds in copies of DATA, and say which scorer finds which.

    curate bench train.parquet --scorer aum --scorer el2n --scorer entropy --hardness uniform --hardness zoom --out bench
    """
    from curate.stages import benching

    made = benching.bench(load_data(data, given), scorers, progress=progress_for(quiet), **given)
    summary = made.summary()
    say(as_json, {"out": str(made.path), **summary}, bench_lines(summary, str(made.path)))
