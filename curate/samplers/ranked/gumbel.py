"""Soft top-k: the best rows are likelier, not certain, so that the selection stays diverse.

Wettig et al. 2024, "QuRating: Selecting High-Quality Data for Training Language Models"; official code
princeton-nlp/QuRating. With `scale=raw` and a log importance weight it is the resampling of DSIR (Xie et al. 2023).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.draws import gumbel_top_k
from curate.errors import OptionError
from curate.pool import wanted_score
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom


class Gumbel:
    """Draws rows without replacement with weights exp(score / temperature), in the order drawn, each of weight 1.

    Reads `score`, turned so that the wanted end is high: negated for `keep=low`, minus the distance to the median for
    `keep=middle`. `scale=sd` divides by the pool's standard deviation, so that temperature counts in those, as QuRating does
    (2 was best there); `raw` takes the score as a log-weight. Temperature towards 0 is `top`, large is `random`.
    Cost O(n), memory 56 bytes a row and 24 a chosen one.
    """

    requires = ("score",)
    version = 1

    def __init__(self, *, temperature: float = 2.0, scale: Literal["sd", "raw"] = "sd") -> None:
        if not (temperature > 0 and np.isfinite(temperature)):
            raise OptionError(f"gumbel: temperature must be a number above 0, got {temperature}. For temperature 0 use top.")
        self.temperature = temperature
        self.scale: Literal["sd", "raw"] = scale

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        wanted = wanted_score(pool)
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        unit = (float(pool["score"].astype(np.float64).std()) or 1.0) if self.scale == "sd" else 1.0  # all equal: nothing to scale
        log_weights = (wanted - wanted.max()) / (unit * self.temperature)  # from 0 down, so that no luck is lost to rounding
        return gumbel_top_k(log_weights, pool.rows, k, rng), np.ones(k)
