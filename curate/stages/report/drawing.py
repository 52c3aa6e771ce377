"""Small drawings as numbers for a template: bars, lines and axes, in a box of 0 … 100 by 0 … 100."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Bar:
    """A rectangle, measured from the upper left; `shade` is a colour class of the page, 0 … 9."""

    x: float
    y: float
    width: float
    height: float
    shade: int
    title: str


@dataclass(frozen=True)
class Tick:
    """A place on an axis, 0 … 100, and what is written there."""

    at: float
    text: str


def stacked_histogram(
    values: NDArray[np.floating], groups: NDArray[np.int64] | None, names: Sequence[str], bins: int = 40
) -> tuple[list[Bar], list[Tick]]:
    """Bars of a histogram whose groups are stacked, and its ticks; the outermost 0.1 % of the values are put into the outermost bars."""
    low, high = (float(q) for q in np.quantile(values, (0.001, 0.999)))
    if low == high:
        low, high = low - 0.5, high + 0.5
    place = np.clip(((values - low) / (high - low) * bins).astype(np.int64), 0, bins - 1)
    kinds = max(1, len(names))
    group = np.zeros(len(values), np.int64) if groups is None else np.clip(groups, 0, kinds - 1)
    counts = np.bincount(place * kinds + group, minlength=bins * kinds).reshape(bins, kinds)
    scale = 100 / max(1, int(counts.sum(axis=1).max()))
    edges = np.linspace(low, high, bins + 1)
    bars = []
    for column, line in enumerate(counts):
        top = 100.0
        for kind in np.flatnonzero(line).tolist():
            height = float(line[kind]) * scale
            top -= height
            named = f"{names[kind]}: " if names else ""
            title = f"{named}{line[kind]:,} rows, {edges[column]:.3g} to {edges[column + 1]:.3g}"
            bars.append(Bar(column * 100 / bins, top, 100 / bins, height, kind % 10, title))
    return bars, ticks(low, high)


def ticks(low: float, high: float, about: int = 5) -> list[Tick]:
    """Round numbers between two ends."""
    step = nice_step((high - low) / about)
    first = math.ceil(low / step - 1e-9)
    found = []
    for i in range(first, first + 4 * about):
        value = i * step
        if value > high + 1e-9 * step:
            break
        found.append(Tick(100 * (value - low) / (high - low), f"{value:.6g}"))
    return found


def nice_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))
