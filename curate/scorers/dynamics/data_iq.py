"""Data-IQ: how uncertain the label stays over training because of the data itself; high is ambiguous.

Seedat et al. 2022, "Data-IQ: Characterizing Subgroups with Heterogeneous Outcomes in Tabular Data"; official code
seedatnabeel/Data-IQ.
"""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np

from curate.errors import OptionError
from curate.numerics import Float64, row_mean
from curate.protocols import Columns, Keep, Shard, Sign, State
from curate.quantile import Quantile


class DataIQ:
    """Mean over training of p(1 - p), p the probability of the given label; 0 … ¼, high is hard and kept.

    Reads `dynamics.loss`, (n, epochs). `score` is that aleatoric uncertainty, `confidence` the mean of p, (n,) float32, NaN for
    a row never presented; score + variability² = confidence · (1 - confidence) with the data map's variability.

    `group` is easy where confidence ≥ `high` and hard where it is ≤ `low`, both only with a score not above the `percentile`th
    of all rows; everything else is ambiguous, and empty where not presented. The defaults .25, .75 and 50 are the official
    code's. The paper stratifies and names no end to keep; we keep the ambiguous one, as data maps do. Two passes count scores
    for that percentile, exactly; memory does not grow with the rows.
    """

    requires: Sequence[str] = ("dynamics.loss",)
    hard_sign: Sign = 1
    keep: Keep = "high"
    passes = 2
    combine: Literal["mean"] = "mean"
    version = 1

    def __init__(self, *, low: float = 0.25, high: float = 0.75, percentile: float = 50.0) -> None:
        if not 0 <= low < high <= 1:
            raise OptionError(f"data_iq: low and high must satisfy 0 ≤ low < high ≤ 1, got {low} and {high}.")
        if not 0 < percentile <= 100:
            raise OptionError(f"data_iq: percentile must be above 0 and at most 100, got {percentile}.")
        self.low = low
        self.high = high
        self.percentile = percentile

    def settle(self, epochs: int) -> Self:
        """Nothing depends on the run's length."""
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        return self._border().fit(_aleatoric(_probability(shard)), state)

    def merge(self, states: Sequence[State]) -> State:
        return self._border().merge(states)

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "two passes have run"
        p = _probability(shard)
        confidence, aleatoric = row_mean(p), _aleatoric(p)
        certain = aleatoric <= self._border().value(state)
        group = np.select(
            [np.isnan(confidence), certain & (confidence >= self.high), certain & (confidence <= self.low)],
            ["", "easy", "hard"],
            "ambiguous",
        )
        return {"score": aleatoric, "confidence": confidence.astype(np.float32), "group": group}

    def _border(self) -> Quantile:
        # numpy's percentile may lie between two neighbours of the sorted column; the lower one admits the same rows.
        return Quantile(self.percentile / 100)


def _probability(shard: Shard) -> Float64:
    return np.exp(-shard["dynamics.loss"].astype(np.float64))


def _aleatoric(p: Float64) -> np.ndarray:
    return row_mean(p * (1 - p)).astype(np.float32)
