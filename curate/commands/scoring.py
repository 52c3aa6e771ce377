"""`curate score`."""

import shlex
from pathlib import Path
from typing import Any

import click

from curate.commands.options import load_data, load_target, reading, reading_options, running, say, share, talking
from curate.terminal import progress_for, score_lines


@click.command()
@click.argument("data")
@click.option(
    "--scorer", "scorers", multiple=True, required=True, metavar="[AS=]NAME[:opt=v,…]", help="May be given many times; all share one run."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The store to make or go on with.")
@click.option("--run", "run_", type=click.Path(path_type=Path), help="Reuse the training run in this store or recording.")
@click.option(
    "--embeddings", type=click.Path(path_type=Path), metavar="DIR", help="Vectors that `curate embed` made, for knn_shapley and the like."
)
@click.option("--target", metavar="DATA", help="The set that dsir, contamination and the like compare rows with.")
@click.option("--target-input", metavar="C[,C2]", help="Its input column.")
@click.option("--target-label", metavar="C", help="Its label column, where that says which task a row is of.")
@click.option("--target-split", metavar="S", help="Its split; default train, or the only one.")
@click.option(
    "--target-embeddings", type=click.Path(path_type=Path), metavar="DIR", help="Its vectors; else it is embedded as the rows were."
)
@click.option("--from", "from_store", type=click.Path(path_type=Path), help="Take row-local scores of unchanged rows from this store.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--seeds", type=int, metavar="K", help="Train K runs, seeds S … S+K-1, and join their scores; default 1.")
@running
@click.option("--max-failures", default="1%", show_default=True, help="How many rows may fail before the job stops with exit 5.")
@click.option("--max-requests", type=int, metavar="N", help="At most so many requests to a server that a scorer asks.")
@click.option("--shard-rows", type=int, metavar="N", help="Rows a shard; default 65,536 (more for very long sets).")
@click.option("--workers", type=int, default=1, show_default=True, help="Processes that score shards.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Where shards are scored.")
@click.option("--ray-address", metavar="HOST:PORT|auto", help="The Ray cluster to use; default one of this machine.")
@click.option("--worker-gpus", type=float, default=0.0, show_default=True, metavar="G", help="GPUs, or a share of one, a Ray worker takes.")
@click.option(
    "--shard", metavar="I/N|auto", help="Do the I-th of N parts; auto: of a Slurm array or torchrun. Without it parts are joined."
)
@click.option("--device", default="auto", show_default=True)
@click.option("--overwrite", is_flag=True, help="Start anew.")
@click.option("--dry-run", is_flag=True, help="Only say what it would do, with time, memory and disk.")
@reading
@talking
def score(data: str, scorers: tuple[str, ...], as_json: bool, quiet: bool, dry_run: bool, **given: Any) -> None:
    """Score every row of DATA; all scorers share one training run.

    curate score train.parquet --scorer aum --scorer el2n --out scores
    """
    from curate.stages import asking, scoring

    given["run"] = given.pop("run_")
    given["max_failures"] = share(given["max_failures"])
    loaded = load_data(data, given)
    given["target"] = load_target(given)
    if dry_run:
        plan = scoring.plan(loaded, scorers, **given)
        say(as_json, plan, plan_lines(plan))
        return
    scores = scoring.score(loaded, scorers, progress=progress_for(quiet), **given)
    from curate.stages import showing

    about = showing.describe(scores.path)
    if given["shard"] is not None:
        said = f"part {given['shard']} is done; the same command without --shard joins the parts, and does what is missing"
        say(as_json, about, f"{scores.path}: {said}")
        return
    names = [one.name for one in asking.ask(scorers)]
    source = shlex.join([data, *reading_options()])
    copies = [name for name in names if "is_duplicate" in scores.columns(name)]
    ranks = [name for name in names if name not in copies]
    by = f"{ranks[0]}.score" if ranks and ranks[0] in loaded.schema else ranks[0] if ranks else ""
    pick = f"--by {by} --sampler top --budget 90%" if ranks else f'--where "not {copies[0]}.is_duplicate"'
    if ranks and "similarity" in scores.columns(ranks[0]):  # to be chosen from by turns
        pick = f"--sampler rds{'' if ranks[0] == 'rds' else f':scores={ranks[0]}'} --budget 10%"
    follow = f"\n\nnext: curate select {source} --scores {shlex.quote(str(scores.path))} {pick} --out subset"
    say(as_json, about, score_lines(about, names) + follow)


def plan_lines(plan: dict[str, Any]) -> str:
    seconds = plan["seconds"]
    time = f"about {seconds / 60:,.0f} min" if seconds > 120 else f"about {max(1, seconds):,.0f} s"
    lines = [f"{plan['rows']:,} rows, {plan['modality']} data, label {plan['label'] or 'none'}"]
    if plan["model"]:
        lines.append(f"trains {plan['model']} for {plan['epochs']} epochs, seeds {', '.join(map(str, plan['seeds']))}, on {plan['device']}")
    lines += [f"scores {', '.join(plan['scorers'])}"]
    if "requests" in plan:
        lines.append(f"sends {plan['requests']:,} requests of about {plan['request_tokens']:,} tokens in all, less those answered already")
    lines += [f"time {time}, memory about {plan['memory'] / 1e9:.2f} GB, disk about {plan['disk'] / 1e9:.2f} GB (nothing was done)"]
    return "\n".join(lines)
