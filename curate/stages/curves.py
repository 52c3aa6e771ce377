"""The picture of a comparison: accuracy against the share of the rows that is kept, with intervals; everything is a line."""

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any, Final

from curate.comparison import BASELINES

INSIDE: Final = 7  # lines whose legend finds room within the axes
GREY: Final = 7  # the colour of the cycle that the baselines have


def draw_curve(summary: Mapping[str, Any], target: Path) -> None:
    """A PNG of a comparison's summary; selections made the same way (sampler and score) at several budgets are one line."""
    from matplotlib.figure import Figure

    arms = [arm for arm in summary["arms"] if arm["accuracy"]["mean"] is not None]
    everything = next(arm for arm in summary["arms"] if arm["kind"] == "everything")
    lines = same_policy(arms)
    figure = Figure(figsize=(7.5 if len(lines) <= INSIDE else 9.5, 4.8), layout="constrained")
    axes = figure.add_subplot()
    marks = cycle(product("osD^", [f"C{i}" for i in range(10) if i != GREY]))
    for name, line in lines.items():
        if name in BASELINES:
            style: dict[str, Any] = {"color": "0.45", "marker": "o", "linestyle": "--" if name == "random" else ":"}
        else:
            style = dict(zip(("marker", "color"), next(marks), strict=True))
        x = [100 * arm["rows"] / everything["rows"] for arm in line]
        y = [100 * arm["accuracy"]["mean"] for arm in line]
        axes.errorbar(x, y, yerr=[100 * half_width(arm) for arm in line], markersize=4, capsize=3, label=name, **style)
    if everything["accuracy"]["mean"] is not None:
        mean, half = 100 * everything["accuracy"]["mean"], 100 * half_width(everything)
        axes.axhline(mean, color="black", linewidth=1, label="everything")
        axes.axhspan(mean - half, mean + half, color="black", alpha=0.08, linewidth=0)
    axes.set(xlabel="rows kept, %", ylabel="test accuracy, %")
    seeds = len(summary["seeds"])
    axes.set_title(f"{seeds} seeds, 95 % intervals" if seeds > 1 else "1 seed, no interval", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if len(lines) > INSIDE else {}
    axes.legend(frameon=False, **beside)
    figure.savefig(target, format="png", dpi=150)


def same_policy(arms: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Arms by what they have in common but their size, smallest first."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for arm in sorted(arms, key=lambda arm: int(arm["rows"])):
        if arm["kind"] != "everything":
            found.setdefault(arm["policy"] if arm["kind"] == "selection" else arm["kind"], []).append(arm)
    return found


def half_width(arm: Mapping[str, Any]) -> float:
    """Of the interval of an arm's accuracy, 0 … 1; 0 where there is none."""
    estimate = arm["accuracy"]
    return 0.0 if estimate["low"] is None else float(estimate["high"] - estimate["mean"])
