"""DUAL: uncertainty times difficulty in the early epochs, high where a row is both unsettled and hard.

Cho et al. 2025, "Lightweight Dataset Pruning without Full Training via Example Difficulty and Prediction Uncertainty"; official code behaapyy/dual-pruning.
"""

from typing import Self

import numpy as np

from curate.errors import OptionError
from curate.numerics import close_gaps, seen_mean, window_square_sums
from curate.protocols import Columns, PerRow, Shard
from curate.scorers.dynamics.lengths import require_window, span_for, window_for


class DUAL(PerRow):
    """Mean over windows of (sample deviation of p_y) x (1 - mean of p_y), (n,) float32; high is hard, keep high.

    Over the first `T` presentations, the paper's 30 or the whole of a shorter run, in windows of `window`, the paper's 10 or min(10, max(3, E // 2)).
    `mean` is the mean of p_y over the same presentations, which the sampler `beta` reads. Reads `dynamics.loss`; one pass. A row seen less often than a window is long
    scores NaN.
    """

    requires = ("dynamics.loss",)
    hard_sign = 1
    keep = "high"

    def __init__(self, *, window: int | None = None, T: int | None = None) -> None:
        require_window("dual", window)
        if T is not None and T < 2:
            raise OptionError(f"dual: T must be 2 or more, got {T}.")
        self.window, self.T = window, T

    def settle(self, epochs: int) -> Self:
        span = span_for("dual", self.T, 30, epochs)
        return type(self)(window=window_for("dual", self.window, span), T=span)

    def score_rows(self, shard: Shard) -> Columns:
        assert self.window is not None, "settled before it scores"
        p_y, _ = close_gaps(np.exp(-shard["dynamics.loss"]))
        p_y = p_y[:, : self.T]
        deviation = np.sqrt(window_square_sums(p_y, self.window) / (self.window - 1))  # (n, windows)
        sums = np.cumsum(np.pad(p_y, ((0, 0), (1, 0))), axis=1, dtype=np.float64)
        mean = (sums[:, self.window :] - sums[:, : -self.window]) / self.window
        return {"score": seen_mean(deviation * (1 - mean)).astype(np.float32), "mean": seen_mean(p_y).astype(np.float32)}
