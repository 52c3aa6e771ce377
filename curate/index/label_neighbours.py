"""What a row's neighbours say of its label: KNN-Shapley values and disagreement. Functions on arrays.

Jia et al. 2019, "Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms".
"""

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError, OptionError
from curate.protocols import Array

Float64 = NDArray[np.float64]

_BLOCK_BYTES = 64 << 20  # of the distances held at a time


def knn_shapley(x: Array, labels: Array, target_x: Array, target_labels: Array, *, k: int = 10, truncate: int | None = None) -> Float64:
    """The Shapley value of each row for a k-nearest-neighbour classifier's accuracy on the targets, (n,) float64, mean over targets.

    Low, mostly negative, is a label that its neighbourhood contradicts. The sum is the utility of all rows: of a target's
    min(k, n) nearest the share of its label, over k. Distances are Euclidean, ties go to the earlier row. `truncate`
    counts only that many nearest rows (at least k), the rest 0: off by at most 1 / truncate a target. The recursion starts
    from min(k, n) / (n k), which the paper's 1 / n equals only where n >= k. Costs n d a target and a sort, in blocks of targets.
    """
    n = len(x)
    if k < 1 or (truncate is not None and truncate < k):
        raise OptionError(f"knn_shapley: k must be 1 or more and truncate at least k, got k={k}, truncate={truncate}.")
    if not n or not len(target_x) or x.shape[1:] != target_x.shape[1:]:
        raise InputError(
            f"knn_shapley: rows of shape {x.shape} and targets of shape {target_x.shape}; both non-empty and equally wide expected."
        )
    total = np.zeros(n)
    norms = np.einsum("nd,nd->n", x, x, dtype=np.float64)
    step = max(1, _BLOCK_BYTES // (8 * n))
    for start in range(0, len(target_x), step):
        block = slice(start, start + step)
        distance = norms - 2 * (target_x[block].astype(np.float64) @ x.T.astype(np.float64))  # (targets, n), less the target's own norm
        order = np.argsort(distance, axis=1, kind="stable")
        values = _values(labels[order] == target_labels[block, None], k, truncate)
        total += np.bincount(order.ravel(), weights=values.ravel(), minlength=n)
    return total / len(target_x)


def values_of_neighbours(matches: Array, k: int, n: int) -> Float64:
    """The values that one target gives each of its nearest rows, (targets, K), from whether their labels match, nearest first.

    Truncated after those K of the `n` rows unless K = n, as `knn_shapley` does with `truncate=K`.
    """
    width = matches.shape[1]
    if width >= n:
        return _values(matches, k, None)
    beyond = np.zeros((len(matches), 1), matches.dtype)
    return _values(np.concatenate([matches, beyond], axis=1), k, width)[:, :width]


def neighbour_disagreement(neighbours: Array, labels: Array) -> Float64:
    """The share of each row's neighbours that bear another label, (n,), 0 … 1; high is suspect, NaN where it has none.

    `neighbours` are positions, (n, k), without the row itself; -1 is no neighbour. Neighbours without a label (-1) do not
    count, and a row without one scores NaN.
    """
    return disagreement(np.where(neighbours >= 0, labels[neighbours], -1), labels)


def disagreement(theirs: Array, labels: Array) -> Float64:
    """The same from the neighbours' labels themselves, (n, k), -1 where there is no neighbour or it has no label."""
    counted = (theirs >= 0) & (labels >= 0)[:, None]
    differs = (counted & (theirs != labels[:, None])).sum(axis=1)
    count = counted.sum(axis=1)
    return np.where(count > 0, differs / np.maximum(count, 1), np.nan)


def _values(matches: Array, k: int, truncate: int | None) -> Float64:
    """Each target's values by rank, nearest first, (targets, n): a sum from the far end of the steps between neighbours in rank."""
    n = matches.shape[1]
    match = matches.astype(np.float64)
    rank = np.arange(1, n)
    steps = (match[:, :-1] - match[:, 1:]) / k * np.minimum(k, rank) / rank  # s(rank) - s(rank + 1)
    last = match[:, -1:] * min(k, n) / (n * k)
    if truncate is not None and truncate < n:
        steps[:, truncate - 1 :] = 0
        steps[:, truncate - 1] = match[:, truncate - 1] * min(k, truncate) / (truncate * k)
        last = np.zeros_like(last)
    return np.concatenate([steps, last], axis=1)[:, ::-1].cumsum(axis=1)[:, ::-1]
