"""Nearest neighbours of every row among the others, by FAISS where it is installed."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.errors import MissingExtraError
from curate.index import indexes, kept
from curate.index.indexes import Index, Kind, Plan, plan
from curate.index.vectors import Vectors, centred, squared_norms
from curate.protocols import Rows

PLAIN: Final = 20_000  # rows up to which numpy alone will do
AGAIN: Final = 4  # candidates a neighbour that are looked at again where an index holds codes
_BLOCK: Final = 1024


def nearest_by_product(vectors: Vectors, k: int, kind: Kind = "auto") -> tuple[Rows, Vectors]:
    """The `k` other rows of largest inner product with each row, and the products, (n, k) both, best first, ties to the lower row.

    Of unit vectors that is cosine similarity. `kind` is the index, see `indexes.plan`: flat, which is exact, up to 100,000 rows, beyond an
    inverted file that searches a 32nd of its cells. FAISS, or MissingExtraError beyond 20,000 rows. Within `kept.keeping` what was
    found is kept. Cost n²·d, or a 32nd.
    """
    return _nearest(vectors, k, kind, by_product=True)


def nearest_by_distance(vectors: Vectors, k: int, kind: Kind = "auto") -> tuple[Rows, Vectors]:
    """The `k` other rows nearest to each row, and their Euclidean distances, (n, k) both; otherwise as `nearest_by_product`."""
    rows, square = _nearest(centred(vectors), k, kind, by_product=False)
    return rows, np.sqrt(np.maximum(square, 0))


def _nearest(vectors: Vectors, k: int, kind: Kind, *, by_product: bool) -> tuple[Rows, Vectors]:
    k = min(k, len(vectors) - 1)
    if k < 1:
        return np.empty((len(vectors), 0), np.int64), np.empty((len(vectors), 0), np.float32)
    chosen = plan(len(vectors), vectors.shape[1], kind)
    try:
        import faiss  # noqa: F401  # whether it is there
    except ImportError:
        if len(vectors) > PLAIN or kind not in ("auto", "flat"):
            raise MissingExtraError(
                f'Nearest neighbours of {len(vectors):,} rows ({chosen.kind}) need FAISS. Install it: pip install "curatekit[index]"'
            ) from None
        return _without_self(*_by_numpy(vectors, k, by_product), k, by_product)
    kept.note(f"{chosen.kind}: {chosen.why}")
    file = kept.place("neighbours", vectors, k, indexes.signature(chosen, by_product))
    found = kept.load(file, (len(vectors), k))
    if found is None:
        found = _without_self(*_by_faiss(vectors, k, chosen, by_product), k, by_product)
        kept.save(file, *found)
    return found


def _by_faiss(vectors: Vectors, k: int, chosen: Plan, by_product: bool) -> tuple[Rows, Vectors]:
    file = kept.place("index", vectors, indexes.signature(chosen, by_product)) if chosen.kind != "flat" else None
    index = Index.open(file, chosen, by_product=by_product) if file is not None else None
    if index is None:
        index = Index.build(vectors, chosen, by_product=by_product)
        if file is not None:
            index.save(file)
    if chosen.kind != "ivfpq":
        return index.search(vectors, k + 1)
    more = min(len(vectors), AGAIN * k + 1)
    rows, values = np.empty((len(vectors), k + 1), np.int64), np.empty((len(vectors), k + 1), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = slice(start, start + _BLOCK)
        rows[block], values[block] = _put_right(vectors, index.search(vectors[block], more)[0], vectors[block], k + 1, by_product)
    return rows, values


def _put_right(vectors: Vectors, rows: Rows, queries: Vectors, k: int, by_product: bool) -> tuple[Rows, Vectors]:
    """The k best of the candidates by the vectors themselves, since codes only say about where they lie."""
    near = vectors[np.maximum(rows, 0)]  # (block, candidates, d)
    if by_product:
        cost = -np.einsum("bcd,bd->bc", near, queries)
    else:
        near -= queries[:, None]
        cost = np.einsum("bcd,bcd->bc", near, near)
    cost[rows < 0] = np.inf
    best = np.argpartition(cost, k - 1, axis=1)[:, :k].copy()
    values = np.take_along_axis(cost, best, axis=1)
    return np.take_along_axis(rows, best, axis=1), -values if by_product else values


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
