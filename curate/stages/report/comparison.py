"""Whether the selection paid: accuracy of every arm with its interval, and the verdict."""

from collections.abc import Sequence
from typing import Any

from curate.comparison import BASELINES
from curate.stages.curves import half_width, same_policy
from curate.stages.report.context import Context, Section
from curate.stages.report.drawing import Tick, ticks


def section(context: Context) -> Section | None:
    if context.comparison is None:
        return None
    summary = context.comparison.summary()
    arms = [arm for arm in summary["arms"] if arm["accuracy"]["mean"] is not None]
    if not arms:
        return None
    ends = [value for arm in arms for value in _interval(arm)]
    low, high = min(ends), max(ends)
    room = max(0.005, 0.05 * (high - low))
    low, high = max(0.0, low - room), min(1.0, high + room)
    lines = [_line(arm, low, high) for arm in arms]
    failed = [{"name": arm["arm"], **one} for arm in summary["arms"] for one in arm.get("failed", [])]
    marks = [Tick(tick.at, f"{100 * float(tick.text):g}") for tick in ticks(low, high)]
    values = {
        "lines": lines,
        "ticks": marks,
        "failed": failed,
        "seeds": len(summary["seeds"]),
        "budget": summary.get("budget"),
        "test_rows": (summary.get("test") or {}).get("rows"),
        "scoring": summary.get("scoring_seconds"),
        "target": summary["target"] if any(line["to_target"] for line in lines) else None,
        "curve": _curve(arms, low, high),
    }
    return Section("Does it pay?", "comparison.html", values)


def _curve(arms: Sequence[dict[str, Any]], low: float, high: float) -> dict[str, Any] | None:
    """Accuracy against the share kept, a line a policy, in a box of 100 by 50; None where no policy was tried at several sizes."""
    policies = same_policy(arms)
    everything = next((arm for arm in arms if arm["kind"] == "everything"), None)
    if everything is None or all(len(line) < 2 for line in policies.values()):
        return None
    most = max(arm["rows"] for line in policies.values() for arm in line) / everything["rows"]
    widest = min(100.0, 110 * most)

    def height(value: float) -> float:
        return 50 * (1 - (min(max(value, low), high) - low) / (high - low))

    lines = []
    tried = [name for name in policies if name not in BASELINES]
    for name, line in policies.items():
        points = []
        for arm in line:
            share, mean, half = 100 * arm["rows"] / everything["rows"], arm["accuracy"]["mean"], half_width(arm)
            title = f"{name}, {share:.3g} % of the rows: {100 * mean:.1f} %" + (f" ± {100 * half:.1f}" if half else "")
            points.append(
                {"x": 100 * share / widest, "y": height(mean), "y1": height(mean + half), "y2": height(mean - half), "title": title}
            )
        lines.append({"name": name, "shade": tried.index(name) % 10 if name in tried else name, "points": points})
    marks = [Tick(tick.at, tick.text) for tick in ticks(0.0, widest)]
    return {"lines": lines, "everything": height(everything["accuracy"]["mean"]), "ticks": marks}


def _interval(arm: dict[str, Any]) -> tuple[float, float]:
    accuracy = arm["accuracy"]
    mean = accuracy["mean"]
    return (mean, mean) if accuracy["low"] is None else (accuracy["low"], accuracy["high"])


def _line(arm: dict[str, Any], low: float, high: float) -> dict[str, Any]:
    def place(value: float) -> float:
        return 100 * (min(max(value, low), high) - low) / (high - low)

    left, right = _interval(arm)
    mean = arm["accuracy"]["mean"]
    minus = arm.get("minus_random") or {}
    half = None if minus.get("low") is None else (minus["high"] - minus["low"]) / 2
    return {
        "name": arm["arm"],
        "kind": arm["kind"],
        "rows": arm["rows"],
        "x": place(mean),
        "x1": place(left),
        "x2": place(right),
        "accuracy": f"{100 * mean:.1f}" + (f" ± {50 * (right - left):.1f}" if right > left else ""),
        "minus": "" if minus.get("mean") is None else f"{100 * minus['mean']:+.1f}" + ("" if half is None else f" ± {100 * half:.1f}"),
        "verdict": arm.get("verdict") or "",
        "seconds": "" if arm.get("seconds") is None else f"{arm['seconds']:.1f}",
        "to_target": "" if arm.get("seconds_to_target") is None else f"{arm['seconds_to_target']:.1f}",
        "with_scoring": "" if arm.get("seconds_with_scoring") is None else f"{arm['seconds_with_scoring']:.1f}",
    }
