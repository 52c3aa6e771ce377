"""Moderate: the rows whose distance from their class's centre is nearest to the median one, neither the easiest nor the oddest.

Xia et al. 2023, "Moderate Coreset: A Universal Method of Data Selection for Real-world Data-efficient Deep Learning"; official code
tmllab/2023_ICLR_Moderate-DS.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.errors import ColumnError
from curate.index.vectors import BLOCK, Metric, Placed, Vectors
from curate.protocols import Array, Pool, Rows
from curate.rng import KeyedRandom
from curate.topk import top_k


class Moderate:
    """The k rows nearest to the median distance, nearest first, each of weight 1; ties to the lower row.

    Reads `embedding`, (n, d), and `label`. One median over all rows, as in the code; with --per-class one a class, as in the paper's
    text. A class's `centre` is the `median` of its vectors coordinate by coordinate (the code's) or their `mean` (the paper's). The code
    takes the middle of the sorted distances with both ends rounded to even, and may miss the budget by one; ours is exact. Rows without a
    label must be left out. Cost n·d; memory a copy of the largest class's vectors.
    """

    requires = ("embedding", "label")
    version = 1

    def __init__(self, *, centre: Literal["median", "mean"] = "median", metric: Metric = "euclidean") -> None:
        self.centre: Literal["median", "mean"] = centre
        self.metric: Metric = metric

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        far = to_centres(Placed(pool["embedding"], self.metric), pool["label"], self.centre)
        return nearest_to_median(far, k), np.ones(k)

    def work(self, n: int, d: int, k: int) -> float:
        return float(n * d)

    def memory(self, n: int, d: int, k: int) -> int:
        return 4 * n * d + 16 * BLOCK * d + 40 * n


def to_centres(vectors: Vectors | Placed, labels: Array, centre: Literal["median", "mean"]) -> NDArray[np.float64]:
    """Each row's Euclidean distance from the centre of its class, (n,)."""
    if (labels < 0).any():
        raise ColumnError(
            f"{np.count_nonzero(labels < 0)} of {len(labels)} rows have no label, and so no class centre. "
            'Leave them out: --where "not is_null(LABEL)", with the name of the label column.'
        )
    far = np.empty(len(vectors))
    for code in np.unique(labels):
        rows = np.flatnonzero(labels == code)
        part = vectors[rows]
        middle = _centre(part, centre)
        for start in range(0, len(rows), BLOCK):
            here = slice(start, start + BLOCK)
            far[rows[here]] = np.sqrt(((part[here] - middle) ** 2).sum(axis=1))
    return far


def _centre(vectors: Vectors, centre: Literal["median", "mean"]) -> NDArray[np.float64]:
    """Coordinate by coordinate, (d,), a few of them at a time in float64."""
    width = max(8, BLOCK * 64 // len(vectors))
    middle = np.median if centre == "median" else np.mean
    parts = (vectors[:, at : at + width].astype(np.float64) for at in range(0, vectors.shape[1], width))
    return np.concatenate([np.asarray(middle(part, axis=0)) for part in parts])


def nearest_to_median(far: NDArray[np.float64], k: int) -> Rows:
    """The k rows whose value is nearest to the median.

    >>> nearest_to_median(np.array([5.0, 1, 4, 2, 3, 0]), 3).tolist()
    [3, 4, 1]
    """
    return top_k(np.abs(far - np.median(far)), k, largest=False)
