"""Loss: the cross-entropy of the given label, high where a row is hard; its mean over epochs is the "small loss" criterion."""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np

from curate.numerics import seen_mean
from curate.protocols import Columns, PerRow, Shard


class Loss(PerRow):
    """-log p_y in nats, (n,) float32, 0 …; high is hard, keep high.

    `over="final"` reads a clean pass after the last epoch. `over="mean"` averages the training step's own loss over all epochs (H-CAT's "small
    loss"), which finds wrong labels better than the last epoch, where they are being learned by heart.
    Cost: one evaluation pass, or none for the mean.
    """

    requires: Sequence[str] = ("eval.loss",)
    hard_sign = 1
    keep = "high"

    def __init__(self, *, over: Literal["final", "mean"] = "final") -> None:
        self.over = over
        self.requires = ("eval.loss",) if over == "final" else ("dynamics.loss",)

    def settle(self, epochs: int) -> Self:
        settled = type(self)(over=self.over)
        if self.over == "final":
            settled.requires = (f"eval.loss@{epochs}",)
        return settled

    def score_rows(self, shard: Shard) -> Columns:
        values = shard[self.requires[0]]
        return {"score": (values if self.over == "final" else seen_mean(values)).astype(np.float32)}
