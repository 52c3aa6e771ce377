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


def nearest_by_distance(vectors: Vectors, k: int, kind: Kind = "auto") -> tuple[Rows, Vectors]:
    """The `k` other rows nearest to each row, and their Euclidean distances, (n, k) both, nearest first, ties to the lower row.

    `kind` is the index, see `indexes.plan`: flat, which is exact, up to 100,000 rows, beyond an inverted file that searches a 32nd of its
    cells. FAISS, or MissingExtraError beyond 20,000 rows. Cost n²·d, or a 32nd. `graph.graph_of` is this, kept.
    """
    k = min(k, len(vectors) - 1)
    if k < 1:
        return np.empty((len(vectors), 0), np.int64), np.empty((len(vectors), 0), np.float32)
    chosen = plan(len(vectors), vectors.shape[1], kind)
    found = _by_faiss(centred(vectors), k, chosen) if _has_faiss(len(vectors), chosen, kind) else _by_numpy(centred(vectors), k)
    rows, square = _without_self(*found, k)
    return rows, np.sqrt(np.maximum(square, 0))


def _has_faiss(n: int, chosen: Plan, kind: Kind) -> bool:
    """Whether FAISS is installed; MissingExtraError where it is not and numpy will not do."""
    try:
        import faiss  # noqa: F401  # whether it is there
    except ImportError:
        if n > PLAIN or kind not in ("auto", "flat"):
            raise MissingExtraError(
                f'Nearest neighbours of {n:,} rows ({chosen.kind}) need FAISS. Install it: pip install "curatekit[index]"'
            ) from None
        return False
    kept.note(f"neighbours by index {chosen.kind}: {chosen.why}")
    return True


def _by_faiss(vectors: Vectors, k: int, chosen: Plan) -> tuple[Rows, Vectors]:
    file = kept.place("index", vectors, indexes.signature(chosen)) if chosen.kind != "flat" else None
    index = Index.open(file, chosen) if file is not None else None
    if index is None:
        index = Index.build(vectors, chosen)
        if file is not None:
            index.save(file)
    if chosen.kind != "ivfpq":
        return index.search(vectors, k + 1)
    more = min(len(vectors), AGAIN * k + 1)
    rows, values = np.empty((len(vectors), k + 1), np.int64), np.empty((len(vectors), k + 1), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = slice(start, start + _BLOCK)
        rows[block], values[block] = _put_right(vectors, index.search(vectors[block], more)[0], vectors[block], k + 1)
    return rows, values


def _put_right(vectors: Vectors, rows: Rows, queries: Vectors, k: int) -> tuple[Rows, Vectors]:
    """The k best of the candidates by the vectors themselves, since codes only say about where they lie."""
    near = vectors[np.maximum(rows, 0)]  # (block, candidates, d)
    near -= queries[:, None]
    cost = np.einsum("bcd,bcd->bc", near, near)
    cost[rows < 0] = np.inf
    best = np.argpartition(cost, k - 1, axis=1)[:, :k].copy()
    return np.take_along_axis(rows, best, axis=1), np.take_along_axis(cost, best, axis=1)


def _by_numpy(vectors: Vectors, k: int) -> tuple[Rows, Vectors]:
    rows = np.empty((len(vectors), k + 1), np.int64)
    values = np.empty((len(vectors), k + 1), np.float32)
    norms = squared_norms(vectors)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK] @ vectors.T
        block *= -2
        block += norms + norms[start : start + _BLOCK, None]
        best = np.argpartition(block, k, axis=1)[:, : k + 1].copy()  # a view would keep the whole block
        rows[start : start + _BLOCK] = best
        values[start : start + _BLOCK] = np.take_along_axis(block, best, axis=1)
    return rows, values


def _without_self(rows: Rows, values: NDArray[np.float32], k: int) -> tuple[Rows, Vectors]:
    """Takes each row out of its own list, or the last of the list where equal rows have pushed it out; sorts the rest."""
    own = rows == np.arange(len(rows))[:, None]
    missed = np.flatnonzero(~own.any(axis=1))
    own[missed, np.argmax(values[missed], axis=1)] = True
    rows, values = rows[~own].reshape(len(rows), k), values[~own].reshape(len(rows), k)
    order = np.lexsort((rows, values), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(values, order, axis=1)
