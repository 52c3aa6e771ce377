"""`curate list`."""

import textwrap
from typing import Any

import click

from curate.commands.options import say, talking
from curate.terminal import columns


@click.command("list")
@click.argument("kind", required=False, metavar="[KIND]")
@talking
def list_(kind: str | None, as_json: bool, quiet: bool) -> None:
    """List the methods, models and bundled samples, all or one KIND.

    KIND is scorers, samplers, online_samplers, distillers, encoders, models or samples.
    """
    from curate.stages.listing import listing

    found = listing(kind)
    blocks = []
    for name, entries in found.items():
        more = {"scorers": "keep", "samplers": "reads"}.get(name)
        rows = [row for entry in entries for row in _rows(entry, more)]
        blocks.append(columns(rows, [name, *([more] if more else []), ""]))
    say(as_json, found, "\n\n".join(blocks))


def _rows(entry: dict[str, Any], more: str | None) -> list[list[str]]:
    """A line of a method; of one whose cost is known a second line."""
    word = entry.get(more, "") if more else ""
    first = [entry["name"], *([word if isinstance(word, str) else " ".join(word)] if more else [])]
    lines = [[*first, textwrap.shorten(entry["about"], 100, placeholder=" …")]]
    if entry.get("cost"):
        lines.append([*("" for _ in first), textwrap.shorten(f"cost: {entry['cost']}", 140, placeholder=" …")])
    return lines
