"""TDDS: how unevenly a row's prediction moves between epochs, high where it keeps jumping.

Zhang et al. 2024, "Spanning Training Progress: Temporal Dual-Depth Scoring for Enhanced Dataset Pruning"; official code zhangxin-xd/Dataset-Pruning-TDDS.
"""

from typing import Self

import numpy as np

from curate.errors import OptionError
from curate.numerics import close_gaps, window_square_sums
from curate.protocols import Columns, PerRow, Shard
from curate.scorers.dynamics.lengths import require_window, span_for, window_for


class TDDS(PerRow):
    """Exponentially weighted sum over windows of the spread of kappa, (n,) float32, 0 …; high is hard, keep high.

    kappa is Σ_c |p_new (log p_new - log p_old)| between a row's presentations; a window of `window` presentations holds `window` - 1 of them, and its spread is the norm of
    their deviations from the mean, not divided. The newest window weighs β, the one before β (1 - β), …: with the paper's 0.9 the last one dominates, so that β is the
    memory. Over the first `T` presentations, default all; the paper tunes (T, window) to the pruning rate. Reads `dynamics.kappa`; one pass.
    """

    requires = ("dynamics.kappa",)
    hard_sign = 1
    keep = "high"

    def __init__(self, *, window: int | None = None, T: int | None = None, beta: float = 0.9) -> None:
        require_window("tdds", None if window is None else window - 1)
        if not 0 < beta <= 1:
            raise OptionError(f"tdds: beta must be above 0 and at most 1, got {beta}.")
        self.window, self.T, self.beta = window, T, beta

    def settle(self, epochs: int) -> Self:
        span = span_for("tdds", self.T, epochs, epochs)
        return type(self)(window=window_for("tdds", self.window, span), T=span, beta=self.beta)

    def score_rows(self, shard: Shard) -> Columns:
        assert self.window is not None, "settled before it scores"
        kappa, count = close_gaps(shard["dynamics.kappa"][:, : self.T])  # a row's first presentation has none
        spread = np.sqrt(window_square_sums(kappa, self.window - 1))  # (n, windows)
        windows = count - (self.window - 1) + 1
        age = windows[:, None] - 1 - np.arange(spread.shape[1])  # 0 for a row's newest window
        weight = np.where(age >= 0, self.beta * (1 - self.beta) ** np.maximum(age, 0), 0)
        total = (weight * np.nan_to_num(spread)).sum(axis=1)
        return {"score": np.where(windows > 0, total, np.nan).astype(np.float32)}
