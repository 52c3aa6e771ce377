"""Least confidence: one minus the final prediction's largest probability."""

import numpy as np

from curate.protocols import Columns, PerRow, Shard


class LeastConfidence(PerRow):
    """1 - max p, (n,) float32, 0 … 1 - 1/classes; high is hard, keep high. One pass with the final weights.

    DeepCore sorts this one way in its balanced branch and the other way in its unbalanced one; here direction is `hard_sign` alone.
    """

    requires = ("probs.final",)
    hard_sign = 1
    keep = "high"

    def score_rows(self, shard: Shard) -> Columns:
        p = shard["probs.final"]  # (n, classes)
        return {"score": (1 - p.max(axis=1)).astype(np.float32)}
