"""Exact quantiles over all rows, from counts that merge: two passes, no sorting of the whole column, no approximation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.protocols import Array, State

Keys = NDArray[np.uint32]

# Shares such as 0.29 are not exact in binary: 0.29 * 100 is 28.999…, and its rank is meant to be 29.
_SHARE_ROUNDING = 1e-9


@dataclass(frozen=True)
class Quantile:
    """The smallest float32 number that at least `share` of all numbers do not exceed; NaN counts as absent.

    A float32 becomes a 32-bit key of the same order. The first `fit` counts keys by their upper half, which tells in which
    of 65 536 buckets the number lies; the second counts the lower halves in that bucket. So the answer is an element of
    the column, the same however rows were cut, and a state holds only the buckets that occur.
    """

    share: float

    def fit(self, values: Array, state: State | None) -> State:
        """The counts of one shard, (n,) float32; `state` is the merged first pass in the second, None in the first."""
        keys = _ordered_keys(values)
        if state is None:
            return _counted(keys >> np.uint32(16))
        if not len(state["key"]):
            return {**state, "rank": np.array([0])}
        upper, rank = _locate(state, _rank(self.share, int(state["count"].sum())))
        return {**_counted(keys[keys >> np.uint32(16) == upper]), "rank": np.array([rank])}

    def merge(self, states: Sequence[State]) -> State:
        """The counts of several shards as one."""
        key, where = np.unique(np.concatenate([state["key"] for state in states]), return_inverse=True)
        count = np.zeros(len(key), np.int64)
        np.add.at(count, where, np.concatenate([state["count"] for state in states]))
        kept = {"rank": states[0]["rank"]} if "rank" in states[0] else {}
        return {"key": key, "count": count, **kept}

    def value(self, state: State) -> np.float32:
        """The quantile, from the merged second pass; NaN where there was no number at all."""
        if not len(state["key"]):
            return np.float32(np.nan)
        key, _ = _locate(state, int(state["rank"][0]))
        return _number(key)

    def of(self, values: Array) -> float:
        """The same of a column of floats that is at hand whole, in its own precision.

        >>> Quantile(0.5).of(np.array([4.0, 1.0, 3.0, 2.0]))
        2.0
        """
        found = np.sort(values[~np.isnan(values)])
        return float(found[_rank(self.share, len(found)) - 1]) if len(found) else math.nan


def _rank(share: float, n: int) -> int:
    return min(max(math.ceil(share * n - _SHARE_ROUNDING), 1), n)


def _counted(keys: Keys) -> State:
    key, count = np.unique(keys, return_counts=True)
    return {"key": key, "count": count.astype(np.int64)}


def _locate(state: State, rank: int) -> tuple[np.uint32, int]:
    """The key that holds the number of this rank (1 is the smallest), and the rank among the numbers of that key."""
    below = np.cumsum(state["count"])
    at = int(np.searchsorted(below, rank))
    return state["key"][at], rank - int(below[at] - state["count"][at])


def _ordered_keys(values: Array) -> Keys:
    bits = np.ascontiguousarray(values[~np.isnan(values)], np.float32).view(np.uint32)
    # Positive floats order as their bits do, negative ones the other way round: flip all bits of those, the sign of these.
    return np.where(bits >> np.uint32(31) == 1, ~bits, bits | np.uint32(0x80000000))


def _number(key: np.uint32) -> np.float32:
    bits = key & np.uint32(0x7FFFFFFF) if key >> np.uint32(31) == 1 else ~key
    return np.float32(np.uint32(bits).view(np.float32))
