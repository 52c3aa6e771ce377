"""Data maps: confidence, variability and correctness of a row over training; low confidence is hard.

Swayamdipta et al. 2020, "Dataset Cartography: Mapping and Diagnosing Datasets with Training Dynamics"; official code
allenai/cartography.
"""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np

from curate.errors import OptionError
from curate.numerics import Float64, compact, row_mean, row_sum, row_variance
from curate.protocols import Columns, Keep, Shard, Sign, State
from curate.quantile import Quantile
from curate.scorers.dynamics.run_length import check_at_least, check_reach


class DataMap:
    """Mean probability of the given label over training, 0 … 1; low is hard, high (the clean end) is kept.

    Reads `dynamics.loss` and `dynamics.correct`, (n, epochs); of each row the first `burn_out` presentations, or all. The
    columns, (n,) float32 and NaN for a row never presented: `score` = `confidence`; `variability`, the population standard
    deviation; `correctness`, how many presentations were right; `threshold_closeness`, confidence · (1 - confidence).
    `include_ci` widens the variability by its own uncertainty, sqrt(v + v²/(m-1)) over m presentations, as in the code.

    `region` is easy, ambiguous or hard, by rank as the paper selects and without fixed thresholds: the `ambiguous` share of
    rows with the largest variability (a third, their working point; ties at the border stay out), and of the others, which
    are stable, those where the label is the likelier side (confidence ≥ ½) are easy and the rest hard. Empty where not presented.

    The paper publishes two selections: ambiguous rows (`--by datamap.variability --keep high`) and hard ones (`--keep low`).
    Variability says ambiguous, not mislabelled: in a short run wrong labels are the most stable rows, in a long one the least.
    Below five presentations it is noise. Two passes count variabilities for the regions; memory does not grow with the rows.
    """

    requires: Sequence[str] = ("dynamics.loss", "dynamics.correct")
    hard_sign: Sign = -1
    keep: Keep = "high"
    passes = 2
    combine: Literal["mean"] = "mean"
    version = 1

    def __init__(self, *, burn_out: int | None = None, include_ci: bool = False, ambiguous: float = 1 / 3) -> None:
        check_at_least("datamap", "burn_out", burn_out, 1)
        if not 0 < ambiguous < 1:
            raise OptionError(f"datamap: ambiguous must be a share between 0 and 1, got {ambiguous}.")
        self.burn_out = burn_out
        self.include_ci = include_ci
        self.ambiguous = ambiguous

    def settle(self, epochs: int) -> Self:
        """The whole run unless `burn_out` was given."""
        burn_out = self.burn_out or epochs
        check_reach("datamap", f"burn_out {burn_out}", burn_out, epochs, instead=f"burn_out={epochs}")
        return type(self)(burn_out=burn_out, include_ci=self.include_ci, ambiguous=self.ambiguous)

    def fit(self, shard: Shard, state: State | None) -> State:
        return self._border().fit(self._variability(self._probability(shard)).astype(np.float32), state)

    def merge(self, states: Sequence[State]) -> State:
        return self._border().merge(states)

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "two passes have run"
        p = self._probability(shard)
        right = _first(shard["dynamics.correct"], self.burn_out)
        confidence = row_mean(p)
        variability = self._variability(p).astype(np.float32)
        region = np.select(
            [np.isnan(confidence), variability > self._border().value(state), confidence >= 0.5], ["", "ambiguous", "easy"], "hard"
        )
        return {
            "score": confidence.astype(np.float32),
            "confidence": confidence.astype(np.float32),
            "variability": variability,
            "correctness": row_sum(np.where(np.isnan(right), np.nan, right >= 0.5)).astype(np.float32),
            "threshold_closeness": (confidence * (1 - confidence)).astype(np.float32),
            "region": region,
        }

    def _probability(self, shard: Shard) -> Float64:
        return np.exp(-_first(shard["dynamics.loss"], self.burn_out))

    def _variability(self, p: Float64) -> Float64:
        variance = row_variance(p)
        if self.include_ci:
            count = np.count_nonzero(~np.isnan(p), axis=1)
            variance = variance + variance**2 / np.maximum(count - 1, 1)  # one presentation: variance 0, and no division by 0
        return np.sqrt(variance)

    def _border(self) -> Quantile:
        return Quantile(1 - self.ambiguous)


def _first(signal: np.ndarray, presentations: int | None) -> Float64:
    return compact(signal)[:, :presentations].astype(np.float64)
