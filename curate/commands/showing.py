"""`curate show` and `curate verify`."""

import sys
from pathlib import Path

import click

from curate.commands.options import say, talking
from curate.terminal import audit_lines, bench_lines, comparison_lines, distilled_lines, embeddings_line, score_lines, selection_lines


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@talking
def show(store: Path, as_json: bool, quiet: bool) -> None:
    """Say what a store holds."""
    from curate.stages import showing

    about = showing.describe(store)
    if about["kind"] == "selection":
        say(as_json, about, selection_lines(about["report"], str(store)))
    elif about["kind"] == "embeddings":
        say(as_json, about, embeddings_line(str(store), about["embeddings"]))
    elif about["kind"] == "audit":
        say(as_json, about, audit_lines(about["report"], str(store / "report.html")))
    elif about["kind"] == "distilled":
        say(as_json, about, distilled_lines(about["report"], str(store)))
    elif about["kind"] == "comparison":
        say(as_json, about, comparison_lines(about["report"], str(store)))
    elif about["kind"] == "bench":
        say(as_json, about, bench_lines(about["report"], str(store)))
    elif "runs" in about:
        say(as_json, about, score_lines(about, None))
    else:
        files = ", ".join(f"{count:,} files of {name}" for name, count in about["files"].items()) or "no file yet"
        say(as_json, about, f"{store}: {about['kind']}, {files}")


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@talking
def verify(store: Path, as_json: bool, quiet: bool) -> None:
    """Check every shard against its checksum; exit 3 where one is damaged."""
    from curate.stages import showing

    files, faults = showing.verify(store)
    lines = [f"{fault['file']}: {fault['problem']}" for fault in faults]
    verdict = (
        f"{files} files, all whole" if not faults else f"{files} files, {len(faults)} damaged; the command that made the store mends them"
    )
    say(as_json, {"files": files, "faults": faults}, "\n".join([*lines, verdict]))
    if faults:
        sys.exit(3)
