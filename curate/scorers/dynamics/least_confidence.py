"""Least confidence: what the final prediction's largest probability lacks to one; high is hard.

Lewis, Gale 1994, "A Sequential Algorithm for Training Text Classifiers"; for pruning Coleman et al. 2020, "Selection via Proxy",
official code stanford-futuredata/selection-via-proxy.
"""

import numpy as np

from curate.protocols import Columns, PerRow, Shard


class LeastConfidence(PerRow):
    """One minus the largest probability of the final prediction, 0 … 1 - 1/classes; high is hard and kept.

    Reads `probs.final`, (n, classes). (n,) float32, NaN for a row without a prediction. The label is not read. DeepCore's
    version keeps opposite ends with and without its class balance; ours has one direction.
    """

    requires = ("probs.final",)
    hard_sign = 1
    keep = "high"

    def score_rows(self, shard: Shard) -> Columns:
        return {"score": (1 - shard["probs.final"].max(axis=1)).astype(np.float32)}
