"""`curate distill`."""

from pathlib import Path
from typing import Any

import click

from curate.commands.options import command_line, load_data, reading, say, talking
from curate.terminal import columns, distilled_lines, progress_for


@click.command()
@click.argument("data")
@click.option("--method", metavar="NAME[:opt=v,…]", default="datm", show_default=True, help="How; `curate list distillers`.")
@click.option("--ipc", type=int, required=True, metavar="N", help="Synthetic images of each class.")
@click.option("--test", metavar="DATA", help="Rows to test on, with DATA's columns; default its test split, else a fifth taken out of it.")
@click.option("--minutes", type=float, metavar="M", help="Fit the distillation to a time; what was given up is said.")
@click.option(
    "--run", metavar="DIR", type=click.Path(path_type=Path), help="Take experts over: a distilled folder's, or replay_buffer_*.pt."
)
@click.option("--networks", metavar="N+N", help="Test by these too: convnet, mlp, resnet18, vgg11, vit.")
@click.option("--seeds", type=int, default=5, show_default=True, metavar="K", help="Test by K fresh networks.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--image-size", type=int, metavar="PIXELS", help="Resize all images; needed where they have several sizes.")
@click.option("--device", default="auto", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The hub-ready folder to write.")
@click.option("--overwrite", is_flag=True, help="Start anew.")
@click.option("--dry-run", is_flag=True, help="Only say how long it will take, with which options.")
@reading
@talking
def distill(data: str, as_json: bool, quiet: bool, dry_run: bool, networks: str | None, **given: Any) -> None:
    """Make a compact synthetic set out of DATA's images, and test it beside as many bytes of real ones.

    curate distill sample:digits --ipc 1 --out tiny
    """
    from curate.stages import distilling

    loaded = load_data(data, given)
    method, progress = given.pop("method"), progress_for(quiet)
    if dry_run:
        asked = {name: given[name] for name in ("ipc", "test", "minutes", "seed", "image_size", "device")}
        planned = distilling.plan(loaded, method, progress=progress, **asked)
        say(as_json, planned, _plan_lines(planned))
        return
    each = tuple(filter(None, (networks or "").split("+")))
    made = distilling.synthesize(loaded, method, networks=each, command=command_line(), progress=progress, **given)
    summary = made.summary()
    say(as_json, {"out": str(made.path), **summary}, distilled_lines(summary, str(made.path)))


def _plan_lines(planned: dict[str, Any]) -> str:
    options = [[name, value] for name, value in planned["options"].items()]
    head = f"{planned['method']}: {planned['ipc']} image{'s' if planned['ipc'] > 1 else ''} a class from {planned['rows']:,} rows"
    cost = f"about {planned['seconds']:,.0f} s and {planned['memory'] / 1e6:,.0f} MB of memory; then the tests"
    return "\n".join([head, cost, "", columns(options, ["option", "value"])])
