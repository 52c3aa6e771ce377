"""The rows that the model was of two minds about, with some easy ones where the budget is small.

Swayamdipta et al. 2020, "Dataset Cartography: Mapping and Diagnosing Datasets with Training Dynamics"; official code
allenai/cartography.
"""

import numpy as np
from numpy.typing import NDArray

from curate.budget import share_of
from curate.errors import OptionError
from curate.pool import known_column
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom
from curate.topk import top_k


class Ambiguous:
    """The rows of highest variability, then ⌊easy_mix·k⌋ easy ones: of the highest confidence among the rest; each of weight 1.

    Reads `datamap.variability` and `datamap.confidence`; best first in both parts, ties to the lower row. The paper trains on
    a third of the data and finds that below a quarter ambiguous rows alone do not converge; so `easy_mix=None` is 0 from a
    quarter of the pool upwards and 0.3 below. Cost O(n + k log k), memory 33 bytes a row and 24 a chosen one.
    """

    requires = ("datamap.variability", "datamap.confidence")
    version = 1

    def __init__(self, *, easy_mix: float | None = None) -> None:
        if easy_mix is not None and not 0 <= easy_mix <= 1:
            raise OptionError(f"ambiguous: easy_mix is a share between 0 and 1, got {easy_mix}.")
        self.easy_mix = easy_mix

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        mix = self.easy_mix
        if mix is None:
            mix = 0.0 if 4 * k >= len(pool) else 0.3
        n_easy = share_of(mix, k)
        ambiguous = top_k(known_column(pool, "datamap.variability"), k - n_easy)
        rest = np.ones(len(pool), bool)
        rest[ambiguous] = False
        others = np.flatnonzero(rest)
        easy = others[top_k(known_column(pool, "datamap.confidence")[others], n_easy)]
        return np.concatenate((ambiguous, easy)), np.ones(k)
