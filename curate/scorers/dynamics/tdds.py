"""TDDS: how unsteadily the prediction changes from one presentation to the next, late windows counting most; high is hard.

Zhang et al. 2024, "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced Dataset Pruning"; official code
zhangxin-xd/Dataset-Pruning-TDDS.
"""

from typing import Self

import numpy as np

from curate.errors import OptionError
from curate.numerics import compact, window_moments
from curate.protocols import Columns, PerRow, Shard
from curate.scorers.dynamics.run_length import check_at_least, check_reach, check_window, window_length


class TDDS(PerRow):
    """Moving average over sliding windows of how far the prediction's changes stray from their mean; high is hard and kept.

    Reads `dynamics.kappa`, (n, epochs): κ = Σ_c |p' (log p' - log p)| between a presentation and the one before, absolute value
    inside the sum, so no KL divergence; the first has none. A window of `window` presentations holds `window` - 1 of
    them and D = ‖κ - mean κ‖₂; the score follows S ← (1 - beta) S + beta D from 0. (n,) float32, NaN for a row with fewer
    presentations than a window.

    With the published beta = .9 the last window has nine tenths of the weight; lower it for more memory. Of each row the
    first `epochs` presentations are read, by default all; `window=None` is 10, or half of `epochs` if that is less, not below
    3. The paper tunes both by pruning rate, e.g. for CIFAR-100 (90, 10) to drop 30 % and (10, 5) to drop 90 %.
    """

    requires = ("dynamics.kappa",)
    hard_sign = 1
    keep = "high"

    def __init__(self, *, window: int | None = None, epochs: int | None = None, beta: float = 0.9) -> None:
        check_at_least("tdds", "window", window, 3)  # two presentations have one κ, which never strays from its mean
        check_at_least("tdds", "epochs", epochs, 3)
        if not 0 < beta <= 1:
            raise OptionError(f"tdds: beta must be above 0 and at most 1, got {beta}.")
        self.window = window
        self.epochs = epochs
        self.beta = beta

    def settle(self, epochs: int) -> Self:
        """The whole run and a window by its length where none was given; OptionError if it is too short."""
        first = self.epochs or epochs
        check_reach("tdds", f"epochs {first}", first, epochs, instead=f"epochs={epochs}")
        window = self.window or window_length(first)
        check_window("tdds", window, first, epochs, least=3)
        return type(self)(window=window, epochs=first, beta=self.beta)

    def score_rows(self, shard: Shard) -> Columns:
        assert self.window is not None and self.epochs is not None, "settled"
        kappa = compact(shard["dynamics.kappa"])[:, : self.epochs - 1]
        _, deviation = window_moments(kappa, self.window - 1, ddof=0)
        distance = deviation * np.sqrt(self.window - 1)  # the norm, not the standard deviation
        score = np.where(np.isnan(distance[:, :1]).all(axis=1), np.nan, 0.0)
        for window in distance.T:
            score = np.where(np.isnan(window), score, (1 - self.beta) * score + self.beta * window)
        return {"score": score.astype(np.float32)}
