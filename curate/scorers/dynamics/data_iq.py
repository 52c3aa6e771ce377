"""Data-IQ: the part of the uncertainty that stays whatever the model, high where a row is ambiguous by itself.

Seedat et al. 2022, "Data-IQ: Characterizing subgroups with heterogeneous outcomes in tabular data"; official code seedatnabeel/Data-IQ.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from curate.errors import OptionError
from curate.numerics import count_for_quantile, merge_counts, quantile_from_counts, seen_mean
from curate.protocols import Array, Columns, Shard, State


class DataIQ:
    """Aleatoric uncertainty, the mean over epochs of p_y (1 - p_y), (n,) float32, 0 … 0.25; high is hard, keep high.

    Columns: `score`, `confidence` and `group`: "easy" where confidence ≥ `upper`, "hard" where confidence ≤ `lower`, both only where the score is at or below its
    median, else "ambiguous" (0.75 and 0.25 in the official code; H-CAT takes other cuts). Since score + variability² =
    confidence (1 - confidence), it is a second reading of the data map. Reads `dynamics.loss`; three cheap passes, 1 MB of state.
    """

    requires = ("dynamics.loss",)
    hard_sign: Final = 1
    keep: Final = "high"
    passes = 2
    combine: Final = "mean"
    version = 1

    def __init__(self, *, lower: float = 0.25, upper: float = 0.75) -> None:
        if not 0 <= lower < upper <= 1:
            raise OptionError(f"data_iq: 0 ≤ lower < upper ≤ 1 is needed, got lower={lower}, upper={upper}.")
        self.lower, self.upper = lower, upper

    def settle(self, epochs: int) -> "DataIQ":
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        return count_for_quantile(_aleatoric(shard), state, 0.5)

    def merge(self, states: Sequence[State]) -> State:
        return merge_counts(states)

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "a scorer with passes is given its state"
        aleatoric = _aleatoric(shard)
        confidence = seen_mean(np.exp(-shard["dynamics.loss"])).astype(np.float32)
        low = aleatoric <= quantile_from_counts(state, 0.5)
        group = np.where(low & (confidence >= self.upper), "easy", np.where(low & (confidence <= self.lower), "hard", "ambiguous")).astype(object)
        group[np.isnan(confidence)] = None
        return {"score": aleatoric, "confidence": confidence, "group": group}


def _aleatoric(shard: Shard) -> Array:
    p_y = np.exp(-shard["dynamics.loss"])
    return seen_mean(p_y * (1 - p_y)).astype(np.float32)
