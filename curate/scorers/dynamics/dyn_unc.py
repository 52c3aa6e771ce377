"""Dyn-Unc: the deviation of the label's probability in a moving window, high where a row is not settled.

He, Yang, Huang, Zhao 2024, "Large-scale Dataset Pruning with Dynamic Uncertainty"; official code BAAI-DCAI/Dataset-Pruning.
"""

from typing import Literal, Self

import numpy as np

from curate.numerics import close_gaps, seen_mean, window_square_sums
from curate.protocols import Columns, PerRow, Shard
from curate.scorers.dynamics.lengths import require_window, window_for


class DynUnc(PerRow):
    """Mean over windows of `window` presentations of the sample deviation of p_y, (n,) float32, 0 … 0.71; high is hard, keep high.

    `window` is the paper's 10, or in a shorter run of E epochs min(10, max(3, E // 2)). `variant="code"` leaves out the last window and multiplies by ten, as the official
    script does. The official signal is an extra clean pass in the loop; ours is the training step's own. It takes a probability of exactly 0 for "not
    seen"; we keep the two apart. A row seen less often than a window is long scores NaN. Reads `dynamics.loss`; one pass.
    """

    requires = ("dynamics.loss",)
    hard_sign = 1
    keep = "high"

    def __init__(self, *, window: int | None = None, variant: Literal["fixed", "code"] = "fixed") -> None:
        require_window("dyn_unc", window)
        self.window, self.variant = window, variant

    def settle(self, epochs: int) -> Self:
        window = window_for("dyn_unc", self.window, epochs - (self.variant == "code"))
        return type(self)(window=window, variant=self.variant)

    def score_rows(self, shard: Shard) -> Columns:
        assert self.window is not None, "settled before it scores"
        p_y, _ = close_gaps(np.exp(-shard["dynamics.loss"]))
        deviation = np.sqrt(window_square_sums(p_y, self.window) / (self.window - 1))  # (n, windows)
        if self.variant == "code":
            return {"score": (10 * seen_mean(deviation[:, :-1])).astype(np.float32)}
        return {"score": seen_mean(deviation).astype(np.float32)}
