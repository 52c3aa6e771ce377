"""The hard rows but not the hardest, where wrong labels gather.

Paul et al. 2021, "Deep Learning on a Data Diet"; official code mansheej/data_diet.
"""

import numpy as np
from numpy.typing import NDArray

from curate.budget import share_of
from curate.errors import OptionError
from curate.pool import known_column
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom
from curate.topk import top_k


class Offset:
    """Drops the hardest ⌊drop·n⌋ rows and keeps the next hardest, hardest first, ties to the lower row, each of weight 1.

    Reads `score`, whose `hard_sign` says which end is hard; `keep` plays no part. Paul et al. 2021, "Deep Learning on a Data
    Diet", slide such a window over EL2N: with noisy labels the best one starts below the top. Cost O(n + k log k), memory 16
    bytes a row and 24 a chosen one.
    """

    requires = ("score",)
    version = 1

    def __init__(self, *, drop: float = 0.1) -> None:
        if not 0 <= drop < 1:
            raise OptionError(f"offset: drop is the share of rows to leave out, 0 or more and below 1; got {drop}.")
        self.drop = drop

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        if pool.hard_sign == 0:
            raise OptionError("offset: this score says nothing about hardness, so there is no hardest end to drop. Use top or band.")
        n_dropped = share_of(self.drop, len(pool))
        if n_dropped + k > len(pool):
            raise OptionError(
                f"offset: drop={self.drop} leaves {len(pool) - n_dropped} of {len(pool)} rows, but the budget is {k}. Lower one of them."
            )
        hardest = top_k(known_column(pool, "score"), n_dropped + k, largest=pool.hard_sign == 1)
        return hardest[n_dropped:], np.ones(k)
