"""KNN-Shapley: what a row adds to a nearest-neighbour classifier's accuracy on the others.

Jia et al. 2019, "Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms"; official code AI-secure/KNN-shapley.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from curate.errors import OptionError
from curate.index.label_neighbours import values_of_neighbours
from curate.protocols import Columns, Shard, State
from curate.scorers.neighbours.options import check_neighbours

_UNIT: Final = 2.0**-36  # values are added up as whole multiples of this, so that the sum does not depend on how rows were cut


class KNNShapley:
    """Mean Shapley value of the row for a `k`-nearest-neighbour classifier of the other rows; low, mostly negative, is a wrong label.

    Every labelled row is a target for the rest, itself left out; the paper takes a validation set. A target counts only its
    `truncate` nearest rows, the others get 0, which is off by at most 1 / truncate a target (the paper's Theorem 2); with as many
    neighbours as there are other rows it is exact. A neighbour without a label counts as one that does not match. Euclidean
    neighbours from --embeddings; NaN for a row without a label. Costs the shared graph and one sum a neighbour; the state is a
    number a row.
    """

    hard_sign = -1
    keep = "high"
    passes = 1
    combine = "mean"
    version = 1

    def __init__(self, *, k: int = 10, truncate: int = 50) -> None:
        check_neighbours("knn_shapley", k)
        check_neighbours("knn_shapley", truncate, "truncate")
        if truncate < k:
            raise OptionError(f"knn_shapley: truncate must be at least k, got k={k}, truncate={truncate}.")
        self.k = k
        self.truncate = truncate
        self.requires = (f"neighbours@{truncate}", f"neighbours.label@{truncate}", "label")

    def settle(self, epochs: int) -> "KNNShapley":
        """Nothing depends on a run."""
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        rows, theirs = shard[self.requires[0]], shard[self.requires[1]]
        targets = np.flatnonzero((shard["label"] >= 0) & (rows >= 0).any(axis=1))
        matches = theirs[targets] == shard["label"][targets, None]
        # Fewer columns than asked for are all the other rows that there are.
        n = rows.shape[1] if rows.shape[1] < self.truncate else rows.shape[1] + 1
        values = np.rint(values_of_neighbours(matches, self.k, n) / _UNIT).astype(np.int64)
        return _added([rows[targets].ravel()], [values.ravel()], len(targets))

    def merge(self, states: Sequence[State]) -> State:
        return _added([s["row"] for s in states], [s["value"] for s in states], sum(int(s["targets"]) for s in states))

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "a pass has run"
        at = np.minimum(np.searchsorted(state["row"], shard.rows), max(len(state["row"]) - 1, 0))
        found = state["row"][at] == shard.rows if len(state["row"]) else np.zeros(len(shard), bool)
        value = np.where(found, state["value"][at] if len(state["row"]) else 0, 0) * _UNIT / max(1, int(state["targets"]))
        return {"score": np.where(shard["label"] >= 0, value, np.nan).astype(np.float32)}


def _added(rows: Sequence[np.ndarray], values: Sequence[np.ndarray], targets: int) -> State:
    """The sum of values by row, rows ascending; -1, which is no row, is left out."""
    row, value = np.concatenate(rows), np.concatenate(values)
    found, place = np.unique(row[row >= 0], return_inverse=True)
    total = np.zeros(len(found), np.int64)
    np.add.at(total, place, value[row >= 0])
    return {"row": found, "value": total, "targets": np.array(targets)}
