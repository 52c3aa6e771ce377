"""Data maps: how sure a run was of a row's label on average, and how much that changed.

Swayamdipta et al. 2020, "Dataset Cartography"; official code allenai/cartography.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from curate.errors import OptionError
from curate.numerics import count_for_quantile, merge_counts, quantile_from_counts, seen_mean, seen_variance
from curate.protocols import Array, Columns, Shard, State

AMBIGUOUS_SHARE: Final = 1 / 3


class DataMap:
    """Confidence, the mean over epochs of p_y, (n,) float32, 0 … 1; low is hard (often mislabelled), keep high.

    Columns: `score` and `confidence` (equal), `variability` (population deviation of p_y), `correctness` (right predictions, averaged over an epoch's visits),
    `threshold_closeness` = confidence (1 - confidence), and `region`: "ambiguous" for the third of the rows with the highest variability, of the others "easy"
    where confidence is 0.5 or more, "hard" where it is less. The paper selects by rank and names no thresholds: for its subsets use the sampler
    `ambiguous`, or `--by datamap.variability --keep high`. `burn_out` reads only the first so many epochs; `include_ci` widens variability v² by its own error,
    sqrt(v² + v⁴/(E-1)), as the official option does.
    Variability means ambiguous, not mislabelled: wrong labels are among the steadiest rows of a short run and the most variable ones of a long run.
    Reads `dynamics.loss` and `dynamics.correct`; three cheap passes, 1 MB of state.
    """

    requires = ("dynamics.loss", "dynamics.correct")
    hard_sign: Final = -1
    keep: Final = "high"
    passes = 2
    combine: Final = "mean"
    version = 1

    def __init__(self, *, burn_out: int | None = None, include_ci: bool = False) -> None:
        if burn_out is not None and burn_out < 2:
            raise OptionError(f"datamap: burn_out must be 2 epochs or more, got {burn_out}.")
        self.burn_out, self.include_ci = burn_out, include_ci

    def settle(self, epochs: int) -> "DataMap":
        if max(2, self.burn_out or 2) > epochs:
            raise OptionError(f"datamap: needs {max(2, self.burn_out or 2)} epochs, the run has {epochs}. Use more --epochs.")
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        return count_for_quantile(self._variability(shard).astype(np.float32), state, 1 - AMBIGUOUS_SHARE)

    def merge(self, states: Sequence[State]) -> State:
        return merge_counts(states)

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "a scorer with passes is given its state"
        p_y = self._p_y(shard)
        confidence, variability = seen_mean(p_y).astype(np.float32), self._variability(shard).astype(np.float32)
        cut = quantile_from_counts(state, 1 - AMBIGUOUS_SHARE)
        region = np.where(variability > cut, "ambiguous", np.where(confidence >= 0.5, "easy", "hard")).astype(object)
        region[np.isnan(confidence)] = None
        correct = shard["dynamics.correct"][:, : self.burn_out]
        return {
            "score": confidence,
            "confidence": confidence,
            "variability": variability,
            "correctness": np.where(np.isnan(confidence), np.nan, np.nansum(correct, axis=1)).astype(np.float32),
            "threshold_closeness": confidence * (1 - confidence),
            "region": region,
        }

    def _p_y(self, shard: Shard) -> Array:
        return np.exp(-shard["dynamics.loss"][:, : self.burn_out])  # (n, epochs)

    def _variability(self, shard: Shard) -> Array:
        p_y = self._p_y(shard)
        variance = seen_variance(p_y)
        if self.include_ci:
            seen = (~np.isnan(p_y)).sum(axis=1)
            variance = variance + variance**2 / np.where(seen > 1, seen - 1, np.nan)
        return np.sqrt(variance)
