"""`curate lds` and `curate influence`."""

from pathlib import Path
from typing import Any

import click

from curate.commands.options import load_data, load_target, reading, say, share, talking, training
from curate.terminal import influence_lines, lds_lines, progress_for


@click.command()
@click.argument("data")
@click.option("--target", metavar="DATA", required=True, help="The target that the influence is on.")
@click.option("--target-input", metavar="C[,C2]", help="Its input column.")
@click.option("--target-split", metavar="S", help="Its split; default train, or the only one.")
@click.option("--scores", type=click.Path(path_type=Path), metavar="DIR", help="A score store that keeps influence (trak:pairs=true).")
@click.option("--by", multiple=True, metavar="SCORER", help="Which of its scores; default all that keep influence.")
@click.option(
    "--table", "tables", multiple=True, type=click.Path(path_type=Path), metavar="FILE", help="Influence by another tool: npy, parquet, …"
)
@click.option("--subsets", type=int, default=50, show_default=True, metavar="N", help="Subsets to train on.")
@click.option("--share", "share_", default="50%", show_default=True, help="How many of the rows each of them holds.")
@click.option("--repeats", type=int, default=1, show_default=True, metavar="K", help="Trainings a subset; 2 or more give a noise ceiling.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The store to make or go on with.")
@training
@click.option("--device", default="auto", show_default=True)
@click.option("--overwrite", is_flag=True, help="Start anew.")
@reading
@talking
def lds(data: str, as_json: bool, quiet: bool, **given: Any) -> None:
    """Say how well tables of influence foresee retraining: the linear datamodelling score.

    curate lds train.parquet --target test.parquet --scores scores --subsets 50 --out lds
    """
    from curate.stages import attributing

    loaded = load_data(data, given)
    given["target"] = load_target(given)
    given["share"] = share(given.pop("share_"), "--share")
    found = attributing.evaluate(loaded, progress=progress_for(quiet), **given)
    say(as_json, {"out": str(given["out"]), **found}, lds_lines(found))


@click.command()
@click.argument("source", metavar="DIR|FILE")
@click.option("--by", metavar="SCORER", help="Which score of a store; default the only one that keeps influence.")
@click.option("--top", type=int, default=5, show_default=True, metavar="K", help="How many rows a target.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write all targets' rows: a .parquet, .arrow or .csv file.")
@talking
def influence(source: str, as_json: bool, quiet: bool, **given: Any) -> None:
    """Name each target row's strongest proponents and opponents among the rows.

    DIR is a score store with pairs kept (trak:pairs=true), FILE a table of another tool: .npy (rows, targets), or parquet, arrow or csv
    with a list column influence, or with the columns row, target and score.

    curate influence scores --by trak --top 5 -o proponents.parquet
    """
    from curate.stages import attributing

    found = attributing.influence(source, **given)
    say(as_json, found, influence_lines(found, given["out"]))
