"""k-center greedy: each pick is the row farthest from all picked before, so that every row has one of them near.

Gonzalez 1985, "Clustering to Minimize the Maximum Intercluster Distance"; for training sets Sener & Savarese 2018, "Active Learning for
Convolutional Neural Networks: A Core-Set Approach", official code ozansener/active_learning_coreset.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.errors import OptionError
from curate.index.vectors import Vectors, as_vectors, centred, squared_norms, unit
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom


class KCenter:
    """Rows in the order picked, each of weight 1; every prefix is a k-center set, whose radius is at most twice the least possible.

    Reads `embedding`, (n, d). `metric=cosine` brings vectors to length 1 first, `euclidean` takes them as they are. `start` is the row
    nearest to the mean (`mean`) or one drawn by key (`random`). Ties go to the lower row; once every row lies on a picked one the rest
    follow in row order. `trim` leaves out that share of the rows farthest from the mean, for k-center picks outliers first. Cost: one
    product of the vectors with a vector a pick, n·d·k; memory a float32 copy of the vectors, 4·n·d bytes, and 8 bytes a row.
    """

    requires = ("embedding",)
    version = 1

    def __init__(
        self, *, metric: Literal["cosine", "euclidean"] = "cosine", start: Literal["mean", "random"] = "mean", trim: float = 0.0
    ) -> None:
        if not 0 <= trim < 1:
            raise OptionError(f"k_center: trim is the share of the farthest rows to leave out, 0 or more and below 1; got {trim}.")
        self.metric: Literal["cosine", "euclidean"] = metric
        self.start: Literal["mean", "random"] = start
        self.trim = trim

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        vectors = as_vectors(pool["embedding"])
        vectors = centred(unit(vectors) if self.metric == "cosine" else vectors)
        far = squared_norms(vectors)  # from the mean, which is 0 now
        first = int(far.argmin()) if self.start == "mean" else int(rng.uniform(pool.rows).argmin())
        kept = np.sort(np.argsort(far, kind="stable")[: max(k, len(far) - int(self.trim * len(far)))])
        if first not in kept:
            first = int(kept[0])
        inside = farthest_first(vectors[kept], k, int(np.searchsorted(kept, first)))
        return kept[inside], np.ones(k)

    def memory(self, n: int, d: int, k: int) -> int:
        return 4 * n * d * 2 + 24 * n


def farthest_first(vectors: Vectors, k: int, start: int) -> Rows:
    """Positions of `k` rows, each the farthest from those before it, (k,) int64; pass centred vectors.

    >>> farthest_first(np.array([[0.0], [1], [5], [6], [10]], np.float32), 3, 0).tolist()
    [0, 4, 2]
    """
    norms = squared_norms(vectors)
    picked = np.empty(k, np.int64)
    nearest = np.full(len(vectors), np.inf, np.float32)  # squared distance to the nearest picked row; -1 for those picked
    row = start
    for i in range(k):
        picked[i] = row
        nearest = np.minimum(nearest, np.maximum(norms + norms[row] - 2 * (vectors @ vectors[row]), 0))
        nearest[picked[: i + 1]] = -1
        row = int(nearest.argmax())
    return picked


def radius(vectors: Vectors, picked: Rows) -> float:
    """How far the row farthest from its nearest picked one lies from it."""
    from curate.index.vectors import squared_distances

    moved = centred(vectors)
    blocks = (squared_distances(moved[start : start + 4096], moved[picked]).min(axis=1) for start in range(0, len(moved), 4096))
    return float(np.sqrt(max(float(block.max()) for block in blocks)))
