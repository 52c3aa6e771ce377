"""Arithmetic on signals in which some presentations are missing (NaN), vectorised over rows."""

import numpy as np
from numpy.typing import NDArray

from curate.protocols import Array

Float64 = NDArray[np.float64]


def compact(values: Array) -> Array:
    """Each row's presentations moved to the left in their order, NaN behind them; the input itself where nothing is missing.

    A row that sat out an epoch must not have a hole in its windows: they advance only when the row was seen. `values` is
    (n, epochs), and so is the result. Only rows with a hole are sorted and copied, for they are few.

    >>> compact(np.array([[np.nan, 1.0, np.nan, 2.0]]))
    array([[ 1.,  2., nan, nan]])
    """
    missing = np.isnan(values)
    ragged = np.flatnonzero((missing[:, :-1] & ~missing[:, 1:]).any(axis=1))  # a hole with something seen after it
    if not len(ragged):
        return values
    order = np.argsort(missing[ragged], axis=1, kind="stable")
    packed = values.copy()
    packed[ragged] = np.take_along_axis(values[ragged], order, axis=1)
    return packed


def row_sum(values: Array) -> Float64:
    """The sum of what each row was seen with, (n,); NaN, not 0, for a row that never was."""
    # Rows must lie one after the other, else numpy adds in an order that depends on how many there are.
    dense = np.ascontiguousarray(values, np.float64)
    missing = np.isnan(dense)
    total: Float64 = np.where(missing, 0.0, dense).sum(axis=1)
    total[missing.all(axis=1)] = np.nan
    return total


def row_mean(values: Array) -> Float64:
    """The mean of what each row was seen with, (n,); NaN for a row that never was."""
    count = np.count_nonzero(~np.isnan(values), axis=1)
    mean: Float64 = row_sum(values) / np.maximum(count, 1)
    return mean


def row_variance(values: Array) -> Float64:
    """The population variance (ddof 0) of what each row was seen with, (n,); NaN for a row that never was."""
    deviation = np.asarray(values, np.float64) - row_mean(values)[:, None]
    return row_mean(deviation * deviation)


def window_moments(values: Array, window: int, *, ddof: int) -> tuple[Float64, Float64]:
    """Mean and standard deviation of each run of `window` presentations, both (n, presentations - window + 1).

    NaN where the row has not that many presentations; `values` must be compact. Windows are visited one by one: a strided
    view of all at once would make numpy hold `window` times the signal.
    """
    dense = np.ascontiguousarray(values, np.float64)
    shape = (len(dense), max(dense.shape[1] - window + 1, 0))
    mean, deviation = np.empty(shape), np.empty(shape)
    for start in range(shape[1]):
        part = dense[:, start : start + window]  # (n, window)
        mean[:, start] = part.mean(axis=1)
        deviation[:, start] = part.std(axis=1, ddof=ddof)
    return mean, deviation


def pieces_at(values: Array, lengths: Array, index: Array) -> tuple[Array, Array]:
    """Of pieces that lie one after another, those at these places in this order: their values and lengths.

    >>> pieces_at(np.array([1, 2, 2, 3, 3, 3]), np.array([1, 2, 3]), np.array([2, 0]))
    (array([3, 3, 3, 1]), array([3, 1]))
    """
    starts, size = (np.cumsum(lengths) - lengths)[index], lengths[index]
    before = np.cumsum(size) - size
    return values[np.repeat(starts - before, size) + np.arange(size.sum())], size
