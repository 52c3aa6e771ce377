"""Margin sum: CCS's accumulated probability margin, low where the label is probably wrong.

Zheng et al. 2023, "Coverage-centric Coreset Selection for High Pruning Rates"; official code haizhongzheng/Coverage-centric-coreset-selection, which
calls it AUM.
"""

import numpy as np

from curate.numerics import seen_mean
from curate.protocols import Columns, PerRow, Shard


class MarginSum(PerRow):
    """Sum over presentations of p_y minus the largest other probability, (n,) float32, in -E … E; low is hard, keep high.

    Reads `dynamics.m_prob`. What CCS and D2 call AUM: on probabilities, not logits, and summed; `aum` is the paper's own. A row that was presented less often
    than the run is long has its mean times the run's length, so that it is not taken for a hard one. One pass, no state.
    """

    requires = ("dynamics.m_prob",)
    hard_sign = -1
    keep = "high"

    def score_rows(self, shard: Shard) -> Columns:
        margin = shard["dynamics.m_prob"]
        return {"score": (seen_mean(margin) * margin.shape[1]).astype(np.float32)}
