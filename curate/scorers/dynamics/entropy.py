"""Entropy: how undecided the final prediction is, whatever the label; high is hard.

Shannon entropy as in active learning: Settles 2009, "Active Learning Literature Survey"; used for pruning by Coleman et al. 2020,
"Selection via Proxy", official code stanford-futuredata/selection-via-proxy.
"""

import numpy as np

from curate.protocols import Columns, PerRow, Shard


class Entropy(PerRow):
    """Entropy of the final prediction in nats, 0 … log(classes); high is hard and kept.

    Reads `probs.final`, (n, classes). (n,) float32, NaN for a row without a prediction. The label is not read, so a wrong one
    goes unnoticed.
    """

    requires = ("probs.final",)
    hard_sign = 1
    keep = "high"

    def score_rows(self, shard: Shard) -> Columns:
        p = np.ascontiguousarray(shard["probs.final"], np.float64)  # (n, classes)
        tiny = np.finfo(np.float64).tiny  # 0 log 0 is 0; `maximum` lets NaN through, a mask would not
        entropy = -(p * np.log(np.maximum(p, tiny))).sum(axis=1)
        return {"score": np.maximum(entropy, 0.0).astype(np.float32)}
