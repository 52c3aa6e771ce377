"""`curate advise`."""

from pathlib import Path

import click

from curate.advice import advice_lines
from curate.commands.options import say, talking


@click.command()
@click.argument("stores", metavar="DIR…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--steps", type=int, metavar="N", help="Your compute, in steps of the comparison's batch size; default the most it made.")
@click.option("--epochs", type=float, metavar="E", help="Your compute, in epochs of all rows.")
@click.option(
    "--floor", type=float, metavar="R", help="The error that no data would mend; fitted by default, where there are points enough."
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A picture: advice.png or advice.svg")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@talking
def advise(
    stores: tuple[Path, ...],
    steps: int | None,
    epochs: float | None,
    floor: float | None,
    out: Path | None,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say how many rows to keep at your compute, from comparisons of several sizes.

    DIR is what `curate compare` wrote; several must be of the same data, model and test set, and differ in --steps.

    curate advise comparison longer-comparison --epochs 20 -o advice.png
    """
    from curate.stages.advising import advise as run

    found = run(stores, steps=steps, epochs=epochs, floor=floor, out=out, seed=seed)
    say(as_json, {"out": None if out is None else str(out), **found}, advice_lines(found, out))
