"""DUAL: uncertainty weighted by difficulty, from the first epochs of training alone; high is hard.

Cho et al. 2025, "Lightweight Dataset Pruning without Full Training via Example Difficulty and Prediction Uncertainty"; official code
behaapyy/dual-pruning.
"""

from typing import Self

import numpy as np

from curate.numerics import compact, row_mean, window_moments
from curate.protocols import Columns, PerRow, Shard
from curate.scorers.dynamics.run_length import check_at_least, check_reach, check_window, window_length


class DUAL(PerRow):
    """Mean over sliding windows of std · (1 - mean) of the label's probability; 0 or more, high is hard and kept.

    Reads `dynamics.loss`, (n, epochs); of each row the first `epochs` presentations, by default 30 as for CIFAR, or all of a
    shorter run. `window=None` is 10, or half of `epochs` if that is less, not below 3. The deviation is the sample one. (n,) float32,
    NaN for a row with fewer presentations than a window. The column `mean` is the mean probability over the same
    presentations, which the `beta` sampler reads.
    """

    requires = ("dynamics.loss",)
    hard_sign = 1
    keep = "high"

    def __init__(self, *, window: int | None = None, epochs: int | None = None) -> None:
        check_at_least("dual", "window", window, 2)
        check_at_least("dual", "epochs", epochs, 2)
        self.window = window
        self.epochs = epochs

    def settle(self, epochs: int) -> Self:
        """The first 30 epochs and a window by their number where none was given; OptionError if they are too few."""
        first = self.epochs or min(30, epochs)
        check_reach("dual", f"epochs {first}", first, epochs, instead=f"epochs={epochs}")
        window = self.window or window_length(first)
        check_window("dual", window, first, epochs, least=2)
        return type(self)(window=window, epochs=first)

    def score_rows(self, shard: Shard) -> Columns:
        assert self.window is not None, "settled"
        p = np.exp(-compact(shard["dynamics.loss"])[:, : self.epochs].astype(np.float64))
        mean, deviation = window_moments(p, self.window, ddof=1)  # both (n, windows)
        return {"score": row_mean(deviation * (1 - mean)).astype(np.float32), "mean": row_mean(p).astype(np.float32)}
