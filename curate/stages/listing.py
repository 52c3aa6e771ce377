"""`curate list`: every method with its one-line meaning, read without importing any of them."""

import ast
import re
from typing import Any, Final

from curate.errors import UnknownNameError, did_you_mean
from curate.plugins import Room, described, methods, summary

KINDS: Final = ("scorers", "samplers", "online_samplers", "distillers", "encoders", "models", "samples")


def listing(kind: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """The methods of one kind or of all, each a dict with `name` and `about`; scorers have `keep`, samplers `reads` and `cost`."""
    if kind is not None and kind not in KINDS:
        raise UnknownNameError(f'No list "{kind}".{did_you_mean(kind, KINDS)} There are: {", ".join(KINDS)}.')
    makers = {
        "scorers": _scorers,
        "samplers": _samplers,
        "online_samplers": _online_samplers,
        "distillers": _distillers,
        "encoders": _encoders,
        "models": _models,
        "samples": _samples,
    }
    return {name: makers[name]() for name in KINDS if kind in (None, name)}


def _scorers() -> list[dict[str, Any]]:
    found = []
    for method in methods("scorers").values():
        about, attributes = summary(method)
        entry = {"name": method.name, "keep": attributes.get("keep", "'high'").strip("'\""), "about": about, "from": method.origin}
        found.append(entry)
    return found


def _samplers() -> list[dict[str, Any]]:
    """With the columns that each reads, unless its options say otherwise, and what it costs."""
    found = []
    for method in methods("samplers").values():
        about, attributes = described(method)
        cost = re.search(r"(?<= )Cost:? (.*?\.)(?= |$)", about)
        entry = {"name": method.name, "about": summary(method)[0], "reads": list(ast.literal_eval(attributes.get("requires", "()")))}
        found.append(entry | {"cost": cost[1] if cost else "", "from": method.origin})
    return found


def _online_samplers() -> list[dict[str, Any]]:
    return _plain("online_samplers")


def _distillers() -> list[dict[str, Any]]:
    return _plain("distillers")


def _plain(room: Room) -> list[dict[str, Any]]:
    return [{"name": m.name, "about": summary(m)[0], "from": m.origin} for m in methods(room).values()]


def _encoders() -> list[dict[str, Any]]:
    from curate.encoder_names import ENCODERS

    return [{"name": name, "about": about} for name, about in ENCODERS.items()]


def _models() -> list[dict[str, Any]]:
    from curate.model_names import MODELS

    return [{"name": name, "about": about} for name, about in MODELS.items()]


def _samples() -> list[dict[str, Any]]:
    from curate.sample_names import NAMES

    return [{"name": name if name.startswith("sample:") else f"sample:{name}", "about": about} for name, about in NAMES.items()]
