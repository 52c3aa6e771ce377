"""The order of a column: its exact top k, in memory or streamed from chunks, the ranks around a quantile, and average ranks."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.errors import ColumnError
from curate.protocols import Array, Rows

Keys = NDArray[np.unsignedinteger[Any]]

_DIGIT: Final = 16  # bits of a key that one pass settles; the histogram has 2^16 bins
_WHOLE: Final = 1 << 22  # rows up to which keys of all of them at once are faster than several passes
_BLOCK: Final = 1 << 20  # rows held in memory at a time while streaming


def top_k(values: Array, k: int, *, largest: bool = True) -> Rows:
    """Positions of the `k` largest (or smallest) values, best first, ties to the lower position; (k,) int64.

    `values` is (n,) without NaN; -0.0 equals 0.0. Cost O(n + k log k), memory 24 bytes a chosen row and, of columns up to 2^22
    rows, two keys of four or eight bytes a row; longer ones are read block by block, as `streaming_top_k` does.
    """
    check_budget(k, len(values))
    if len(values) > _WHOLE:
        return streaming_top_k([values], k, largest=largest)
    keys = sortable_keys(values, largest=largest)
    if k == 0:
        return np.empty(0, np.int64)
    threshold = np.partition(keys, len(keys) - k)[len(keys) - k]
    ties = k - int(np.count_nonzero(keys > threshold))
    rows = _at_least(keys, threshold, ties)
    return _best_first(rows, keys[rows])


def streaming_top_k(chunks: Sequence[Array], k: int, *, largest: bool = True) -> Rows:
    """`top_k` of a column that lies in chunks (memory-mapped shards), in O(k) memory plus a block; the same for any cut.

    Histograms of sixteen bits of the key at a time find the k-th key exactly: two passes for float32, four for float64,
    and one more to gather the rows. Histograms add, so passes over shards may run anywhere.
    """
    check_budget(k, sum(len(chunk) for chunk in chunks))
    if k == 0:
        return np.empty(0, np.int64)
    threshold, ties = _kth_key(chunks, k, largest)
    found, found_keys, done = np.empty(k, np.int64), np.empty(k, threshold.dtype), 0
    for start, keys in _blocks(chunks, largest):
        rows = _at_least(keys, threshold, ties)
        ties -= int(np.count_nonzero(keys[rows] == threshold))
        here = slice(done, done + len(rows))
        found[here], found_keys[here] = rows + start, keys[rows]
        done += len(rows)
    return _best_first(found, found_keys)


def sortable_keys(values: Array, *, largest: bool = True) -> Keys:
    """Unsigned numbers in the order of the values (against it unless `largest`): uint32 for float32 and narrower, else uint64.

    The sign bit is flipped, and a negative number's other bits too. NaN has no place in any order and is a ColumnError.

    >>> [hex(key) for key in sortable_keys(np.float32([1.0, 0.5, 0.0, -0.0, -1.0]))]
    ['0xbf800000', '0xbf000000', '0x80000000', '0x80000000', '0x407fffff']
    """
    wide = _is_wide(values)
    floats = np.asarray(values, np.float64 if wide else np.float32)
    if np.isnan(floats).any():
        raise ColumnError(
            f"{np.count_nonzero(np.isnan(floats))} of {len(floats)} values are NaN and cannot be ordered. Drop those rows first."
        )
    key = np.uint64 if wide else np.uint32
    width = key(0).itemsize * 8
    keys: Keys = (floats + 0).view(key)  # + 0 makes -0.0 plain zero
    flip = keys >> key(width - 1)
    np.negative(flip, out=flip)  # all ones where the sign bit is set
    flip |= key(1 << (width - 1))
    keys ^= flip
    return keys if largest else np.invert(keys, out=keys)


def nearest_ranks(values: Array, centre: float, k: int) -> Rows:
    """Positions of the `k` values whose ranks are nearest to the quantile `centre`, nearest first; (k,) int64.

    Equal values are ranked by position, so the chosen ranks are always neighbours; of two equally near, the lower position
    wins. Cost O(n log n), memory two int64 a row.
    """
    n = len(values)
    check_budget(k, n)
    order = np.argsort(sortable_keys(values), kind="stable")
    middle = centre * (n - 1)
    first = max(0, min(int(np.floor(middle - (k - 1) / 2)) - 1, n - k))
    ranks = np.arange(first, min(n, first + k + 2))  # one to spare at either end, for rounding and ties
    nearest = np.lexsort((order[ranks], np.abs(ranks - middle)))
    return order[ranks[nearest[:k]]].astype(np.int64)


def average_ranks(values: Array) -> NDArray[np.float64]:
    """Rank of each value from 0 (lowest) to 1 (highest), (n,) float64; equal values share their mean rank, NaN stays NaN.

    A single value, or values all equal, rank 0.5. Cost O(n log n), one sort.

    >>> average_ranks(np.array([10.0, 30.0, 10.0, np.nan, 20.0])).round(3).tolist()
    [0.167, 1.0, 0.167, nan, 0.667]
    """
    ranks = np.full(len(values), np.nan)
    known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), bool)
    seen = values if known.all() else values[known]
    if len(seen) == 0:
        return ranks
    order = np.argsort(seen)
    ordered = seen[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    lengths = np.diff(starts, append=len(seen))
    mean = starts + (lengths - 1) / 2
    shared = np.empty(len(seen))
    shared[order] = np.repeat(mean / (len(seen) - 1) if len(seen) > 1 else 0.5, lengths)
    ranks[known] = shared
    return ranks


def _kth_key(chunks: Sequence[Array], k: int, largest: bool) -> tuple[np.unsignedinteger[Any], int]:
    """The k-th largest key, and how many of the rows that equal it belong to the top k."""
    key = np.uint64 if any(map(_is_wide, chunks)) else np.uint32
    bits = key(0).itemsize * 8
    prefix, missing = 0, k
    for shift in range(bits - _DIGIT, -1, -_DIGIT):
        counts = np.zeros(1 << _DIGIT, np.int64)
        for _, keys in _blocks(chunks, largest):
            if shift + _DIGIT < bits:
                keys = keys[keys >> key(shift + _DIGIT) == key(prefix)]
            digits = (keys >> key(shift)) & key((1 << _DIGIT) - 1)
            counts += np.bincount(digits.astype(np.intp), minlength=1 << _DIGIT)
        from_top = np.cumsum(counts[::-1])
        place = int(np.searchsorted(from_top, missing))
        digit = (1 << _DIGIT) - 1 - place
        missing -= int(from_top[place] - counts[digit])
        prefix = prefix << _DIGIT | digit
    return key(prefix), missing


def _blocks(chunks: Sequence[Array], largest: bool) -> Iterator[tuple[int, Keys]]:
    """The keys of all chunks with the row they start at, in blocks that bound memory; one width for all chunks."""
    dtype = np.float64 if any(map(_is_wide, chunks)) else np.float32
    start = 0
    for chunk in chunks:
        for low in range(0, len(chunk), _BLOCK):
            block = chunk[low : low + _BLOCK]
            yield start + low, sortable_keys(block.astype(dtype, copy=False), largest=largest)
        start += len(chunk)


def _is_wide(values: Array) -> bool:
    """Whether float32 would lose some of the values."""
    return not np.can_cast(values.dtype, np.float32)


def _at_least(keys: Keys, threshold: np.unsignedinteger[Any], ties: int) -> Rows:
    """Positions above the threshold and the first `ties` of those equal to it, ascending."""
    above = np.flatnonzero(keys > threshold)
    equal = np.flatnonzero(keys == threshold)[:ties]
    return np.sort(np.concatenate((above, equal))).astype(np.int64)


def _best_first(rows: Rows, keys: Keys) -> Rows:
    """Ascending rows in descending order of their keys (which are spent), ties left ascending."""
    return rows[np.argsort(np.invert(keys, out=keys), kind="stable")]
