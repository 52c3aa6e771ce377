"""`curate embed`."""

import shlex
from pathlib import Path
from typing import Any

import click

from curate.commands.options import load_data, reading, reading_options, say, share, talking
from curate.terminal import embeddings_line, progress_for


@click.command()
@click.argument("data")
@click.option("--encoder", metavar="E", help="`curate list encoders`; default by the kind of data.")
@click.option("--dimensions", type=int, metavar="D", help="Numbers a vector, at most; default 128, or the model's own.")
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The store to make or go on with.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="Where a model runs.")
@click.option("--max-failures", default="1%", show_default=True, help="How many rows may fail before the job ends with exit 5.")
@click.option("--shard-rows", type=int, metavar="N", help="Rows a shard; default 65,536 (more for very long sets).")
@click.option("--overwrite", is_flag=True, help="Start anew.")
@reading
@talking
def embed(data: str, as_json: bool, quiet: bool, **given: Any) -> None:
    """Give every row of DATA a vector, for samplers that choose by where rows lie.

    curate embed train.parquet --out embeddings
    """
    from curate.stages import embedding

    given["max_failures"] = share(given["max_failures"])
    made = embedding.embed(load_data(data, given), progress=progress_for(quiet), **given)
    n, d = made.matrix.shape
    about = {"rows": n, "of": n, "dimensions": d, **made.store.job, "failed": made.failed}
    source = shlex.join([data, *reading_options()])
    follow = f"next: curate select {source} --embeddings {shlex.quote(str(made.path))} --sampler k_center --budget 10% --out subset"
    say(as_json, {"out": str(made.path), **about}, f"{embeddings_line(str(made.path), about)}\n\n{follow}")
