"""Prototypes: how far a row lies from the nearest prototype: far is hard, near is typical.

Sorscher et al. 2022, "Beyond neural scaling laws: beating power law scaling via data pruning"; no official code for pruning.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from curate.errors import OptionError
from curate.index.kmeans import assign, default_clusters, kmeans
from curate.index.prototypes import Kind, class_sums, means_of
from curate.index.vectors import Metric, known, squared_norms
from curate.protocols import Columns, Shard, State
from curate.rng import KeyedRandom

SAMPLE: Final = 1 << 16  # rows that self-supervised prototypes are made from, at most


class Prototypes:
    """The Euclidean distance from the row's prototype, (n,) float32, 0 or more; high is hard; NaN without a vector or its label.

    Reads `embedding`, (n, d), of length 1 under `metric=cosine`; with `kind=supervised` also `label`. `kind=self` are the centroids of
    k-means, `clusters` of them (None: √n), made from at most 65,536 rows drawn by key; `supervised` the mean of a row's own class. Up to
    that many rows the sampler of this name orders rows by these very numbers. Two passes and 4·65,536·d bytes of state, or one pass
    and 8·classes·d.
    """

    hard_sign = 1
    keep = "high"
    combine = "mean"
    version = 1

    def __init__(self, *, kind: Kind = "self", clusters: int | None = None, metric: Metric = "cosine") -> None:
        if clusters is not None and clusters < 1:
            raise OptionError(f"prototypes: clusters must be 1 or more, got {clusters}.")
        if clusters is not None and kind == "supervised":
            raise OptionError("prototypes: kind=supervised has one prototype a class. Leave clusters out.")
        self.kind: Kind = kind
        self.clusters = clusters
        self.metric: Metric = metric
        self.requires: Sequence[str] = ("embedding", "label") if kind == "supervised" else ("embedding",)
        self.passes = 1 if kind == "supervised" else 2

    def settle(self, epochs: int) -> "Prototypes":
        """Nothing here depends on a run."""
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        if state is not None and "sample" in state:  # the second pass: whoever holds the first row brings the sample
            return {**state, "whole": np.ones(1, np.int64)} if len(shard) and shard.rows[0] == 0 else {}
        there, vectors = known(shard["embedding"], self.metric)
        if self.kind == "supervised":
            sums, sizes = class_sums(vectors, shard["label"][there])
            return {"sums": sums, "sizes": sizes}
        return _thinned([{"sample": vectors, "row": shard.rows[there], "count": np.array([len(vectors)]), "seed": np.array([shard.seed])}])

    def merge(self, states: Sequence[State]) -> State:
        if self.kind == "supervised":
            return _added(states)
        for state in states:
            if "centroids" in state:
                return dict(state)
            if "whole" in state:
                return self._centroids(state)
        return _thinned(states)

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "prototypes come from a pass over all rows"
        there, vectors = known(shard["embedding"], self.metric)
        far = np.full(len(shard), np.nan, np.float32)
        if self.kind == "supervised":
            labels = shard["label"][there]
            labelled = labels >= 0
            means = means_of(state["sums"], state["sizes"])
            far[np.flatnonzero(there)[labelled]] = np.sqrt(squared_norms(vectors[labelled] - means[labels[labelled]]))
        elif len(vectors):
            far[there] = np.sqrt(assign(vectors, state["centroids"], state["shift"])[1])
        return {"score": far}

    def _centroids(self, state: State) -> State:
        rng = KeyedRandom(int(state["seed"][0]), "prototypes")
        found = kmeans(state["sample"], self.clusters or default_clusters(int(state["count"][0])), rng)
        shift = state["sample"].mean(axis=0, dtype=np.float64).astype(np.float32)
        return {"centroids": found.centroids, "shift": shift}


def _thinned(states: Sequence[State]) -> State:
    """The rows of all states, in row order, of which those with the luckiest keys stay; the same for any cut into shards."""
    rows = np.concatenate([state["row"] for state in states])
    sample = np.concatenate([state["sample"] for state in states])
    seed = states[0]["seed"]
    kept = np.argsort(rows)
    if len(rows) > SAMPLE:
        luck = KeyedRandom(int(seed[0]), "prototypes", "sample").uniform(rows)
        kept = np.argsort(luck)[:SAMPLE]
        kept = kept[np.argsort(rows[kept])]
    count = np.sum([state["count"] for state in states], axis=0)
    return {"sample": sample[kept], "row": rows[kept], "count": count, "seed": seed}


def _added(states: Sequence[State]) -> State:
    classes = max(len(state["sizes"]) for state in states)
    sums, sizes = np.zeros((classes, states[0]["sums"].shape[1])), np.zeros(classes, np.int64)
    for state in states:
        sums[: len(state["sizes"])] += state["sums"]
        sizes[: len(state["sizes"])] += state["sizes"]
    return {"sums": sums, "sizes": sizes}
