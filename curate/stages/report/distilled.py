"""A distilled set: its images, how the matching went, and what networks trained on it are worth beside real rows."""

import base64
from collections.abc import Sequence
from typing import Any, Final

from curate.stages.report.context import Context, Section
from curate.stages.report.drawing import Tick, ticks
from curate.synthetic import DISTILLED, EVERYTHING, GRID

POINTS: Final = 300  # of a curve, at most


def section(context: Context) -> Section | None:
    if context.distilled is None:
        return None
    made = context.distilled
    summary = made.summary()
    picture = base64.b64encode((made.path / GRID).read_bytes()).decode()
    curves = [_curve(name, values) for name, values in made.losses().items() if len(values) > 1]
    results = summary["results"]
    marks = ticks(*_ends(results)) if results else []
    values = {
        "summary": summary,
        "picture": f"data:image/png;base64,{picture}",
        "curves": curves,
        "lines": [_line(one, *_ends(results)) for one in results],
        "ticks": [Tick(tick.at, f"{100 * float(tick.text):g}") for tick in marks],
        "seeds": max((len(one["accuracy"]["each"]) for one in results), default=0),
    }
    return Section("The distilled set", "distilled.html", values)


def _curve(name: str, values: Sequence[float]) -> dict[str, Any]:
    """The curve in a box of 100 by 50, each point the mean of as many iterations as are drawn as one."""
    at_once = -(-len(values) // POINTS)
    means = [sum(part) / len(part) for part in (values[i : i + at_once] for i in range(0, len(values), at_once))]
    low, high = min(0.0, *means), max(means)
    high = high if high > low else low + 1
    last = max(1, len(means) - 1)
    points = [(100 * i / last, 50 * (1 - (value - low) / (high - low))) for i, value in enumerate(means)]
    return {"name": name, "points": points, "ticks": ticks(low, high), "iterations": len(values), "first": values[0], "last": values[-1]}


def _ends(results: Sequence[dict[str, Any]]) -> tuple[float, float]:
    ends = [end for one in results for end in _interval(one)]
    room = max(0.005, 0.05 * (max(ends) - min(ends)))
    return max(0.0, min(ends) - room), min(1.0, max(ends) + room)


def _interval(one: dict[str, Any]) -> tuple[float, float]:
    accuracy = one["accuracy"]
    return (accuracy["mean"], accuracy["mean"]) if accuracy["low"] is None else (accuracy["low"], accuracy["high"])


def _line(one: dict[str, Any], low: float, high: float) -> dict[str, Any]:
    below, above = _interval(one)
    left, mean, right = (100 * (end - low) / (high - low) for end in (max(below, low), one["accuracy"]["mean"], min(above, high)))
    kind = {DISTILLED: "selection", EVERYTHING: "everything"}.get(one["set"], "random")
    half = f" ± {50 * (above - below):.1f}" if above > below else ""
    return {**one, "kind": kind, "x": mean, "x1": left, "x2": right, "text": f"{100 * one['accuracy']['mean']:.1f}{half}"}
