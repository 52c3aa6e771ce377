"""Balanced hierarchical k-means: clusters of clusters, and a budget that falls evenly from the top, so that crowds do not rule.

Vo et al. 2024, "Automatic Data Curation for Self-Supervised Learning: A Clustering-Based Approach"; official code
facebookresearch/ssl-data-curation.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget, water_fill
from curate.draws import best_per_bin
from curate.errors import OptionError
from curate.index.kmeans import Clusters, assign, kmeans, kmeans_work
from curate.index.neighbours import DISTANCES
from curate.index.vectors import BLOCK, Metric, Vectors, placed
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom


class HierarchicalKMeans:
    """Shares the budget by one common level among the top clusters, in each among those below, and picks in the leaves; weight 1 a row.

    Reads `embedding`, (n, d). Level 1 clusters the rows, each further one the centroids of the level below, which flattens the density.
    `clusters` are the counts from level 1 upwards, `10000+1000+100` on the command line; None is n/10, n/100, n/1000 down to 3 or so. From
    level 2 on, `resample` times, the members nearest to each centroid (half the mean size) are clustered afresh and all are assigned again.
    In a leaf rows are drawn by key (`random`) or those nearest to the centroid come first. The code repeats the rows of a leaf that
    is too small; ours never does: what a branch cannot give goes to others. Cost 2·n·K·d a round; memory two float32 copies of the vectors.
    """

    requires = ("embedding",)
    version = 1

    def __init__(
        self,
        *,
        clusters: tuple[int, ...] | None = None,
        resample: int = 10,
        leaves: Literal["random", "nearest"] = "random",
        metric: Metric = "cosine",
    ) -> None:
        if clusters is not None and (not clusters or min(clusters) < 1 or list(clusters) != sorted(clusters, reverse=True)):
            raise OptionError(
                f"hierarchical_kmeans: clusters must fall from level to level, 1 or more, such as 1000+100+10; got {clusters}."
            )
        if resample < 0:
            raise OptionError(f"hierarchical_kmeans: resample must be 0 or more, got {resample}.")
        self.clusters, self.resample = clusters, resample
        self.leaves: Literal["random", "nearest"] = leaves
        self.metric: Metric = metric

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        levels = build(placed(pool["embedding"], self.metric), self.clusters or _thinned(len(pool)), self.resample, rng)
        budgets = share_down(levels, k, rng.child("share"))
        first = rng.uniform(pool.rows) if self.leaves == "random" else -levels[0].square
        return best_per_bin(first, levels[0].of, budgets), np.ones(k)

    def work(self, n: int, d: int, k: int) -> float:
        counts = self.clusters or _thinned(n)
        return sum(kmeans_work(many, d, few) for many, few in zip((n, *counts), counts, strict=False))

    def memory(self, n: int, d: int, k: int) -> int:
        return 8 * (n + min(n, 8 * BLOCK)) * d + 64 * n + DISTANCES


def build(vectors: Vectors, counts: tuple[int, ...], resample: int, rng: KeyedRandom) -> list[Clusters]:
    """One `Clusters` a level: of the rows, of the centroids of those, and so on up."""
    levels: list[Clusters] = []
    for level, count in enumerate(counts):
        below = levels[-1].centroids if levels else vectors
        found = kmeans(below, count, rng.child("level", level), iterations=50)
        if levels:
            found = _resampled(below, found, resample, rng.child("again", level))
        levels.append(found)
    return levels


def share_down(levels: list[Clusters], k: int, rng: KeyedRandom) -> NDArray[np.int64]:
    """How many of k rows each level-1 cluster gives, (K,): water-filling among the top clusters, and again inside each."""
    sizes = [levels[0].sizes]
    for level in levels[1:]:
        sizes.append(np.bincount(level.of, weights=sizes[-1], minlength=len(level.centroids)).astype(np.int64))
    budgets = water_fill(sizes[-1], k, rng)
    for depth in range(len(levels) - 1, 0, -1):
        below = np.zeros(len(sizes[depth - 1]), np.int64)
        for parent, budget in enumerate(budgets):
            children = np.flatnonzero(levels[depth].of == parent)
            if budget:
                below[children] = water_fill(sizes[depth - 1][children], int(budget), rng.child(depth, parent))
        budgets = below
    return budgets


def _resampled(vectors: Vectors, found: Clusters, rounds: int, rng: KeyedRandom) -> Clusters:
    count = len(found.centroids)
    each = max(1, len(vectors) // count // 2)
    if each < 2:
        return found
    for turn in range(rounds):
        near = best_per_bin(-found.square, found.of, np.minimum(found.sizes, each))
        centroids = kmeans(vectors[np.sort(near)], count, rng.child(turn), iterations=50).centroids
        found = Clusters(centroids, *assign(vectors, centroids))
    return found


def _thinned(n: int) -> tuple[int, ...]:
    """A tenth, a hundredth, a thousandth of n, as long as 3 are left; one level of at least one cluster."""
    return tuple(n // 10**level for level in range(1, 5) if n // 10**level >= 3) or (1,)
