"""Nearest neighbours of every row among the others, by FAISS where it is installed."""

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.errors import MissingExtraError
from curate.index.vectors import Vectors, centred, squared_distances

FLAT: Final = 100_000  # rows up to which every pair is compared; beyond, cells of an inverted file are
PLAIN: Final = 20_000  # rows up to which numpy alone will do
_BLOCK: Final = 1024

Metric = Literal["product", "distance"]


def nearest_by_product(vectors: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
    """The `k` other rows of largest inner product with each row, and the products, (n, k) both, best first.

    Of unit vectors that is cosine similarity. Exact up to 100,000 rows; beyond, an inverted file of 4·√n cells, one in 32 of which is
    searched (FAISS; MissingExtraError without it). A place that is not filled holds -1 and a very low product. Cost n²·d, or a 32nd.
    """
    return _nearest(vectors, k, "product")


def nearest_by_distance(vectors: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
    """The `k` other rows nearest to each row and their Euclidean distances, (n, k) both, nearest first, of equals the earlier row.

    Cost and exactness as in `nearest_by_product`; a place that is not filled holds -1 and an infinite distance.
    """
    # Far from the origin ‖x‖² + ‖y‖² - 2x·y cancels.
    rows, squares = _nearest(centred(vectors), k, "distance")
    squares = np.where(rows < 0, np.float32(np.inf), np.maximum(squares, 0))
    order = np.lexsort((rows, squares), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.sqrt(np.take_along_axis(squares, order, axis=1))


def nearest_between(queries: Vectors, vectors: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
    """For rows of another set: the `k` of `vectors` nearest to each, and their Euclidean distances, (m, k) both. Compares every pair."""
    k = min(k, len(vectors))
    rows, squares = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    there = vectors - mean
    for start in range(0, len(queries), _BLOCK):
        found = squared_distances(queries[start : start + _BLOCK] - mean, there)
        rows[start : start + _BLOCK], squares[start : start + _BLOCK] = _best(found, k)
    return rows, np.sqrt(squares)


def _nearest(vectors: Vectors, k: int, metric: Metric) -> tuple[NDArray[np.int64], Vectors]:
    k = min(k, len(vectors) - 1)
    if k < 1:
        return np.empty((len(vectors), 0), np.int64), np.empty((len(vectors), 0), np.float32)
    try:
        import faiss
    except ImportError:
        if len(vectors) > PLAIN:
            raise MissingExtraError(
                f'Nearest neighbours of {len(vectors):,} rows need FAISS. Install it: pip install "curatekit[index]"'
            ) from None
        return _by_numpy(vectors, k, metric)
    return _by_faiss(faiss, vectors, k, metric)


def _by_faiss(faiss: Any, vectors: Vectors, k: int, metric: Metric) -> tuple[NDArray[np.int64], Vectors]:
    n, d = vectors.shape
    code = faiss.METRIC_INNER_PRODUCT if metric == "product" else faiss.METRIC_L2
    if n <= FLAT:
        index = faiss.IndexFlat(d, code)
    else:
        cells = 4 * int(n**0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlat(d, code), d, cells, code)
        index.cp.seed = 0
        index.nprobe = max(8, cells // 32)
        index.train(vectors[:: max(1, n // (64 * cells))])
    index.add(vectors)
    values, rows = index.search(vectors, k + 1)
    return _without_self(rows.astype(np.int64), values, k)


def _by_numpy(vectors: Vectors, k: int, metric: Metric) -> tuple[NDArray[np.int64], Vectors]:
    rows = np.empty((len(vectors), k + 1), np.int64)
    values = np.empty((len(vectors), k + 1), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        some = vectors[start : start + _BLOCK]
        far = -(some @ vectors.T) if metric == "product" else squared_distances(some, vectors)
        rows[start : start + _BLOCK], values[start : start + _BLOCK] = _best(far, k + 1)
    return _without_self(rows, -values if metric == "product" else values, k)


def _best(far: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
    """The `k` lowest of each row, lowest first, of equals the earlier; where they stand, and they themselves."""
    best = np.argpartition(far, k - 1, axis=1)[:, :k].copy()  # a view would keep the whole block
    values = np.take_along_axis(far, best, axis=1)
    order = np.lexsort((best, values), axis=1)
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)


def _without_self(rows: NDArray[np.int64], values: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
    """Takes each row out of its own list, or the last of the list where equal rows have pushed it out."""
    own = rows == np.arange(len(rows))[:, None]
    own[~own.any(axis=1), -1] = True
    return rows[~own].reshape(len(rows), k), values[~own].reshape(len(rows), k)
