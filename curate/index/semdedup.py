"""SemDeDup on arrays: how like each vector is to any before it in its cluster, those far from the centroid first."""

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.index.kmeans import Clusters, kmeans
from curate.index.vectors import Vectors
from curate.protocols import Rows
from curate.rng import KeyedRandom

A_CLUSTER: Final = 2000  # rows a cluster: all of its pairs are compared
ITERATIONS: Final = 100
_BLOCK: Final = 512


def nearest_earlier(
    vectors: Vectors, clusters: int | None, rng: KeyedRandom, dropped_above: float | None = None
) -> tuple[NDArray[np.float32], Rows]:
    """For each of the unit vectors the largest cosine to one before it in its cluster, 0 where none is positive, and that row (or itself).

    With `dropped_above` rows of a larger cosine than that are dropped, and only those that are not are compared with. Clusters are of
    spherical k-means, one for 2,000 rows unless told. Costs n · 2,000 · d, and a block of 512 rows of a cluster's cosines.
    """
    found = kmeans(vectors, clusters or -(-len(vectors) // A_CLUSTER), rng, iterations=ITERATIONS, spherical=True)
    similarity, earlier = np.zeros(len(vectors), np.float32), np.arange(len(vectors))
    order, bounds = _hard_first(found)
    for first, stop in pairwise(bounds):
        rows = order[first:stop]
        similarity[rows], at = within(vectors[rows]) if dropped_above is None else within_kept(vectors[rows], dropped_above)
        earlier[rows] = rows[at]
    return similarity, earlier


def within(vectors: Vectors) -> tuple[NDArray[np.float32], Rows]:
    """The same for one cluster whose rows are in order."""
    n = len(vectors)
    similarity, earlier = np.zeros(n, np.float32), np.arange(n)
    for start in range(0, n, _BLOCK):
        some = np.arange(start, min(start + _BLOCK, n))
        cosine = vectors[some] @ vectors[: some[-1] + 1].T
        cosine[np.arange(some[-1] + 1) >= some[:, None]] = 0
        best = cosine.argmax(axis=1)
        similarity[some] = cosine[np.arange(len(some)), best]
        earlier[some] = np.where(similarity[some] > 0, best, some)
    return similarity, earlier


def within_kept(vectors: Vectors, dropped_above: float) -> tuple[NDArray[np.float32], Rows]:
    """The same, compared with the kept ones alone. Only a row that is like any earlier one needs to be looked at by itself."""
    n = len(vectors)
    similarity, earlier, kept = np.zeros(n, np.float32), np.arange(n), np.zeros(n, bool)
    for start in range(0, n, _BLOCK):
        some = np.arange(start, min(start + _BLOCK, n))
        others = np.concatenate([np.flatnonzero(kept[:start]), some])
        cosine = vectors[some] @ vectors[others].T
        cosine[others >= some[:, None]] = 0
        stays = np.ones(len(others), bool)
        for j in np.flatnonzero(cosine.max(axis=1) > dropped_above).tolist():
            stays[len(others) - len(some) + j] = (cosine[j] * stays).max() <= dropped_above
        cosine *= stays
        best = cosine.argmax(axis=1)
        similarity[some] = cosine[np.arange(len(some)), best]
        earlier[some] = np.where(similarity[some] > 0, others[best], some)
        kept[some] = stays[len(others) - len(some) :]
    return similarity, earlier


def _hard_first(clusters: Clusters) -> tuple[Rows, Rows]:
    """All rows by cluster, in each the farthest from the centroid first, ties to the lower row; and where clusters begin and end."""
    order = np.lexsort((np.arange(len(clusters.of)), -clusters.square, clusters.of))
    return order, np.concatenate([[0], np.cumsum(np.bincount(clusters.of))])
