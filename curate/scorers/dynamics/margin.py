"""Margin: how close the two likeliest classes of the final prediction are; high is hard.

Scheffer, Decomain, Wrobel 2001, "Active Hidden Markov Models for Information Extraction"; for pruning Coleman et al. 2020,
"Selection via Proxy", official code stanford-futuredata/selection-via-proxy.
"""

import numpy as np

from curate.protocols import Columns, PerRow, Shard


class Margin(PerRow):
    """One minus the gap between the two largest probabilities of the final prediction, 0 … 1; high is hard and kept.

    Reads `probs.final`, (n, classes). (n,) float32, NaN for a row without a prediction. The label is not read: `aum` and
    `margin_sum` are the margins that know it. With a single class there is no second: the gap is the probability itself.
    """

    requires = ("probs.final",)
    hard_sign = 1
    keep = "high"

    def score_rows(self, shard: Shard) -> Columns:
        p = shard["probs.final"]  # (n, classes)
        largest = np.partition(p, -2, axis=1)[:, -2:] if p.shape[1] > 1 else np.pad(p, ((0, 0), (1, 0)))
        return {"score": (1 - (largest[:, 1] - largest[:, 0])).astype(np.float32)}
