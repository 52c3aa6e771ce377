"""The picture of a comparison: accuracy against the share of the rows that is kept, with intervals; everything is a line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.comparison import BASELINES


def draw_curve(summary: Mapping[str, Any], target: Path) -> None:
    """A PNG of a comparison's summary; selections made the same way (sampler and score) at several budgets are one line."""
    from matplotlib.figure import Figure

    arms = [arm for arm in summary["arms"] if arm["accuracy"]["mean"] is not None]
    everything = next(arm for arm in summary["arms"] if arm["kind"] == "everything")
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for name, line in same_policy(arms).items():
        style: dict[str, Any] = {"color": "0.45", "linestyle": "--" if name == "random" else ":"} if name in BASELINES else {}
        x = [100 * arm["rows"] / everything["rows"] for arm in line]
        y = [100 * arm["accuracy"]["mean"] for arm in line]
        axes.errorbar(x, y, yerr=[100 * half_width(arm) for arm in line], marker="o", markersize=4, capsize=3, label=name, **style)
    if everything["accuracy"]["mean"] is not None:
        mean, half = 100 * everything["accuracy"]["mean"], 100 * half_width(everything)
        axes.axhline(mean, color="black", linewidth=1, label="everything")
        axes.axhspan(mean - half, mean + half, color="black", alpha=0.08, linewidth=0)
    axes.set(xlabel="rows kept, %", ylabel="test accuracy, %")
    seeds = len(summary["seeds"])
    axes.set_title(f"{seeds} seeds, 95 % intervals" if seeds > 1 else "1 seed, no interval", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
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
