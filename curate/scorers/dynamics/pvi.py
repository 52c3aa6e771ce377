"""PVI: how many bits a model gets out of the input for the given label, low where the input does not support it.

Ethayarajh, Choi, Swayamdipta 2022, "Understanding Dataset Difficulty with V-Usable Information"; official code kawine/dataset_difficulty.
"""

from collections.abc import Sequence

import numpy as np

from curate.protocols import Columns, Keep, Shard, Sign, State

_LEAST = 1e-12  # a probability of 0 is an overflow, not infinite surprise


class PVI:
    """Pointwise V-information of a row, log2 p(label | input) - log2 p(label), in bits; low is hard, below 0 the input misleads.

    Reads `probs.oos`, (n, classes), of models that never saw the row, and `label`. The label's own probability is its share of the
    rows, which is what the best model without an input would give (the authors train one, whose entropies average to that). The mean
    over rows is the V-usable information of the dataset. NaN for a row without a label or probabilities. One pass counts labels; the
    probabilities take four trainings more than a run alone. A model no better than the majority class makes PVI meaningless: look at
    the mean first.
    """

    requires: Sequence[str] = ("probs.oos", "label")
    hard_sign: Sign = -1
    keep: Keep = "high"
    passes = 1
    combine = "mean"
    version = 1

    def settle(self, epochs: int) -> "PVI":
        """Nothing depends on the run's length."""
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        p, labels = shard["probs.oos"], shard["label"]
        known = ~np.isnan(p[:, 0]) & (labels >= 0)
        return {"count": np.bincount(labels[known], minlength=p.shape[1])}

    def merge(self, states: Sequence[State]) -> State:
        return {"count": np.sum([state["count"] for state in states], axis=0)}

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "a pass has run"
        p, labels = shard["probs.oos"].astype(np.float64), shard["label"]
        known = np.flatnonzero(~np.isnan(p[:, 0]) & (labels >= 0))
        prior = state["count"] / max(1, state["count"].sum())
        own = np.clip(p[known, labels[known]], _LEAST, 1)
        score = np.full(len(shard.rows), np.nan, np.float32)
        score[known] = np.log2(own) - np.log2(np.maximum(prior[labels[known]], _LEAST))
        return {"score": score}
