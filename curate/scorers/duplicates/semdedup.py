"""SemDeDup: rows that mean the same as another, by their vectors.

Abbas et al. 2023, "SemDeDup: Data-efficient learning at web-scale through semantic deduplication"; official code facebookresearch/SemDeDup.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from curate.errors import OptionError
from curate.index.components import components
from curate.index.semdedup import nearest_earlier
from curate.index.vectors import unit
from curate.protocols import Columns, Shard, State
from curate.rng import KeyedRandom


class SemDeDup:
    """The largest cosine to a row before it in its cluster, where those far from the centroid come first; keep low.

    `is_duplicate` marks rows above 1 - `eps`, dropped whether or not the row before is kept, as officially; so a group, `component` (named
    by its lowest row), has one row that is none: its hardest. For another eps filter by the score: `--where "semdedup < 0.9"`. Under
    `rule=kept` a row is compared with kept ones alone, as DEITA does, so that of a chain every other row may stay; then eps decides.
    Vectors come from --embeddings and are brought to length 1; a row without one scores NaN. `clusters` is one for 2,000 rows unless told
    (the paper has 50,000 for 440 million), for pairs in different clusters never meet. Costs n · 2,000 · d; the state holds all vectors.
    """

    requires = ("embedding",)
    hard_sign = 0
    keep = "low"
    passes = 1
    combine = "mean"
    version = 1

    def __init__(self, *, eps: float = 0.05, clusters: int | None = None, rule: Literal["earlier", "kept"] = "earlier") -> None:
        if not 0 <= eps < 1:
            raise OptionError(f"semdedup: eps must be 0 or more and below 1, got {eps}.")
        if clusters is not None and clusters < 1:
            raise OptionError(f"semdedup: clusters must be 1 or more, got {clusters}.")
        self.eps = eps
        self.clusters = clusters
        self.rule: Literal["earlier", "kept"] = rule

    def settle(self, epochs: int) -> "SemDeDup":
        """Nothing depends on a run."""
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        there = np.isfinite(shard["embedding"]).all(axis=1)
        return {"row": shard.rows[there], "vector": unit(shard["embedding"][there].astype(np.float32))}

    def merge(self, states: Sequence[State]) -> State:
        """What is said of each row; the vectors have done their work."""
        row, vectors = (np.concatenate([state[name] for state in states]) for name in ("row", "vector"))
        if not len(row):
            return {"row": row, "score": np.empty(0, np.float32), "component": row, "is_duplicate": np.empty(0, np.bool_)}
        limit = np.float32(1 - self.eps)
        dropped_above = float(limit) if self.rule == "kept" else None
        similarity, earlier = nearest_earlier(vectors, self.clusters, KeyedRandom(0, "semdedup"), dropped_above)
        above = np.flatnonzero(similarity > limit)
        group = components([(earlier[above], above)], len(row))
        return {"row": row, "score": similarity, "component": row[group], "is_duplicate": np.isin(np.arange(len(row)), above)}

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "a pass has run"
        found = np.isin(shard.rows, state["row"])
        at = np.searchsorted(state["row"], shard.rows[found])
        score, own, copy = np.full(len(shard), np.nan, np.float32), shard.rows.copy(), np.zeros(len(shard), np.bool_)
        score[found], own[found], copy[found] = state["score"][at], state["component"][at], state["is_duplicate"][at]
        return {"score": score, "component": own, "is_duplicate": copy}
