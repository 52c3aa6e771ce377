"""AUM: the area under the margin, low where the label is probably wrong.

Pleiss et al. 2020, "Identifying Mislabeled Data using the Area Under the Margin Ranking"; official code asappresearch/aum.
"""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError, OptionError
from curate.numerics import compact, row_mean
from curate.protocols import Array, Columns, Keep, Shard, Sign, State
from curate.quantile import Quantile
from curate.scorers.dynamics.run_length import check_at_least, check_reach

_FLAGGED_SHARE = 0.01


class AUM:
    """Mean over presentations of the label's logit minus the largest other logit; low is hard, high is kept.

    Reads `dynamics.m_logit`, (n, epochs). `score` is (n,) float32, in logits; NaN for a row never presented after the first
    `skip` presentations. Like the official experiments we leave out the first presentation; the paper averages over all,
    which is `skip=0`. Stop before the learning rate drops: once wrong labels are memorised their margins grow as well.

    Threshold rows: give a random N/(C+1) rows of the training set an extra class C before scoring, and name it here with
    `threshold_class=C`. A column `flagged` then says which rows score below the 99th percentile of those, as
    `flag_by_threshold` does; it costs two small passes. The paper does so twice, with disjoint threshold rows, and removes a
    row only if every run in which it bore its own label flags it.
    """

    requires: Sequence[str] = ("dynamics.m_logit",)
    hard_sign: Sign = -1
    keep: Keep = "high"
    passes = 0
    combine: Literal["mean"] = "mean"
    version = 1

    def __init__(self, *, skip: int = 1, threshold_class: int | None = None) -> None:
        check_at_least("aum", "skip", skip, 0)
        check_at_least("aum", "threshold_class", threshold_class, 0)
        self.skip = skip
        self.threshold_class = threshold_class
        if threshold_class is not None:
            self.requires = ("dynamics.m_logit", "label")
            self.passes = 2

    def settle(self, epochs: int) -> Self:
        """Nothing is left to fill in; OptionError if the run would be skipped whole."""
        check_reach("aum", f"skip {self.skip}", self.skip + 1, epochs, instead=f"skip={epochs - 1}")
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        is_threshold = shard["label"] == self.threshold_class
        return _threshold().fit(self._area(shard)[is_threshold], state)

    def merge(self, states: Sequence[State]) -> State:
        return _threshold().merge(states)

    def score(self, shard: Shard, state: State | None) -> Columns:
        area = self._area(shard)
        if self.threshold_class is None:
            return {"score": area}
        assert state is not None, "two passes have run"
        limit = _threshold().value(state)
        if np.isnan(limit):
            raise OptionError(
                f"aum: threshold_class {self.threshold_class} is the label of no row that was presented; give some rows that label, "
                "or leave the option out."
            )
        return {"score": area, "flagged": (area < limit) & (shard["label"] != self.threshold_class)}

    def _area(self, shard: Shard) -> NDArray[np.float32]:
        margin = compact(shard["dynamics.m_logit"])[:, self.skip :]  # (n, presentations)
        return row_mean(margin).astype(np.float32)


def flag_by_threshold(aum: Array, is_threshold: Array, quantile: float = _FLAGGED_SHARE) -> NDArray[np.bool_]:
    """Which rows are probably mislabelled: those that more than `quantile` of the threshold rows surpass.

    `aum` is (n,), `is_threshold` marks the rows that were given the extra class, (n,) bool. Gives (n,) bool; threshold rows
    and rows without a score are never flagged. The official code does the same with its fraction of 0.01.

    >>> flag_by_threshold(np.array([-1.0, 2.0, 0.0, 1.0]), np.array([False, False, True, True])).tolist()
    [True, False, False, False]
    """
    limit = _threshold(quantile).of(aum[is_threshold])
    if np.isnan(limit):
        raise InputError("flag_by_threshold got no threshold row with a score; give some rows the extra class before training.")
    return (aum < limit) & ~is_threshold


def _threshold(quantile: float = _FLAGGED_SHARE) -> Quantile:
    # More than q·m of m threshold rows lie above a number exactly if it is below their number of rank m - ⌊q·m⌋ = ⌈(1-q)·m⌉.
    return Quantile(1 - quantile)
