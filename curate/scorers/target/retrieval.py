"""retrieval: more rows like the few of a target, and no copies of those."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from curate.errors import InputError, OptionError
from curate.index.vectors import known
from curate.protocols import Columns, PerRow, Shard, State

BLOCK: Final = 4096  # rows compared at a time
EQUAL: Final = 1e-6  # of the cosine: vectors nearer to 1 than this are one and the same


class Retrieval(PerRow):
    """Mean cosine between a row and the `k` nearest rows of the target, -1 … 1; high is kept; none for a copy of a target row.

    Reads `embedding` and `target.embedding`, and `content` of both. A row with the content of a target row (texts up to white space), or
    with its very vector, teaches nothing new and has no score (`copy_of_target`), so no budget brings it back. To keep a test set apart as
    well, score `contamination` against that, and add --where "contamination.hits == 0". `target_row` is the nearest, whose label
    is a guess at the row's. Costs 2·n·d·rows of the target.
    """

    requires = ("embedding", "content", "target.embedding", "target.content")
    keep = "high"

    def __init__(self, *, k: int = 1) -> None:
        if k < 1:
            raise OptionError(f"retrieval: k must be 1 or more, got {k}.")
        self.k = k

    def fit_target(self, shard: Shard) -> State:
        there, vectors = known(shard["target.embedding"], "cosine")
        return {"vectors": vectors, "row": shard.rows[there], "content": shard["target.content"]}

    def merge_target(self, states: Sequence[State]) -> State:
        whole = {name: np.concatenate([state[name] for state in states]) for name in states[0]}
        if not len(whole["row"]):
            raise InputError("retrieval: no row of the target has a vector. Name its column with --target-input, or embed it again.")
        return whole

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "the target is there"
        there, vectors = known(shard["embedding"], "cosine")
        goal = state["target.vectors"]
        if vectors.shape[1] != goal.shape[1]:
            ours, theirs = vectors.shape[1], goal.shape[1]
            raise InputError(f"retrieval: the rows have vectors of {ours} numbers, the target of {theirs}. Embed both with one encoder.")
        k = min(self.k, len(goal))
        mean, nearest, best = np.empty(len(vectors), np.float32), np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
        for start in range(0, len(vectors), BLOCK):
            here = slice(start, start + BLOCK)
            cosine = vectors[here] @ goal.T  # (b, rows of the target)
            nearest[here], best[here] = state["target.row"][cosine.argmax(axis=1)], cosine.max(axis=1)
            mean[here] = np.partition(cosine, len(goal) - k, axis=1)[:, len(goal) - k :].mean(axis=1)
        copies = np.isin(shard["content"], state["target.content"]) & (shard["content"] != 0)
        copies[np.flatnonzero(there)[best >= 1 - EQUAL]] = True
        score, row = np.full(len(shard), np.nan, np.float32), np.full(len(shard), -1, np.int64)
        score[there], row[there] = mean, nearest
        score[copies] = np.nan
        status = np.where(copies, "copy_of_target", np.where(there, "", "no_vector")).astype(str)
        return {"score": score, "status": status, "target_row": row}
