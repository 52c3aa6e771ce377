"""Confident learning where a row bears several labels: which sets of labels the out-of-fold probabilities contradict.

Thyagarajan, Snorrason, Northcutt, Mueller 2023, "Identifying Incorrect Annotations in Multi-Label Classification Data"; official code
cleanlab/cleanlab.
"""

from collections.abc import Sequence

import numpy as np

from curate.errors import OptionError
from curate.index.linear_probe import out_of_fold_sets
from curate.label_errors import Prune, Quality, find_multilabel_errors, multilabel_quality
from curate.protocols import Columns, Keep, Shard, Sign, State


class ConfidentSets:
    """How well a row's set of labels agrees with the probabilities of models that never saw the row, 0 … 1; low is probably wrong.

    For a label column of lists. Each class is a question of two answers, answered out of five folds by a linear probe of --embeddings, as
    the audit does. `score` joins the classes' `quality` (see `confident`) so that the worst counts most, by the weight `alpha`. `is_issue`:
    confident learning takes at least one class to be wrong, as `prune` chooses, equal to cleanlab's; `worst` is the class whose answer is
    least likely, as its code. NaN, and -1, for a row without a list or a vector; an empty list is a set, too. One pass gathers the vectors,
    4·d bytes a row; costs n d² and a linear system a class and fold.
    """

    requires: Sequence[str] = ("embedding", "label_sets")
    hard_sign: Sign = -1
    keep: Keep = "high"
    passes = 1
    combine = "mean"
    version = 1

    def __init__(self, *, quality: Quality = "self_confidence", prune: Prune = "noise_rate", alpha: float = 0.8) -> None:
        if not 0 < alpha <= 1:
            raise OptionError(f"confident_sets: alpha must be above 0 and at most 1, got {alpha}.")
        self.quality: Quality = quality
        self.prune: Prune = prune
        self.alpha = alpha

    def settle(self, epochs: int) -> "ConfidentSets":
        """Nothing depends on a run."""
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        return {"row": shard.rows, "x": np.asarray(shard["embedding"], np.float32), "sets": np.asarray(shard["label_sets"], np.int8)}

    def merge(self, states: Sequence[State]) -> State:
        """Judges all rows: what is kept is a few numbers a row."""
        row, x, sets = (np.concatenate([state[name] for state in states]) for name in ("row", "x", "sets"))
        listed = np.asarray((sets >= 0).all(axis=1))
        probs = out_of_fold_sets(x, sets == 1, listed)
        at = np.flatnonzero(listed & np.isfinite(probs).all(axis=1))
        p, bears = probs[at], sets[at] == 1
        likely = np.where(bears, p, 1 - p)  # of the answer that was given
        return {
            "row": row[at],
            "score": multilabel_quality(p, bears, self.quality, alpha=self.alpha).astype(np.float32),
            "is_issue": find_multilabel_errors(p, bears, self.prune).any(axis=1),
            "worst": likely.argmin(axis=1).astype(np.int64),
        }

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "a pass has run"
        n, mine = len(shard.rows), np.isin(state["row"], shard.rows)
        columns = {"score": np.full(n, np.nan, np.float32), "is_issue": np.zeros(n, bool), "worst": np.full(n, -1, np.int64)}
        for name, values in columns.items():
            values[np.searchsorted(shard.rows, state["row"][mine])] = state[name][mine]
        return columns
