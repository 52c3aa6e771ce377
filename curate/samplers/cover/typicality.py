"""Typicality: from each cluster in turn the row with the nearest neighbours, so that few rows stand for many.

Hacohen, Dekel, Weinshall 2022, "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets"; official code
avihu111/TypiClust.
"""

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.errors import OptionError
from curate.index.kmeans import kmeans, kmeans_work
from curate.index.kmeans import memory as clustered_in
from curate.index.neighbours import nearest_by_distance
from curate.index.vectors import Metric, Placed, Vectors
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom

_SMALL = 1e-5  # the code's, so that equal rows have a typicality


class Typicality:
    """Rows in the order picked, each of weight 1: the largest cluster's most typical, the next one's, and round again.

    Reads `embedding`, (n, d). As many k-means clusters as rows are wanted, at most `most_clusters`. A row's typicality is 1 over its mean
    Euclidean distance to the `neighbours` nearest rows of its cluster, at most half of them (the code averages squared distances, the paper
    does not). Clusters of fewer than `smallest` rows come last. In later rounds the code reckons anew without the rows picked before; ours
    keeps the first reckoning, which differs only where a budget exceeds the clusters. Cost 2·n·K·d a round of k-means, and n²·d/K for
    neighbours; memory two copies of the rows trained on, 256 a cluster, and four of the largest cluster.
    """

    requires = ("embedding",)
    version = 1

    def __init__(self, *, most_clusters: int = 500, neighbours: int = 20, smallest: int = 5, metric: Metric = "cosine") -> None:
        for name, value in (("most_clusters", most_clusters), ("neighbours", neighbours), ("smallest", smallest)):
            if value < 1:
                raise OptionError(f"typicality: {name} must be 1 or more, got {value}.")
        self.most_clusters, self.neighbours, self.smallest = most_clusters, neighbours, smallest
        self.metric: Metric = metric

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        vectors = Placed(pool["embedding"], self.metric)
        of = kmeans(vectors, min(k, self.most_clusters), rng).of
        return in_turn(typicality(vectors, of, self.neighbours), of, self.smallest)[:k], np.ones(k)

    def work(self, n: int, d: int, k: int) -> float:
        clusters = max(1, min(n, k, self.most_clusters))
        return kmeans_work(n, d, clusters) + n * d * n / clusters + 3e6 * clusters  # a search begins anew in each

    def memory(self, n: int, d: int, k: int) -> int:
        clusters = max(1, min(k, self.most_clusters))
        return clustered_in(n, d, clusters) + 16 * d * min(n, 4 * n // clusters) + 40 * n


def typicality(vectors: Vectors | Placed, of: Rows, neighbours: int) -> NDArray[np.float64]:
    """1 / (mean distance to the nearest rows of one's own cluster + 1e-5), (n,); 0 for the only row of a cluster.

    >>> typicality(np.float32([[0], [1], [3], [4]]), np.array([0, 0, 0, 0]), 20).round(3).tolist()
    [0.5, 0.667, 0.667, 0.5]
    """
    found = np.zeros(len(vectors))
    order = np.argsort(of, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(of))[:-1]):
        if len(rows) > 1:
            _, far = nearest_by_distance(vectors[rows], min(neighbours, max(1, len(rows) // 2)))
            found[rows] = 1 / (far.mean(axis=1, dtype=np.float64) + _SMALL)
    return found


def in_turn(value: NDArray[np.float64], of: Rows, smallest: int) -> Rows:
    """All rows: each cluster's best, the largest cluster first and those under `smallest` rows last; then each one's second, and so on."""
    sizes = np.bincount(of)
    small, size = sizes < smallest, sizes
    place = np.empty(len(sizes), np.int64)
    place[np.lexsort((np.arange(len(sizes)), -size, small))] = np.arange(len(sizes))
    order = np.lexsort((-value, of))
    turn = np.empty(len(of), np.int64)
    turn[order] = np.arange(len(of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.lexsort((place[of], turn, small[of])).astype(np.int64)
