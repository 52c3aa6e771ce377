"""`curate compare`."""

from pathlib import Path
from typing import Any

import click

from curate.commands.options import load_data, reading, say, talking, training
from curate.terminal import comparison_lines, progress_for


@click.command()
@click.argument("data")
@click.argument("selections", metavar="SELECTION…", nargs=-1, required=True)
@click.option("--test", metavar="DATA", help="Rows to test on, with DATA's columns; default its test split, else a fifth taken out of it.")
@click.option("--seeds", type=int, default=5, show_default=True, metavar="K", help="Train everything K times; 3 or more are advised.")
@click.option("--seed", type=int, default=0, show_default=True, help="The first of them.")
@click.option("--budget", type=click.Choice(["steps", "epochs"]), help="What all arms have in common; default steps.")
@click.option("--steps", type=int, metavar="N", help="Steps of every arm; default those of --epochs epochs on everything.")
@click.option("--train", metavar="FILE.py:FUNCTION", help="Train by your own train(dataset, seed) -> metrics.")
@click.option("--scores", metavar="DIR", type=click.Path(path_type=Path), help="Charge what this store of scores cost.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The store to make or go on with.")
@training
@click.option("--device", default="auto", show_default=True)
@click.option("--workers", type=int, metavar="N", help="Processes that train; default one, or one a core where the training is long.")
@click.option("--overwrite", is_flag=True, help="Start anew.")
@reading
@talking
def compare(data: str, selections: tuple[str, ...], as_json: bool, quiet: bool, **given: Any) -> None:
    """Train on selections, on as many random rows and on everything, and say whether the selections paid.

    SELECTION is a folder that `curate select` wrote, or a sampler for training loops, such as rs2:share=0.3 or infobatch.

    curate compare train.parquet subset --test test.parquet --seeds 5 --out comparison
    """
    from curate.stages import comparing

    loaded = load_data(data, given)
    made = comparing.compare(loaded, selections, progress=progress_for(quiet), **given)
    summary = made.summary()
    say(as_json, {"out": str(made.path), **summary}, comparison_lines(summary, str(made.path)))
