"""Prototypes: rows by their distance from the nearest prototype: far is hard, near is typical.

Sorscher et al. 2022, "Beyond neural scaling laws: beating power law scaling via data pruning"; no official code for pruning.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.errors import OptionError
from curate.index.kmeans import default_clusters, kmeans, kmeans_work
from curate.index.kmeans import memory as clustered_in
from curate.index.prototypes import Kind, class_means, distances_to_own
from curate.index.vectors import BLOCK, Metric, Placed
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom
from curate.topk import top_k


class Prototypes:
    """The rows farthest from their prototype (or nearest), in that order, each of weight 1; ties to the lower row.

    Reads `embedding`, (n, d); with `kind=supervised` also `label`. `kind=self` are k-means centroids, `clusters` of them (None: √n; the
    paper takes as many as there are classes and finds the number to matter little); `supervised` the mean of a row's own class. `end=far`
    keeps hard rows, which the paper finds right where data are plentiful, `near` easy ones, where they are scarce. With --per-class the
    shares of classes are kept, as the paper does with half of the budget. The scorer of this name gives the distance itself. Cost 2·n·K·d
    a round of k-means; memory two copies of the rows trained on, 256 a cluster.
    """

    requires: Sequence[str] = ("embedding",)
    version = 1

    def __init__(
        self,
        *,
        kind: Kind = "self",
        end: Literal["far", "near"] = "far",
        clusters: int | None = None,
        metric: Metric = "cosine",
    ) -> None:
        if clusters is not None and clusters < 1:
            raise OptionError(f"prototypes: clusters must be 1 or more, got {clusters}.")
        if clusters is not None and kind == "supervised":
            raise OptionError("prototypes: kind=supervised has one prototype a class. Leave clusters out.")
        self.kind: Kind = kind
        self.end: Literal["far", "near"] = end
        self.clusters = clusters
        self.metric: Metric = metric
        self.requires = ("embedding", "label") if kind == "supervised" else ("embedding",)

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        vectors = Placed(pool["embedding"], self.metric)
        if self.kind == "supervised":
            far = distances_to_own(vectors, pool["label"], class_means(vectors, pool["label"]))
        else:
            far = np.sqrt(kmeans(vectors, self.clusters or default_clusters(len(pool)), rng).square)
        return top_k(far, k, largest=self.end == "far"), np.ones(k)

    def work(self, n: int, d: int, k: int) -> float:
        return float(n * d) if self.kind == "supervised" else kmeans_work(n, d, self.clusters or default_clusters(n))

    def memory(self, n: int, d: int, k: int) -> int:
        if self.kind == "supervised":
            return 8 * d * (n + min(n, BLOCK)) + 48 * n  # where all are of one class
        return clustered_in(n, d, self.clusters or default_clusters(n)) + 48 * n
