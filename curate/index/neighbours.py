"""Nearest neighbours of every row among the others, by FAISS where it is installed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.errors import MissingExtraError
from curate.index import indexes, kept
from curate.index.indexes import Index, Kind, Plan, plan, search_parts
from curate.index.vectors import Placed, Vectors, mean_of, squared_norms
from curate.protocols import Rows

PLAIN: Final = 20_000  # rows up to which numpy alone will do
AGAIN: Final = 4  # candidates a neighbour that are looked at again where an index holds codes
PART: Final = 1 << 30  # bytes of vectors of an index in memory, where the rest of it can lie on disk
_BLOCK: Final = 1024
_QUERIES: Final = 1 << 16

Search = Callable[[slice], tuple[Rows, Vectors]]


def nearest_by_distance(vectors: Vectors | Placed, k: int, kind: Kind = "auto") -> tuple[NDArray[np.int32], Vectors]:
    """The `k` other rows nearest to each row, and their Euclidean distances, (n, k) both, nearest first, ties to the lower row.

    `kind` is the index, see `indexes.plan`: flat, which is exact, up to 100,000 rows, beyond an inverted file that searches some of its
    cells. FAISS, or MissingExtraError beyond 20,000 rows. Cost n²·d, or a part of it; memory the index, where vectors take more than a
    gigabyte and a folder is kept that much of it at a time, and 8 bytes a neighbour. `graph.graph_of` is this, kept.
    """
    k = min(k, len(vectors) - 1)
    if k < 1:
        return np.empty((len(vectors), 0), np.int32), np.empty((len(vectors), 0), np.float32)
    n, d = vectors.shape
    chosen = plan(n, d, kind)
    moved = (vectors if isinstance(vectors, Placed) else Placed(vectors, "euclidean")).moved(mean_of(vectors))
    search = _by_faiss(moved, k, chosen) if _has_faiss(len(vectors), chosen, kind) else _by_numpy(moved[:], k)
    rows, far = np.empty((len(vectors), k), np.int32), np.empty((len(vectors), k), np.float32)
    for start in range(0, len(vectors), _QUERIES):
        here = slice(start, min(start + _QUERIES, len(vectors)))
        rows[here], square = _without_self(*search(here), start, k)
        far[here] = np.sqrt(np.maximum(square, 0))
    return rows, far


def memory(n: int, d: int, k: int) -> int:
    """Bytes at the peak of finding them: the index, a run of queries before and after they are moved, and their answers."""
    return 4 * n * d + min(n, _QUERIES) * (8 * d + 40 * k) + 8 * n * k


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


def _by_faiss(vectors: Placed, k: int, chosen: Plan) -> Search:
    file = kept.place("index", vectors, indexes.signature(chosen)) if chosen.kind != "flat" else None
    parts = _parts(vectors, chosen, file)
    if chosen.kind != "ivfpq":
        return lambda rows: search_parts(parts, vectors[rows], k + 1)
    more = min(len(vectors), AGAIN * k + 1)

    def put_right(rows: slice) -> tuple[Rows, Vectors]:
        queries = vectors[rows]
        near = search_parts(parts, queries, more)[0]
        blocks = range(0, len(queries), _BLOCK)
        found = [_put_right(vectors, near[at : at + _BLOCK], queries[at : at + _BLOCK], k + 1) for at in blocks]
        return np.concatenate([rows for rows, _ in found]), np.concatenate([values for _, values in found])

    return put_right


def _parts(vectors: Placed, chosen: Plan, file: Path | None) -> list[Index]:
    """The index of all rows: whole and in memory, or in parts that lie on disk and are mapped, which answer as the whole would."""
    n, d = vectors.shape
    rows = max(1, PART // (4 * d))
    if file is None or n <= rows or chosen.kind != "ivf":
        index = Index.open(file, chosen) if file is not None else None
        if index is None:
            index = Index.build(vectors, chosen)
            if file is not None:
                index.save(file)
        return [index]
    return in_parts(vectors, chosen, file, rows)


def in_parts(vectors: NDArray[Any] | Placed, chosen: Plan, file: Path, rows: int) -> list[Index]:
    """The index in files of `rows` rows each, made where they are not there and whole, mapped; one part is in memory at a time.

    It is trained once; parts that were made before a kill say what it learned.
    """
    paths = [file.with_name(f"{file.name}-{start // rows:03d}") for start in range(0, len(vectors), rows)]
    parts: list[Index] = []
    trained: Index | None = None
    for start, path in zip(range(0, len(vectors), rows), paths, strict=True):
        part = Index.open(path, chosen, mapped=True)
        if part is None:
            if trained is None:  # an index without rows is false
                known = Index.open(paths[0], chosen) if parts else None
                trained = known.emptied() if known is not None else Index.trained(vectors, chosen)
            made = trained.emptied()
            made.add(vectors, start, min(start + rows, len(vectors)))
            made.save(path)
            part = Index.open(path, chosen, mapped=True)
            assert part is not None, "it was saved just now"
        parts.append(part)
    return parts


def _put_right(vectors: Placed, rows: Rows, queries: Vectors, k: int) -> tuple[Rows, Vectors]:
    """The k best of the candidates by the vectors themselves, since codes only say about where they lie."""
    near = vectors[np.maximum(rows, 0).reshape(-1)].reshape(*rows.shape, -1)  # (block, candidates, d)
    near = near - queries[:, None]
    cost = np.einsum("bcd,bcd->bc", near, near)
    cost[rows < 0] = np.inf
    best = np.argpartition(cost, k - 1, axis=1)[:, :k].copy()
    return np.take_along_axis(rows, best, axis=1), np.take_along_axis(cost, best, axis=1)


def _by_numpy(vectors: Vectors, k: int) -> Search:
    norms = squared_norms(vectors)

    def search(queries: slice) -> tuple[Rows, Vectors]:
        found = []
        for start in range(queries.start, queries.stop, _BLOCK):
            here = slice(start, min(start + _BLOCK, queries.stop))
            gaps = vectors[here] @ vectors.T
            gaps *= -2
            gaps += norms + norms[here, None]
            best = np.argpartition(gaps, k, axis=1)[:, : k + 1].copy()  # a view would keep the whole block
            found.append((best, np.take_along_axis(gaps, best, axis=1)))
        return np.concatenate([rows for rows, _ in found]), np.concatenate([values for _, values in found])

    return search


def _without_self(rows: Rows, values: Vectors, first: int, k: int) -> tuple[Rows, Vectors]:
    """Takes each row, from `first` on, out of its own list, or the last where equal rows have pushed it out; sorts the rest."""
    own = rows == first + np.arange(len(rows))[:, None]
    missed = np.flatnonzero(~own.any(axis=1))
    own[missed, np.argmax(values[missed], axis=1)] = True
    rows, values = rows[~own].reshape(len(rows), k), values[~own].reshape(len(rows), k)
    order = np.lexsort((rows, values), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(values, order, axis=1)
