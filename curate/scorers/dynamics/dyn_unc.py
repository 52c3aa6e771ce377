"""Dyn-Unc: how much the label's probability moves within short windows of training; high is hard.

He, Yang, Huang, Zhao 2024, "Large-scale Dataset Pruning with Dynamic Uncertainty"; official code BAAI-DCAI/Dataset-Pruning.
"""

from typing import Literal, Self

import numpy as np

from curate.numerics import compact, row_mean, window_moments
from curate.protocols import Columns, PerRow, Shard
from curate.scorers.dynamics.run_length import check_at_least, check_reach, window_length


class DynUnc(PerRow):
    """Mean over sliding windows of the standard deviation of the label's probability; 0 or more, high is hard and kept.

    Reads `dynamics.loss`, (n, epochs). `window=None` is 10 presentations, or half of a run shorter than 20, not below 3. The
    deviation is the sample one (ddof 1). (n,) float32; NaN for a row with fewer presentations than a window. Costs
    `window` times the signal in arithmetic, twice it in memory.

    The official code multiplies by 10 and leaves the last window out: `variant="code"`; `"fixed"` is the paper's formula. It
    also reads a clean forward pass inside each training step, where ours reads the step's own, augmented logits.
    """

    requires = ("dynamics.loss",)
    hard_sign = 1
    keep = "high"

    def __init__(self, *, window: int | None = None, variant: Literal["fixed", "code"] = "fixed") -> None:
        check_at_least("dyn_unc", "window", window, 2)
        self.window = window
        self.variant = variant

    def settle(self, epochs: int) -> Self:
        """A window by the run's length where none was given; OptionError if not one fits (the code's variant needs two)."""
        window = self.window or window_length(epochs)
        spare = 1 if self.variant == "code" else 0
        instead = f"window={epochs - spare}" if epochs - spare >= 2 else ""
        check_reach("dyn_unc", f"window {window}", window + spare, epochs, instead=instead)
        return type(self)(window=window, variant=self.variant)

    def score_rows(self, shard: Shard) -> Columns:
        assert self.window is not None, "settled"
        p = np.exp(-compact(shard["dynamics.loss"]).astype(np.float64))
        _, deviation = window_moments(p, self.window, ddof=1)  # (n, windows)
        if self.variant == "code":
            return {"score": (10 * row_mean(_without_last(deviation))).astype(np.float32)}
        return {"score": row_mean(deviation).astype(np.float32)}


def _without_last(deviation: np.ndarray) -> np.ndarray:
    """Every row's windows but its own last one, which rows with fewer presentations have earlier."""
    has_next = ~np.isnan(deviation[:, 1:])
    return np.where(has_next, deviation[:, :-1], np.nan)
