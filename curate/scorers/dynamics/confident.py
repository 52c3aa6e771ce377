"""Confident learning: which labels the out-of-fold probabilities contradict, and how many there ought to be.

Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"; official code cleanlab/cleanlab.
"""

from collections.abc import Sequence

import numpy as np

from curate.label_errors import Prune, Quality, find_label_errors, label_quality
from curate.protocols import Columns, Keep, Shard, Sign, State


class Confident:
    """How well the label agrees with the probabilities of a model that never saw the row, 0 … 1; low is probably wrong.

    Reads `probs.oos`, (n, classes), of five folds, and `label`. `quality` is the score: self_confidence (p of the label),
    normalized_margin, or confidence_weighted_entropy. The column `is_issue`, bool, says which labels confident learning takes to be
    wrong: as many as the confident joint counts, chosen as `prune` says (noise_rate, class, both, off_diagonal, predicted), equal to
    cleanlab's. NaN for a row without a label or probabilities. One pass gathers the probabilities, 4·classes bytes a row; making them
    takes four trainings more than a run alone.
    """

    requires: Sequence[str] = ("probs.oos", "label")
    hard_sign: Sign = -1
    keep: Keep = "high"
    passes = 1
    combine = "mean"
    version = 1

    def __init__(self, *, quality: Quality = "self_confidence", prune: Prune = "noise_rate") -> None:
        self.quality: Quality = quality
        self.prune: Prune = prune

    def settle(self, epochs: int) -> "Confident":
        """Nothing depends on the run's length."""
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        p, labels = shard["probs.oos"], shard["label"]
        known = np.flatnonzero(~np.isnan(p[:, 0]) & (labels >= 0))
        return {"row": shard.rows[known], "label": labels[known], "p": p[known]}

    def merge(self, states: Sequence[State]) -> State:
        return {name: np.concatenate([state[name] for state in states]) for name in ("row", "label", "p")}

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "a pass has run"
        found = find_label_errors(state["p"], state["label"], self.prune) if len(state["row"]) else np.zeros(0, bool)
        quality = label_quality(state["p"], state["label"], self.quality)
        mine = np.isin(state["row"], shard.rows)
        at = np.searchsorted(shard.rows, state["row"][mine])
        score = np.full(len(shard.rows), np.nan, np.float32)
        issue = np.zeros(len(shard.rows), bool)
        score[at], issue[at] = quality[mine], found[mine]
        return {"score": score, "is_issue": issue}
