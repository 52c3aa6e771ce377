"""Nearest neighbours of every row among the others, by FAISS where it is installed."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.errors import MissingExtraError
from curate.index.vectors import Vectors

FLAT: Final = 100_000  # rows up to which every pair is compared; beyond, cells of an inverted file are
PLAIN: Final = 20_000  # rows up to which numpy alone will do
_BLOCK: Final = 1024


def nearest_by_product(vectors: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
    """The `k` other rows of largest inner product with each row, and the products, (n, k) both, best first.

    Of unit vectors that is cosine similarity. Exact up to 100,000 rows; beyond, an inverted file of 4·√n cells, one in 32 of which is
    searched (FAISS; MissingExtraError without it). A place that is not filled holds -1 and a very low product. Cost n²·d, or a 32nd.
    """
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
        return _by_numpy(vectors, k)
    return _by_faiss(faiss, vectors, k)


def _by_faiss(faiss: object, vectors: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
    n, d = vectors.shape
    if n <= FLAT:
        index = faiss.IndexFlatIP(d)  # type: ignore[attr-defined]  # FAISS is untyped
    else:
        cells = 4 * int(n**0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(d), d, cells, faiss.METRIC_INNER_PRODUCT)  # type: ignore[attr-defined]
        index.cp.seed = 0
        index.nprobe = max(8, cells // 32)
        index.train(vectors[:: max(1, n // (64 * cells))])
    index.add(vectors)
    products, rows = index.search(vectors, k + 1)
    return _without_self(rows.astype(np.int64), products, k)


def _by_numpy(vectors: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
    rows = np.empty((len(vectors), k + 1), np.int64)
    products = np.empty((len(vectors), k + 1), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK] @ vectors.T
        best = np.argpartition(-block, k, axis=1)[:, : k + 1].copy()  # a view would keep the whole block
        values = np.take_along_axis(block, best, axis=1)
        order = np.lexsort((best, -values), axis=1)
        rows[start : start + _BLOCK] = np.take_along_axis(best, order, axis=1)
        products[start : start + _BLOCK] = np.take_along_axis(values, order, axis=1)
    return _without_self(rows, products, k)


def _without_self(rows: NDArray[np.int64], products: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
    """Takes each row out of its own list, or the last of the list where equal rows have pushed it out."""
    own = rows == np.arange(len(rows))[:, None]
    own[~own.any(axis=1), -1] = True
    return rows[~own].reshape(len(rows), k), products[~own].reshape(len(rows), k)
