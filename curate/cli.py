"""The command line: parses, calls a stage, prints. One line on stderr and a documented exit code for every mistake."""

import json
import os
import shlex
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from curate.errors import CurateError, OptionError, did_you_mean
from curate.terminal import columns, comparison_lines, progress_for

Command = Callable[..., Any]


class Suggesting(click.Group):
    """A group that says which command was meant."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f'No command "{args[0]}".{did_you_mean(args[0], self.commands)} There are: {", ".join(self.commands)}.')
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Suggesting, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="curatekit", prog_name="curate")
def cli() -> None:
    """Tells you which rows of a dataset are worth training on.

    DATA is a parquet, csv, jsonl or arrow file or glob, a save_to_disk folder, an image folder, a hub name (org/name[:config][@revision]),
    or a bundled sample (sample:digits). The same command, run again, goes on where it stopped.

    Exit codes: 0 done, 1 unexpected, 2 wrong usage, 3 bad input, 4 a missing extra, 5 too many rows failed, 6 the out folder holds another
    job, 7 does not fit, 130/143 interrupted (run the same command again).
    """


def options(*decorators: Command) -> Callable[[Command], Command]:
    """Several options as one decorator, in the order given."""

    def wrap(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return wrap


TALK = (
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
    click.option("--quiet", is_flag=True, help="No progress and no notes."),
    click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."),
)
talking = options(*TALK)
reading = options(
    click.option("--input", "input_", metavar="C[,C2]", help="The input column; two texts are a pair. Found by itself where it is plain."),
    click.option("--label", metavar="C", help="The label column."),
    click.option("--id", "id_", metavar="C", help="A column of your own ids, which travels along."),
    click.option("--split", metavar="S", help="The split to use; default train."),
    click.option("--limit", type=int, metavar="N", help="Only the first N rows."),
)
training = options(
    click.option(
        "--model", metavar="M", help="The proxy to train: convnet, resnet18, text_bag, mlp, timm:NAME, hf:NAME-OR-PATH, FILE.py:FUNCTION."
    ),
    click.option("--epochs", type=int, metavar="E", help="Epochs of the run; default 8."),
    click.option("--batch-size", type=int, metavar="B"),
    click.option("--optimizer", type=click.Choice(["sgd", "adamw"])),
    click.option("--lr", type=float, metavar="R", help="Learning rate."),
    click.option("--momentum", type=float),
    click.option("--weight-decay", type=float),
    click.option(
        "--schedule", type=click.Choice(["constant", "cosine", "onecycle"]), help="Default constant (AUM wants no drop); compare: onecycle."
    ),
    click.option("--augment", type=click.Choice(["auto", "none", "crop", "flip_crop"]), help="For images; auto flips only colour images."),
    click.option("--image-size", type=int, metavar="PIXELS"),
    click.option("--precision", type=click.Choice(["fp32", "bf16"])),
)
running = options(
    training,
    click.option("--checkpoints", type=click.Choice(["all", "last", "none"]), help="Which epochs' weights to keep; default all."),
)


@cli.command()
@click.argument("data")
@click.option(
    "--scorer", "scorers", multiple=True, required=True, metavar="[AS=]NAME[:opt=v,…]", help="May be given many times; all share one run."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The store to make or go on with.")
@click.option("--run", "run_", type=click.Path(path_type=Path), help="Reuse the training run in this store or recording.")
@click.option("--from", "from_store", type=click.Path(path_type=Path), help="Take row-local scores of unchanged rows from this store.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--seeds", type=int, metavar="K", help="Train K runs, seeds S … S+K-1, and join their scores; default 1.")
@running
@click.option("--max-failures", default="1%", show_default=True, help="How many rows may fail before the job stops with exit 5.")
@click.option("--shard-rows", type=int, metavar="N", help="Rows a shard; default 65,536 (more for very long sets).")
@click.option("--workers", type=int, default=1, show_default=True, help="Processes that score shards.")
@click.option("--device", default="auto", show_default=True)
@click.option("--overwrite", is_flag=True, help="Start anew.")
@click.option("--dry-run", is_flag=True, help="Only say what it would do, with time, memory and disk.")
@reading
@talking
def score(data: str, scorers: tuple[str, ...], as_json: bool, quiet: bool, dry_run: bool, **given: Any) -> None:
    """Score every row of DATA; all scorers share one training run.

    curate score train.parquet --scorer aum --scorer el2n --out scores
    """
    from curate.stages import scoring

    given["run"] = given.pop("run_")
    given["max_failures"] = _share(given["max_failures"])
    loaded = _load(data, given)
    if dry_run:
        plan = scoring.plan(loaded, scorers, **given)
        _say(as_json, plan, _plan_lines(plan))
        return
    scores = scoring.score(loaded, scorers, progress=progress_for(quiet), **given)
    from curate.stages import showing

    about = showing.describe(scores.path)
    names = [one.name for one in scoring.ask(scorers)]
    source = shlex.join([data, *_reading_options()])
    follow = f"\n\nnext: curate select {source} --scores {scores.path} --by {names[0]} --sampler top --budget 90% --out subset"
    _say(as_json, about, _score_lines(about, names) + follow)


@cli.command()
@click.argument("data")
@click.option("--sampler", metavar="NAME[:opt=v,…]", help="How to pick; `curate list samplers`. Without one, --where alone chooses.")
@click.option("--scores", metavar="DIR|FILE", help="A score store, or a parquet or csv file with `row` or the id column.")
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
@click.option(
    "--nan", type=click.Choice(["drop", "last", "error"]), help="Rows without a score; default: ours are dropped, others' an error."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--rows-only", is_flag=True, help="Write no data/, only which rows.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The hub-ready folder to write.")
@click.option("--overwrite", is_flag=True, help="Start anew.")
@click.option("--dry-run", is_flag=True, help="Only say what would be kept.")
@reading
@talking
def select(data: str, as_json: bool, quiet: bool, dry_run: bool, **given: Any) -> None:
    """Choose rows of DATA under a budget and write them as a hub-ready dataset.

    curate select train.parquet --scores scores --sampler top --by aum --budget 80% --out subset
    """
    from curate.stages import selecting

    given["per_class"] = given["per_class"] or False
    if dry_run:
        given["out"] = None
    loaded = _load(data, given)
    chosen = selecting.select(loaded, command=_command_line(), progress=progress_for(quiet), **given)
    where = str(chosen.path) if chosen.path else ""
    _say(as_json, {"out": where, "report": dict(chosen.report), "job": dict(chosen.job)}, _selection_lines(chosen.report, where))


@cli.command()
@click.argument("selection", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--format", "format_", default="parquet", show_default=True, metavar="parquet|arrow|jsonl|ids")
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--data", metavar="DATA", help="The source, where the selection was written with --rows-only.")
@click.option("--with-scores", "scores", metavar="DIR", type=click.Path(path_type=Path), help="Add this store's scores as columns.")
@click.option("--push-to-hub", metavar="ORG/NAME", help="Upload the folder afterwards; the token comes from HF_TOKEN or `hf auth login`.")
@click.option("--overwrite", is_flag=True, help="Start anew.")
@reading
@talking
def export(selection: Path, format_: str, data: str | None, as_json: bool, quiet: bool, **given: Any) -> None:
    """Convert a selection to parquet, arrow (save_to_disk), jsonl or ids.

    curate export subset --format jsonl --out subset-jsonl
    """
    from curate.stages import exporting

    loaded = _load(data, given) if data is not None else _load(None, given)
    folder = exporting.export(selection, format=format_, data=loaded, progress=progress_for(quiet), **given)
    pushed = f"\npushed to {given['push_to_hub']}" if given["push_to_hub"] else ""
    _say(as_json, {"out": str(folder), "format": format_, "pushed": given["push_to_hub"]}, f"wrote {folder}{pushed}")


@cli.command()
@click.argument("data")
@click.argument("selections", metavar="SELECTION…", nargs=-1, required=True, type=click.Path(path_type=Path))
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
@click.option("--overwrite", is_flag=True, help="Start anew.")
@reading
@talking
def compare(data: str, selections: tuple[Path, ...], as_json: bool, quiet: bool, **given: Any) -> None:
    """Train on selections, on as many random rows and on everything, and say whether the selections paid.

    curate compare train.parquet subset --test test.parquet --seeds 5 --out comparison
    """
    from curate.stages import comparing

    loaded = _load(data, given)
    made = comparing.compare(loaded, selections, progress=progress_for(quiet), **given)
    summary = made.summary()
    _say(as_json, {"out": str(made.path), **summary}, comparison_lines(summary, str(made.path)))


@cli.command("list")
@click.argument("kind", required=False, metavar="[scorers|samplers|models|samples]")
@talking
def list_(kind: str | None, as_json: bool, quiet: bool) -> None:
    """List the methods, models and bundled samples."""
    from curate.stages.listing import listing

    found = listing(kind)
    blocks = []
    for name, entries in found.items():
        short = [textwrap.shorten(e["about"], 100, placeholder=" …") for e in entries]
        rows = [[e["name"], *([e["keep"]] if name == "scorers" else []), about] for e, about in zip(entries, short, strict=True)]
        blocks.append(columns(rows, [name, *(["keep"] if name == "scorers" else []), ""]))
    _say(as_json, found, "\n\n".join(blocks))


@cli.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@talking
def show(store: Path, as_json: bool, quiet: bool) -> None:
    """Say what a store holds."""
    from curate.stages import showing

    about = showing.describe(store)
    if about["kind"] == "selection":
        _say(as_json, about, _selection_lines(about["report"], str(store)))
    elif about["kind"] == "comparison":
        _say(as_json, about, comparison_lines(about["report"], str(store)))
    else:
        _say(as_json, about, _score_lines(about, None))


@cli.command()
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
    _say(as_json, {"files": files, "faults": faults}, "\n".join([*lines, verdict]))
    if faults:
        sys.exit(3)


@cli.command("map")
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="map.png or map.svg")
@talking
def map_(store: Path, out: Path, as_json: bool, quiet: bool) -> None:
    """Draw the data map of a score store: confidence against variability."""
    from curate.stages.mapping import draw_map

    counts = draw_map(store, out)
    named = ", ".join(f"{count:,} {region}" for region, count in counts.items() if region not in ("rows", "drawn"))
    _say(as_json, {"out": str(out), **counts}, f"wrote {out}: {counts['rows']:,} rows, {named}")


def main() -> NoReturn:
    """Runs the command; every mistake becomes one line and an exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    # Read when `datasets` is imported, later: its bars would mix with ours and fill log files.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted. What is finished is saved; the same command goes on.", 130)
    except CurateError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except MemoryError:
        _fail("out of memory. Use --limit, a smaller --batch-size, or a machine with more.", 7)
    except Exception as error:  # the one place that may: whatever is left is a bug, and is said to be one
        _fail(f"unexpected {type(error).__name__}: {error}. Run it again with --debug for the traceback, and please report it.", 1)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    if "--debug" in sys.argv:
        traceback.print_exc()
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _terminated(number: int, frame: object) -> NoReturn:
    click.echo("Error: terminated. What is finished is saved; the same command goes on.", err=True)
    sys.exit(143)


def _load(source: str | None, given: dict[str, Any]) -> Any:
    """The dataset that the reading options describe, which are taken out of `given`."""
    named = {"input": given.pop("input_"), "label": given.pop("label"), "id": given.pop("id_")}
    chosen = {"split": given.pop("split"), "limit": given.pop("limit")}
    if source is None:
        odd = [name for name, value in {**named, **chosen}.items() if value is not None]
        if odd:
            raise click.UsageError(f"--{odd[0]} describes the source: name it too, with --data DATA.")
        return None
    from curate.loading import load

    return load(source, **named, **chosen)


def _reading_options() -> list[str]:
    """The reading options as they were typed, for the command that comes next: the fingerprint must be the same."""
    context = click.get_current_context()
    names = {"input_": "--input", "label": "--label", "id_": "--id", "split": "--split", "limit": "--limit"}
    given = ((option, context.params.get(name)) for name, option in names.items())
    return [word for option, value in given if value is not None for word in (option, str(value))]


def _share(text: str) -> float:
    """A share of the rows: "1%" or 0.01."""
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise OptionError(f'--max-failures takes a share such as 1% or 0.01; got "{text}".') from None


def _command_line() -> str:
    """The command as typed, paths shortened to their names: the card is for other people's machines."""
    words = [Path(word).name if word.startswith(("/", "~")) else word for word in sys.argv[1:]]
    return shlex.join(["curate", *words])


def _say(as_json: bool, value: Any, text: str) -> None:
    click.echo(json.dumps(value, default=str, ensure_ascii=False) if as_json else text)


def _plan_lines(plan: dict[str, Any]) -> str:
    seconds = plan["seconds"]
    time = f"about {seconds / 60:,.0f} min" if seconds > 120 else f"about {max(1, seconds):,.0f} s"
    lines = [f"{plan['rows']:,} rows, {plan['modality']} data, label {plan['label'] or 'none'}"]
    if plan["model"]:
        lines.append(f"trains {plan['model']} for {plan['epochs']} epochs, seeds {', '.join(map(str, plan['seeds']))}, on {plan['device']}")
    lines += [f"scores {', '.join(plan['scorers'])}"]
    lines += [f"time {time}, memory about {plan['memory'] / 1e9:.2f} GB, disk about {plan['disk'] / 1e9:.2f} GB (nothing was done)"]
    return "\n".join(lines)


def _score_lines(about: dict[str, Any], only: list[str] | None) -> str:
    dataset = about["dataset"]
    lines = [f"{about['store']}: {dataset['rows']:,} rows, dataset {dataset['fingerprint'][:8]}…, {about['seconds']:,} s of work"]
    for run in about["runs"]:
        lines.append(f"run {run['run']}: {run['job'].get('model') or 'recorded'}, {run['epochs_done']} epochs")
    scores = [one for one in about.get("scores", []) if only is None or one["name"] in only]
    if scores:
        rows = [
            [
                s["name"],
                s["keep"],
                s["hard"],
                s["lowest"],
                s["median"],
                s["highest"],
                sum(s["unscored"].values()),
                " ".join(s["columns"][1:]),
            ]
            for s in scores
        ]
        lines += ["", columns(rows, ["score", "keep", "hard end", "lowest", "median", "highest", "unscored", "more columns"])]
    return "\n".join(lines)


def _selection_lines(report: dict[str, Any] | Any, where: str) -> str:
    head = f"{where}: " if where else ""
    lines = [f"{head}kept {report['kept']:,} of {report['of']:,} rows"]
    if report["without_score"]:
        lines.append(f"{report['without_score']:,} rows without a score were left out")
    lines.append(f"shares {report['overlap_with_random']:.1%} with a random pick of that size ({report['overlap_expected']:.1%} by chance)")
    if report.get("score_quantiles"):
        quantiles = report["score_quantiles"]
        rows = [[name, *(f"{v:.4g}" for v in quantiles[name])] for name in ("kept", "all") if quantiles[name]]
        lines += ["", columns(rows, ["score", *(f"{q:.0%}" for q in quantiles["at"])])]
    if report.get("classes"):
        classes = list(report["classes"].items())
        rows = [[name[:40], kept, total, f"{kept / total:.0%}" if total else "-"] for name, (kept, total) in classes[:20]]
        lines += ["", columns(rows, ["class", "kept", "of", "share"])]
        if len(classes) > 20:
            lines.append(f"… and {len(classes) - 20} classes more")
    return "\n".join(lines)
