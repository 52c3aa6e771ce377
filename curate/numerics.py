"""Small vectorised pieces that several methods stand on: gaps closed, moving deviations, exact quantiles that merge."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.protocols import State

_BINS: Final = 1 << 16


def close_gaps(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Each row's numbers moved left over its NaNs, (n, epochs), and how many it has, (n,).

    A row counts its own presentations: where it was not seen, its windows stand still.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values, np.full(len(values), values.shape[1], np.int64)
    order = np.argsort(missing, axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1), values.shape[1] - missing.sum(axis=1)


def seen_mean(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over the epochs in which a row was seen, (n,) float64; NaN where there was none."""
    seen = ~np.isnan(values)
    count = seen.sum(axis=1)
    total = np.where(seen, values, 0).sum(axis=1, dtype=np.float64)
    return total / np.where(count, count, np.nan)


def seen_variance(values: NDArray[Any]) -> NDArray[np.float64]:
    """Population variance over the epochs in which a row was seen, (n,) float64."""
    centred = values - seen_mean(values)[:, None]
    return seen_mean(centred * centred)


def window_square_sums(values: NDArray[Any], width: int) -> NDArray[np.float64]:
    """Sum of squared deviations from the window's mean, for every window of `width` columns, (n, columns - width + 1).

    By running sums in float64 of values shifted by their row's mean, so that nothing cancels. Windows that reach past a row's last number
    are NaN. Memory: two float64 copies of `values`.
    """
    shifted = np.nan_to_num(values - seen_mean(values)[:, None])
    zero = np.zeros((len(values), 1))
    first = np.concatenate((zero, np.cumsum(shifted, axis=1, dtype=np.float64)), axis=1)
    second = np.concatenate((zero, np.cumsum(shifted * shifted, axis=1, dtype=np.float64)), axis=1)
    sums, squares = first[:, width:] - first[:, :-width], second[:, width:] - second[:, :-width]
    result = np.maximum(squares - sums * sums / width, 0)
    result[np.isnan(values[:, width - 1 :])] = np.nan
    return result


def sortable(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """float32 as uint32 in the same order, -0.0 equal to 0.0.

    >>> [hex(v) for v in sortable(np.float32([1.0, 0.5, 0.0, -1.0]))]
    ['0xbf800000', '0xbf000000', '0x80000000', '0x407fffff']
    """
    bits = (values + np.float32(0)).view(np.uint32)
    flip = np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    return bits ^ flip


def unsortable(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The inverse of `sortable`."""
    flip = np.where(keys >> 31, np.uint32(0x80000000), np.uint32(0xFFFFFFFF))
    return (keys ^ flip).view(np.float32)


def count_for_quantile(values: NDArray[np.float32], state: State | None, q: float) -> State:
    """One of the two passes that find an exact quantile in 1 MB: a histogram of the upper 16 bits, then of the lower 16 of one bin.

    `state` is the merged state of the pass before, None at first; NaNs are left out.
    """
    keys = sortable(values[~np.isnan(values)].astype(np.float32))
    high = (keys >> 16).astype(np.int64)
    if state is None:
        return {"high": np.bincount(high, minlength=_BINS)}
    chosen, _ = _bin_of(state["high"], q)
    low = keys[high == chosen] & np.uint32(0xFFFF)
    return {"high": state["high"], "low": np.bincount(low.astype(np.int64), minlength=_BINS)}


def merge_counts(states: Sequence[State]) -> State:
    """Adds the histograms of one pass; those of the pass before are the same in every state."""
    if "low" in states[0]:
        return {"high": states[0]["high"], "low": np.sum([state["low"] for state in states], axis=0)}
    return {"high": np.sum([state["high"] for state in states], axis=0)}


def quantile_from_counts(state: State, q: float) -> float:
    """The smallest value with at least a share q of the values at or below it; NaN where there was no value."""
    if not state["high"].sum():
        return math.nan
    high, before = _bin_of(state["high"], q)
    wanted = _rank(state["high"], q) - before
    low = int(np.searchsorted(np.cumsum(state["low"]), wanted))
    return float(unsortable(np.array([(high << 16) | low], np.uint32))[0])


def _rank(counts: NDArray[np.int64], q: float) -> int:
    return max(1, math.ceil(q * int(counts.sum())))


def _bin_of(counts: NDArray[np.int64], q: float) -> tuple[int, int]:
    """The bin that holds the quantile, and how many values lie in the bins before."""
    cumulative = np.cumsum(counts)
    chosen = int(np.searchsorted(cumulative, _rank(counts, q)))
    return chosen, int(cumulative[chosen - 1]) if chosen else 0
