"""Margin: one minus the gap between the two most probable classes of the final prediction."""

import numpy as np

from curate.protocols import Columns, PerRow, Shard


class Margin(PerRow):
    """1 - (p_(1) - p_(2)), (n,) float32, 0 … 1; high is hard, keep high. One pass with the final weights."""

    requires = ("probs.final",)
    hard_sign = 1
    keep = "high"

    def score_rows(self, shard: Shard) -> Columns:
        p = shard["probs.final"]  # (n, classes)
        top = np.partition(p, p.shape[1] - 2, axis=1)[:, -2:]  # the second largest, the largest
        return {"score": (1 - (top[:, 1] - top[:, 0])).astype(np.float32)}
