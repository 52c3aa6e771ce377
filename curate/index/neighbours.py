"""Nearest neighbours of every row among the others, by FAISS where it is installed."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.errors import MissingExtraError
from curate.index.vectors import Vectors, centred, squared_norms
from curate.protocols import Rows
from curate.rng import KeyedRandom

FLAT: Final = 100_000  # rows up to which every pair is compared; beyond, cells of an inverted file are
PLAIN: Final = 20_000  # rows up to which numpy alone will do
A_CELL: Final = 64  # rows a cell of the inverted file is trained on
_BLOCK: Final = 1024


def nearest_by_product(vectors: Vectors, k: int) -> tuple[Rows, Vectors]:
    """The `k` other rows of largest inner product with each row, and the products, (n, k) both, best first, ties to the lower row.

    Of unit vectors that is cosine similarity. Exact up to 100,000 rows; beyond, an inverted file of 4·√n cells, one in 32 of which is
    searched (FAISS; MissingExtraError without it), and for a row that finds fewer than `k` there all of them. Cost n²·d, or a 32nd.
    """
    rows, products = _nearest(vectors, k, by_product=True)
    return rows, products


def nearest_by_distance(vectors: Vectors, k: int) -> tuple[Rows, Vectors]:
    """The `k` other rows nearest to each row, and their Euclidean distances, (n, k) both; otherwise as `nearest_by_product`."""
    rows, square = _nearest(centred(vectors), k, by_product=False)
    return rows, np.sqrt(np.maximum(square, 0))


def _nearest(vectors: Vectors, k: int, *, by_product: bool) -> tuple[Rows, Vectors]:
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
        found = _by_numpy(vectors, k, by_product)
    else:
        found = _by_faiss(faiss, vectors, k, by_product)
    return _without_self(*found, k, by_product)


def _by_faiss(faiss: Any, vectors: Vectors, k: int, by_product: bool) -> tuple[Rows, Vectors]:
    n, d = vectors.shape
    metric = faiss.METRIC_INNER_PRODUCT if by_product else faiss.METRIC_L2
    flat = faiss.IndexFlat(d, metric)
    if n <= FLAT:
        flat.add(vectors)
        values, rows = flat.search(vectors, k + 1)
        return rows.astype(np.int64), values
    cells = 4 * int(n**0.5)
    index = faiss.IndexIVFFlat(flat, d, cells, metric)
    index.cp.seed = 0
    index.nprobe = max(8, cells // 32)
    luck = KeyedRandom(0, "inverted file").uniform(np.arange(n))  # not a stride: data often come in an order that repeats
    index.train(vectors[np.sort(np.argsort(luck)[: A_CELL * cells])])
    index.add(vectors)
    values, rows = index.search(vectors, k + 1)
    short = np.flatnonzero((rows < 0).any(axis=1))
    if len(short):
        index.nprobe = cells
        values[short], rows[short] = index.search(vectors[short], k + 1)
    return rows.astype(np.int64), values


def _by_numpy(vectors: Vectors, k: int, by_product: bool) -> tuple[Rows, Vectors]:
    rows = np.empty((len(vectors), k + 1), np.int64)
    values = np.empty((len(vectors), k + 1), np.float32)
    norms = squared_norms(vectors)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK] @ vectors.T
        if by_product:
            block *= -1
        else:
            block *= -2
            block += norms + norms[start : start + _BLOCK, None]
        best = np.argpartition(block, k, axis=1)[:, : k + 1].copy()  # a view would keep the whole block
        rows[start : start + _BLOCK] = best
        values[start : start + _BLOCK] = np.take_along_axis(block, best, axis=1)
    return rows, -values if by_product else values


def _without_self(rows: Rows, values: NDArray[np.float32], k: int, by_product: bool) -> tuple[Rows, Vectors]:
    """Takes each row out of its own list, or the last of the list where equal rows have pushed it out; sorts the rest."""
    own = rows == np.arange(len(rows))[:, None]
    last = np.argmin(values, axis=1) if by_product else np.argmax(values, axis=1)
    missed = np.flatnonzero(~own.any(axis=1))
    own[missed, last[missed]] = True
    rows, values = rows[~own].reshape(len(rows), k), values[~own].reshape(len(rows), k)
    order = np.lexsort((rows, -values if by_product else values), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(values, order, axis=1)
