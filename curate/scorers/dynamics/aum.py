"""AUM: the area under the margin, low where the label is probably wrong.

Pleiss et al. 2020, "Identifying Mislabeled Data using the Area Under the Margin Ranking"; official code asappresearch/aum.
"""

import numpy as np
from numpy.typing import NDArray

from curate.errors import OptionError
from curate.numerics import seen_mean
from curate.protocols import Columns, PerRow, Shard


class AUM(PerRow):
    """Mean over presentations of the label's logit minus the largest other logit.

    Reads `dynamics.m_logit`, (n, presentations), NaN where a row was not presented. Gives `score`, (n,) float32, in
    logits; low is hard; keep high; NaN for a row never presented after `skip`. Costs one pass, no state. Like the official
    experiments we leave out the first presentation; the paper averages over all, which is `skip=0`. The learning rate should not drop
    during the run: once wrong labels are learned by heart the margin no longer tells them apart.
    """

    requires = ("dynamics.m_logit",)
    hard_sign = -1
    keep = "high"

    def __init__(self, *, skip: int = 1) -> None:
        if skip < 0:
            raise OptionError(f"aum: skip must be 0 or more, got {skip}.")
        self.skip = skip

    def settle(self, epochs: int) -> "AUM":
        if self.skip >= epochs:
            raise OptionError(f"aum: skip={self.skip} leaves nothing of {epochs} epochs. Use --epochs {self.skip + 1} or more, or aum:skip=0.")
        return self

    def score_rows(self, shard: Shard) -> Columns:
        return {"score": seen_mean(shard["dynamics.m_logit"][:, self.skip :]).astype(np.float32)}


def flag_by_threshold(aum: NDArray[np.float32], is_threshold: NDArray[np.bool_], share: float = 0.01) -> NDArray[np.bool_]:
    """Which rows AUM calls mislabelled: those below which fewer than all but `share` of the threshold rows lie, (n,) bool.

    `is_threshold` marks rows that were given a class that does not exist (the paper draws N / (classes + 1) of them, the code N // classes) before
    training; a row is flagged where more than `share` of them have a larger AUM. Threshold rows are never flagged by their own run: train twice with
    disjoint sets, and drop what every run flags in which it was not itself one.

    >>> flag_by_threshold(np.float32([98.5, 99.5, *range(1, 101)]), np.arange(102) >= 2)[:2]
    array([ True, False])
    """
    limits = np.sort(aum[is_threshold])
    if not len(limits):
        raise OptionError("flag_by_threshold needs threshold rows; is_threshold marks none.")
    above = len(limits) - np.searchsorted(limits, aum, side="right")
    return (above / len(limits) > share) & ~is_threshold
