"""Entropy of the final prediction: high where the model is undecided; needs no label to be right."""

import numpy as np

from curate.protocols import Columns, PerRow, Shard


class Entropy(PerRow):
    """-Σ p log p in nats, (n,) float32, 0 … log(classes); high is hard, keep high. One pass with the final weights."""

    requires = ("probs.final",)
    hard_sign = 1
    keep = "high"

    def score_rows(self, shard: Shard) -> Columns:
        p = shard["probs.final"]  # (n, classes)
        logs = np.log(np.where(p > 0, p, 1))
        return {"score": -(p * logs).sum(axis=1).astype(np.float32)}
