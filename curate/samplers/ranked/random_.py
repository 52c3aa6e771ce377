"""Random rows: the baseline that every other sampler has to beat."""

import numpy as np
from numpy.typing import NDArray

from curate.draws import uniform_k
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom


class Random:
    """Rows drawn uniformly without replacement, in random order, each of weight 1.

    Reads no column. A larger budget under the same seed adds rows and drops none. Cost O(n), memory 8 bytes a row
    and 24 a chosen one.
    """

    requires = ()
    version = 1

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        return uniform_k(pool.rows, k, rng), np.ones(k)
