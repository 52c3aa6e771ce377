"""Beta sampling: DUAL scores drawn with a preference for easier rows that grows with the pruning rate.

Cho et al. 2025, "Lightweight Dataset Pruning without Full Training via Example Difficulty and Prediction Uncertainty";
official code behaapyy/dual-pruning.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.draws import gumbel_top_k
from curate.errors import OptionError
from curate.pool import finite_column
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom
from curate.topk import top_k

_CONCENTRATION: Final = 15.0  # a + b = 16
_N_ANCHORS: Final = 10
_EDGE: Final = 2.0**-24  # float32 cannot tell probabilities closer to 0 or 1 than this from them


class Beta:
    """Draws rows without replacement in proportion to DUAL · Beta(μ; a, b), in the order drawn, each of weight 1.

    Reads `dual.score` (0 or more) and `dual.mean`, μ, the mean probability of the label over DUAL's epochs, in 0 … 1; neither
    `score` nor `keep` plays a part. b = 15·(1 - μ_anchor)·(1 - r**c_d) and a = 16 - b, where r = 1 - k/n is the pruning rate
    of the pool at hand and μ_anchor the mean μ of its ten highest DUAL scores: the more is pruned, the nearer to μ = 1 lies
    the preference. `c_d=4` is the code's for CIFAR, 11 for ImageNet. Rows with DUAL 0 are taken only when no others are left.

    The code draws with NumPy's global state; the law is the same. One published version raises r to 2 + c_d; we follow the
    paper and the others. The density's constant cancels, so b may be 0. Cost O(n), memory 72 bytes a row
    and 24 a chosen one.
    """

    requires = ("dual.score", "dual.mean")
    version = 1

    def __init__(self, *, c_d: float = 4.0) -> None:
        if not (c_d > 0 and np.isfinite(c_d)):
            raise OptionError(f"beta: c_d must be a number above 0, got {c_d}.")
        self.c_d = c_d

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        dual = finite_column(pool, "dual.score").astype(np.float64)
        mean = finite_column(pool, "dual.mean").astype(np.float64)
        if (dual < 0).any() or (mean < 0).any() or (mean > 1).any():
            raise OptionError('beta: "dual.score" must be 0 or more and "dual.mean" within 0 and 1. Take both from the scorer dual.')
        anchor = float(mean[top_k(dual, min(_N_ANCHORS, len(dual)))].mean())
        a, b = shape(anchor, 1 - k / len(pool), self.c_d)
        inside = np.clip(mean, _EDGE, 1 - _EDGE)
        with np.errstate(divide="ignore"):  # ln 0 = -inf: never drawn while others are left
            log_weights = np.log(dual) + (a - 1) * np.log(inside) + (b - 1) * np.log1p(-inside)
        return gumbel_top_k(log_weights, pool.rows, k, rng), np.ones(k)


def shape(anchor: float, rate: float, c_d: float) -> tuple[float, float]:
    """The parameters (a, b) of the Beta density for a mean μ of the anchors and a pruning rate.

    >>> [round(x, 3) for x in shape(0.3, 0.3, 4)]
    [5.585, 10.415]
    """
    b = _CONCENTRATION * (1 - anchor) * (1 - rate**c_d)
    return _CONCENTRATION + 1 - b, b
