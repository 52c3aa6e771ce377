"""A band of ranks around a quantile of the score.

Xia et al. 2023, "Moderate Coreset: A Universal Method of Data Selection for Real-world Data-efficient Deep Learning"; official
code tmllab/2023_ICLR_Moderate-DS.
"""

import numpy as np
from numpy.typing import NDArray

from curate.errors import OptionError
from curate.pool import known_column
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom
from curate.topk import nearest_ranks


class Band:
    """The rows whose ranks are nearest to a quantile of the score, nearest first, each of weight 1.

    Reads `score`, as stored: `centre=0` is its lowest value, 1 its highest, whatever `keep` says. At 0.5 this is moderate
    selection (Xia et al. 2023, "Moderate Coreset"), whose official code rounds both ends of the band and may miss the budget
    by one; ours is exact. Equal scores are ranked by row. Cost O(n log n), memory 16 bytes a row
    and 24 a chosen one.
    """

    requires = ("score",)
    version = 1

    def __init__(self, *, centre: float = 0.5) -> None:
        if not 0 <= centre <= 1:
            raise OptionError(f"band: centre is a quantile between 0 and 1, got {centre}.")
        self.centre = centre

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        return nearest_ranks(known_column(pool, "score"), self.centre, k), np.ones(k)
