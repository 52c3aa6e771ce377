"""The best rows by score: the plain policy behind most published scores."""

import numpy as np
from numpy.typing import NDArray

from curate.pool import known_column
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom
from curate.topk import nearest_ranks, top_k


class Top:
    """The rows at the wanted end of the score, best first, ties to the lower row, each of weight 1.

    Reads `score`; the pool's `keep` names the end: high, low, or middle, which is the ranks nearest to the median (moderate
    selection, Xia et al. 2023). Good on clean data down to half of it; below a third, keeping only the hardest rows tends
    to lose to random (Zheng et al. 2023). Cost O(n + k log k), O(n log n) for the middle; memory
    24 bytes a chosen row (the middle: 16 bytes a row).
    """

    requires = ("score",)
    version = 1

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        score = known_column(pool, "score")
        if pool.keep == "middle":
            return nearest_ranks(score, 0.5, k), np.ones(k)
        return top_k(score, k, largest=pool.keep == "high"), np.ones(k)
