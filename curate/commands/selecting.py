"""`curate select`."""

from pathlib import Path
from typing import Any

import click

from curate.commands.options import command_line, load_data, reading, say, talking
from curate.terminal import progress_for, selection_lines, selection_plan_lines


@click.command()
@click.argument("data")
@click.option("--sampler", metavar="NAME[:opt=v,…]", help="How to pick; `curate list samplers`. Without one, --where alone chooses.")
@click.option("--scores", metavar="DIR|FILE", help="A score store, or a parquet or csv file with `row` or the id column.")
@click.option(
    "--embeddings",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Vectors that `curate embed` made: for samplers that read them, and for the report.",
)
@click.option(
    "--by", metavar="SCORER[.COLUMN]|column:NAME|EXPRESSION", help='Such as aum, datamap.variability, "0.7*rank(el2n)+0.3*rank(aum)".'
)
@click.option("--keep", type=click.Choice(["high", "low", "middle"]), help="The end to keep; default the scorer's own.")
@click.option("--budget", metavar="30%|5000", help="How many rows to keep; a share is of all rows of DATA.")
@click.option("--where", metavar="EXPR", help='Leave out rows first: "aum > 0 and length(text) < 500".')
@click.option("--within", metavar="SELECTION", type=click.Path(path_type=Path), help="Choose only among another selection's rows.")
@click.option(
    "--per-class", "per_class", is_flag=False, flag_value="proportional", default=None, type=click.Choice(["proportional", "equal"])
)
@click.option("--narrow", metavar="50%", help="Let only this share of the rows, the best --by, through to the sampler.")
@click.option(
    "--narrow-with", metavar="SAMPLER", default="top", show_default=True, help="How --narrow takes them; gumbel: better ones are likelier."
)
@click.option(
    "--nan", type=click.Choice(["drop", "last", "error"]), help="Rows without a score; default: ours are dropped, others' an error."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--rows-only", is_flag=True, help="Write no data/, only which rows.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The hub-ready folder to write.")
@click.option("--overwrite", is_flag=True, help="Start anew.")
@click.option("--dry-run", is_flag=True, help="Only say what it would take, in time, memory and disk; of a ranking, what would be kept.")
@reading
@talking
def select(data: str, as_json: bool, quiet: bool, dry_run: bool, **given: Any) -> None:
    """Choose rows of DATA under a budget and write them as a hub-ready dataset.

    curate select train.parquet --scores scores --sampler top --by aum --budget 80% --out subset
    """
    from curate.stages import planning, selecting

    given["per_class"] = given["per_class"] or False
    loaded = load_data(data, given)
    if dry_run:
        given.pop("overwrite")
        plan = planning.plan(loaded, progress=progress_for(quiet), **given)
        say(as_json, plan, selection_plan_lines(plan))
        return
    chosen = selecting.select(loaded, command=command_line(), progress=progress_for(quiet), **given)
    where = str(chosen.path) if chosen.path else ""
    say(as_json, {"out": where, "report": dict(chosen.report), "job": dict(chosen.job)}, selection_lines(chosen.report, where))
