"""Margin sum: the probability margin of the label added up over training, low where the label is probably wrong.

Zheng, Liu, Lai, Prakash 2023, "Coverage-centric Coreset Selection for High Pruning Rates"; official code
haizhongzheng/Coverage-centric-coreset-selection, which calls it the accumulated margin, or AUM.
"""

import numpy as np

from curate.numerics import row_sum
from curate.protocols import Columns, PerRow, Shard


class MarginSum(PerRow):
    """Sum over presentations of the label's probability minus the largest other one; low is hard, high is kept.

    Reads `dynamics.m_prob`, (n, epochs), each in -1 … 1. (n,) float32, within ± the number of presentations; NaN for a row
    never presented. CCS and D2 publish this under the name AUM, which averages *logit* margins (`aum` here): another ranking.
    A sum, as in their code: a row that was presented less often lies nearer to 0.
    """

    requires = ("dynamics.m_prob",)
    hard_sign = -1
    keep = "high"

    def score_rows(self, shard: Shard) -> Columns:
        return {"score": row_sum(shard["dynamics.m_prob"]).astype(np.float32)}
