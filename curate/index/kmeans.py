"""k-means: clusters of vectors about their means, the same on every run.

Lloyd 1982, "Least squares quantization in PCM"; the start is k-means++, Arthur & Vassilvitskii 2007, "k-means++: The Advantages of Careful
Seeding".
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.errors import OptionError
from curate.index.vectors import BLOCK, Placed, Vectors, mean_of, squared_norms, unit
from curate.protocols import Rows
from curate.rng import KeyedRandom

A_CENTROID: Final = 256  # rows a centroid is trained on at most; more move it by less than its own error
ROUNDS: Final = 25  # at most
TO_START: Final = 32  # rows a centroid that the start is drawn from at most
_SETTLED: Final = 1e-4  # relative fall of the inertia below which another round is not worth it
_ENTRIES: Final = 1 << 24  # numbers of a block of distances: 64 MB


@dataclass(frozen=True, eq=False)
class Clusters:
    """`centroids` (K, d), and for each row its cluster `of`, (n,) int64, and `square`, its squared distance from the centroid, (n,).

    A cluster may be empty where there are fewer distinct rows than clusters.
    """

    centroids: Vectors
    of: Rows
    square: Vectors

    @property
    def sizes(self) -> Rows:
        """Rows a cluster, (K,) int64."""
        return np.bincount(self.of, minlength=len(self.centroids))

    @property
    def inertia(self) -> float:
        """Σ squared distance."""
        return float(self.square.sum(dtype=np.float64))


def default_clusters(n: int) -> int:
    """√n, rounded up: as many clusters as each has rows.

    >>> default_clusters(10_000), default_clusters(2)
    (100, 2)
    """
    return math.isqrt(max(n, 1) - 1) + 1


def kmeans(vectors: Vectors | Placed, clusters: int, rng: KeyedRandom, *, iterations: int = ROUNDS, spherical: bool = False) -> Clusters:
    """`clusters` clusters of the rows (as many as there are rows, if that is fewer), deterministic for one seed.

    Trained on at most 256 rows a cluster, drawn by key, then every row is assigned. Rounds end when the inertia falls by less than
    1e-4 of itself. A cluster that loses its rows begins anew at a row far from its own centroid (FAISS splits a large one with a nudge,
    which loops where many rows are equal). `spherical` takes unit vectors and keeps centroids at length 1. The assignment, which is nearly
    all of the cost, is FAISS's where installed: 2·n·K·d a round; memory a copy of the rows trained on; the others are read
    a block at a time.

    >>> rows = np.array([[0, 0], [0, 1], [9, 0], [9, 1]], np.float32)
    >>> kmeans(rows, 2, KeyedRandom(0, "kmeans")).square.tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    if clusters < 1:
        raise OptionError(f"Clusters must be 1 or more, got {clusters}.")
    if not len(vectors):
        raise OptionError("No rows to cluster; there must be one at least.")
    clusters = min(clusters, len(vectors))
    shift = np.zeros(vectors.shape[1], np.float32) if spherical else mean_of(vectors)
    sample = vectors[_drawn(len(vectors), A_CENTROID * clusters, rng.child("train"))] - shift
    centroids = _trained(sample, plus_plus(sample, clusters, rng), iterations, spherical)
    of, square = assign(vectors, centroids + shift, shift)
    return Clusters(centroids + shift, of, square)


def kmeans_work(n: int, d: int, clusters: int) -> float:
    """Products of two numbers in `kmeans`, about: rounds over the rows trained on, then all rows once."""
    clusters = max(1, min(n, clusters))
    return float(clusters) * d * (ROUNDS * min(n, A_CENTROID * clusters) + n)


def memory(n: int, d: int, clusters: int) -> int:
    """Bytes at the peak: the rows trained on, and a block of rows as they are read, brought to length 1 and moved, or in float64."""
    return 4 * d * (min(n, A_CENTROID * clusters) + 2 * min(n, 8 * BLOCK) + 2 * min(n, BLOCK)) + 32 * n


def assign(vectors: Vectors | Placed, centroids: Vectors, shift: Vectors | None = None) -> tuple[Rows, Vectors]:
    """The nearest centroid of each row, (n,) int64, ties to the lower one, and the squared distance from it, (n,) float32.

    `shift` is taken off both first, block by block: near the mean squares do not cancel.
    """
    origin = centroids.mean(axis=0) if shift is None else shift
    search = _searcher(centroids - origin)
    of, square = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    step = max(1, min(8 * BLOCK, _ENTRIES // len(centroids)))
    for start in range(0, len(vectors), step):
        of[start : start + step], square[start : start + step] = search(vectors[start : start + step] - origin)
    return of, square


def plus_plus(vectors: Vectors, clusters: int, rng: KeyedRandom) -> Vectors:
    """`clusters` rows to start from, (clusters, d), each drawn in proportion to its squared distance from those before it.

    As scikit-learn does, 2 + ln K rows are drawn a turn, and that is taken which leaves the least inertia. Drawn from a keyed sample.
    """
    pool = vectors[_drawn(len(vectors), max(TO_START * clusters, BLOCK), rng.child("start"))]
    trials = 2 + int(np.log(clusters))
    luck = rng.child("plus").uniform(np.arange(clusters * trials)).reshape(clusters, trials)
    norms = squared_norms(pool)
    nearest = np.ones(len(pool), np.float32)  # every row is as likely to be the first
    picked = np.empty(clusters, np.int64)
    for i in range(clusters):
        total = np.cumsum(nearest, dtype=np.float64)
        if total[-1] <= 0:  # fewer distinct rows than clusters: any will do
            total = np.arange(1.0, len(pool) + 1)
        tried = np.minimum(np.searchsorted(total, luck[i, : trials if i else 1] * total[-1], side="right"), len(pool) - 1)
        gaps = np.maximum(norms + norms[tried, None] - 2 * (pool[tried] @ pool.T), 0)  # (trials, n)
        left = np.minimum(gaps, nearest) if i else gaps
        best = int(left.sum(axis=1, dtype=np.float64).argmin())
        picked[i], nearest = tried[best], left[best]
        nearest[tried[best]] = 0
    return pool[picked]


def _trained(vectors: Vectors, centroids: Vectors, iterations: int, spherical: bool) -> Vectors:
    before = np.inf
    none = np.zeros(vectors.shape[1], np.float32)
    for _ in range(iterations):
        of, square = assign(vectors, centroids, none)
        inertia = float(square.sum(dtype=np.float64))
        if inertia >= before * (1 - _SETTLED):
            break
        before = inertia
        centroids = _means(vectors, of, square, centroids)
        centroids = unit(centroids) if spherical else centroids
    return centroids


def _means(vectors: Vectors, of: Rows, square: Vectors, centroids: Vectors) -> Vectors:
    """The mean of every cluster, summed in float64; an empty one moves to one of the rows farthest from their centroids."""
    from scipy.sparse import csr_array

    count = len(centroids)
    sums = np.zeros(centroids.shape)
    for start in range(0, len(vectors), 8 * BLOCK):
        part, mine = vectors[start : start + 8 * BLOCK], of[start : start + 8 * BLOCK]
        member = csr_array((np.ones(len(part)), (mine, np.arange(len(part)))), shape=(count, len(part)))
        sums += member @ part.astype(np.float64)
    sizes = np.bincount(of, minlength=count)
    means: Vectors = (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(sizes == 0)
    if len(empty):
        far = np.argsort(-square, kind="stable")[: len(empty)]
        means[empty] = np.where(square[far, None] > 0, vectors[far], centroids[empty])
    return means


def _searcher(centroids: Vectors):  # type: ignore[no-untyped-def]  # a closure over FAISS, which is untyped
    """A function from rows to their nearest centroids and squared distances."""
    try:
        import faiss
    except ImportError:
        return lambda rows: _by_numpy(rows, centroids)
    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(np.ascontiguousarray(centroids))

    def search(rows: Vectors) -> tuple[NDArray[np.int64], Vectors]:
        square, of = index.search(rows, 1)
        return of[:, 0], np.maximum(square[:, 0], 0)

    return search


def _by_numpy(rows: Vectors, centroids: Vectors) -> tuple[Rows, Vectors]:
    gaps = rows @ centroids.T
    gaps *= -2
    gaps += squared_norms(centroids)
    of = gaps.argmin(axis=1)
    return of, np.maximum(gaps[np.arange(len(rows)), of] + squared_norms(rows), 0)


def _drawn(n: int, most: int, rng: KeyedRandom) -> Rows | slice:
    """At most `most` of n positions, ascending, drawn by key; all of them as a slice, which copies nothing."""
    if n <= most:
        return slice(None)
    return np.sort(np.argpartition(rng.uniform(np.arange(n)), most)[:most])
