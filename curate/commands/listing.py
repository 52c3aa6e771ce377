"""`curate list`."""

import textwrap

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
        short = [textwrap.shorten(e["about"], 100, placeholder=" …") for e in entries]
        rows = [[e["name"], *([e["keep"]] if name == "scorers" else []), about] for e, about in zip(entries, short, strict=True)]
        blocks.append(columns(rows, [name, *(["keep"] if name == "scorers" else []), ""]))
    say(as_json, found, "\n\n".join(blocks))
