"""Forgetting: how often a row that was right turned wrong while training; high is hard.

Toneva et al. 2019, "An Empirical Study of Example Forgetting during Deep Neural Network Learning"; official code
mtoneva/example_forgetting.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.numerics import compact
from curate.protocols import Array, Columns, PerRow, Shard

# Stands for data_diet's infinity: exact in float32, above every count, and a sum over seeds stays finite.
NEVER_LEARNED = np.float32(1e9)


class Forgetting(PerRow):
    """Number of times a row went from right to wrong between successive presentations; high is hard and kept.

    Reads `dynamics.correct`, (n, epochs); a row seen several times in an epoch counts as right if it was in at least half of
    them. (n,) float32 holding whole numbers, NaN for a row never presented. Seeds are summed, as officially. Counts tie in
    masses; samplers break the ties.

    A row never once right has no events to count. `convention="toneva"` gives it the number of its presentations, the maximum;
    `"inf"` follows data_diet, where a number above all stands for infinity (1e9, since a score is finite); `"zero"` is what
    CCS, D2, DeepCore and others do, and ranks mislabelled rows as the easiest: for comparisons only.

    Further columns: `never_learned`, bool; `first_learned`, presentations before the first right one, NaN if there is none;
    `presentations_to_learn`, presentations up to and with the last wrong one, 0 if always right. Both float32.
    """

    requires = ("dynamics.correct",)
    hard_sign = 1
    keep = "high"
    combine = "sum"

    def __init__(self, *, convention: Literal["toneva", "inf", "zero"] = "toneva") -> None:
        self.convention = convention

    def score_rows(self, shard: Shard) -> Columns:
        history = compact(np.ascontiguousarray(shard["dynamics.correct"]))  # (n, presentations)
        count = np.count_nonzero(~np.isnan(history), axis=1)
        right = history >= 0.5
        wrong = history < 0.5  # not ~right: NaN is neither
        ever = np.count_nonzero(right, axis=1) > 0
        events = np.count_nonzero(right[:, :-1] & wrong[:, 1:], axis=1)
        score = np.where(ever, events, self._of_never_learned(count))
        seen = count > 0
        return {
            "score": _known(score, seen),
            "never_learned": seen & ~ever,
            "first_learned": _known(right.argmax(axis=1), ever),
            "presentations_to_learn": _known(_last(wrong), seen),
        }

    def _of_never_learned(self, count: Array) -> Array:
        if self.convention == "toneva":
            return count
        return np.full(len(count), NEVER_LEARNED if self.convention == "inf" else 0, np.float32)


def _last(mask: NDArray[np.bool_]) -> Array:
    """The position of each row's last True, counted from 1; 0 where there is none."""
    from_behind = mask[:, ::-1].argmax(axis=1)
    return np.where(mask.any(axis=1), mask.shape[1] - from_behind, 0)


def _known(values: Array, where: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(where, values, np.nan).astype(np.float32)
