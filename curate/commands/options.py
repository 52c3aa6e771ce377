"""What several commands share: options, reading DATA, and saying the result."""

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from curate.errors import OptionError

Command = Callable[..., Any]


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
        "--model",
        metavar="M",
        help="The proxy to train: convnet, resnet18, text_bag, mlp, timm:NAME, hf:NAME-OR-PATH, hf-causal:NAME-OR-PATH, FILE.py:FUNCTION.",
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


def load_data(source: str | None, given: dict[str, Any]) -> Any:
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


def load_target(given: dict[str, Any]) -> Any:
    """The `--target` set as its options describe it, which are taken out of `given`; None where none is named."""
    source = given.pop("target")
    named = {name: given.pop(f"target_{name}", None) for name in ("input", "label", "split")}
    if source is None:
        odd = [name for name, value in named.items() if value is not None]
        if odd:
            raise click.UsageError(f"--target-{odd[0]} describes the target: name it too, with --target DATA.")
        return None
    from curate.loading import load

    return load(source, **named)


def reading_options() -> list[str]:
    """The reading options as they were typed, for the command that comes next: the fingerprint must be the same."""
    context = click.get_current_context()
    names = {"input_": "--input", "label": "--label", "id_": "--id", "split": "--split", "limit": "--limit"}
    given = ((option, context.params.get(name)) for name, option in names.items())
    return [word for option, value in given if value is not None for word in (option, str(value))]


def share(text: str, option: str = "--max-failures") -> float:
    """A share of the rows: "1%" or 0.01."""
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise OptionError(f'{option} takes a share such as 1% or 0.01; got "{text}".') from None


def command_line() -> str:
    """The command as typed, paths shortened to their names: the card is for other people's machines. File names need not be UTF-8."""
    words = [Path(word).name if word.startswith(("/", "~")) else word for word in sys.argv[1:]]
    return os.fsencode(shlex.join(["curate", *words])).decode("utf-8", errors="replace")


def say(as_json: bool, value: Any, text: str) -> None:
    click.echo(json.dumps(value, default=str, ensure_ascii=False) if as_json else text)
