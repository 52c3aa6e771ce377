"""The graph of nearest neighbours: found once for the same vectors, kept beside them, and shared by all that asks who lies near."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from curate.disk import write_whole
from curate.embeddings import Embeddings
from curate.errors import DamagedStoreError, InputError
from curate.index import indexes, kept
from curate.index.indexes import Kind
from curate.index.kept import keeping
from curate.index.neighbours import nearest_by_distance
from curate.index.vectors import Placed, Vectors, finite_rows, squared_distances
from curate.locks import locked
from curate.store import as_arrow, as_numpy, read_arrow, write_arrow

WIDTH: Final = 16  # neighbours kept, unless more are asked for
_BLOCK: Final = 1024  # rows of another set at a time
WAIT: Final = 600.0  # seconds to wait for another process that makes the same graph


@dataclass(frozen=True)
class Graph:
    """`rows` are each row's neighbours, (n, k) integers, nearest first, itself left out, -1 where there is none; `distance` is Euclidean.

    A row without a vector has no neighbours and is nobody's; the distance of what is not there is infinite. Both may be memory-mapped.
    """

    rows: NDArray[np.int32] | NDArray[np.int64]
    distance: Vectors

    @property
    def k(self) -> int:
        return int(self.rows.shape[1])

    def nearest(self, k: int) -> "Graph":
        """The same with the k nearest neighbours of each row alone."""
        return Graph(self.rows[:, :k], self.distance[:, :k])


def graph_of(vectors: NDArray[Any] | Placed, k: int = WIDTH, kind: Kind = "auto") -> Graph:
    """The k nearest others of each row of vectors, (n, d), fewer where rows are fewer; exact up to 100,000 rows, see `nearest_by_distance`.

    Within `kept.keeping` it comes from a file for these very vectors, whoever made it, and goes to one, at least 16 wide: an Arrow file,
    "neighbours-…", of columns `neighbour` and `distance` for the rows that have a vector, 8 bytes a neighbour. Samplers and scorers that
    place rows alike thus share one.
    """
    there, known = _there(vectors)
    k = min(k, max(0, len(there) - 1))
    chosen = indexes.plan(len(there), there.shape[1], kind)
    narrow = (k,) if chosen.kind in _ALL_BY_K else ()
    file = kept.place("neighbours", there, indexes.signature(chosen), *narrow)
    found = _read(file, len(there), k)
    if found is not None:
        kept.note(f"neighbours by index {chosen.kind}: {chosen.why}")
    else:
        found = Graph(*nearest_by_distance(there, k if file is None or narrow else min(max(k, WIDTH), len(there) - 1), kind))
        _write(file, found)
    return _spread(found.nearest(k), known, len(vectors))


def _there(vectors: NDArray[Any] | Placed) -> tuple[Placed, NDArray[np.int64]]:
    """The rows that have a vector, copied only where some have none, and which they are."""
    if isinstance(vectors, Placed):
        return vectors, np.arange(len(vectors))
    known = np.flatnonzero(finite_rows(vectors))
    return Placed(vectors[known] if len(known) < len(vectors) else vectors, "euclidean"), known


_ALL_BY_K: Final = ("ivfpq", "hnsw")  # indexes that look further for more neighbours, so that the first are not those of fewer


def shared_graph(embeddings: Embeddings, k: int = WIDTH) -> Graph:
    """The graph of a store's vectors, with `k` neighbours (fewer rows have fewer), kept in the store where that may be written.

    Costs n²·d once up to 100,000 rows, and in memory nothing: it is mapped. Another process that asks waits. InputError where fewer than
    two rows have a vector.
    """
    return _shared(embeddings.path, embeddings.about()["digest"], k)


@lru_cache(maxsize=2)
def _shared(path: Path, digest: str, k: int) -> Graph:
    embeddings = Embeddings.open(path)
    known = len(embeddings) - sum(embeddings.failed.values())
    if known < 2:
        raise InputError(f"{known} of {len(embeddings):,} rows have a vector; neighbours need two or more.")
    with keeping(embeddings.kept):
        if embeddings.kept is None:
            return graph_of(embeddings.matrix, k)
        with locked(embeddings.kept, wait=WAIT):
            return graph_of(embeddings.matrix, k)


def nearest_between(queries: Vectors, vectors: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
    """For rows of another set: the `k` of `vectors` nearest to each, nearest first, and their Euclidean distances. Compares every pair."""
    k = min(k, len(vectors))
    rows, squares = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)  # far from the origin squares cancel
    there = vectors - mean
    for start in range(0, len(queries), _BLOCK):
        far = squared_distances(queries[start : start + _BLOCK] - mean, there)
        best = np.argpartition(far, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(far, best, axis=1)
        order = np.lexsort((best, values), axis=1)
        rows[start : start + _BLOCK] = np.take_along_axis(best, order, axis=1)
        squares[start : start + _BLOCK] = np.take_along_axis(values, order, axis=1)
    return rows, np.sqrt(squares)


def _write(file: Path | None, graph: Graph) -> None:
    if file is None:
        return
    rows = graph.rows if len(graph.rows) > np.iinfo(np.int32).max else graph.rows.astype(np.int32)
    table = pa.table({"neighbour": as_arrow(rows), "distance": as_arrow(graph.distance)})
    table = table.replace_schema_metadata({"checksum": _checksum(rows, graph.distance)})
    write_whole(file, lambda temporary: write_arrow(temporary, table))


def _read(file: Path | None, n: int, k: int) -> Graph | None:
    """The graph in a file, memory-mapped; None where there is none that is whole and wide enough."""
    if file is None or not file.is_file():
        return None
    try:
        table = read_arrow(file)
    except DamagedStoreError:
        return None
    if table.column_names != ["neighbour", "distance"] or table.num_rows != n:
        return None
    rows, distance = (as_numpy(table.column(name).chunk(0)) for name in table.column_names)
    whole = (table.schema.metadata or {}).get(b"checksum", b"").decode() == _checksum(rows, distance)
    return Graph(rows, distance) if whole and rows.shape[1] >= k else None


def _checksum(rows: NDArray[Any], distance: Vectors) -> str:
    digest = xxhash.xxh3_64(np.ascontiguousarray(rows).data.cast("B"))
    digest.update(np.ascontiguousarray(distance).data.cast("B"))
    return str(digest.hexdigest())


def _spread(graph: Graph, known: NDArray[np.int64], n: int) -> Graph:
    """A graph of the rows that have a vector, as one of all rows."""
    if len(known) == n:
        return graph
    rows, distance = np.full((n, graph.k), -1, np.int64), np.full((n, graph.k), np.inf, np.float32)
    rows[known] = np.where(graph.rows >= 0, known[graph.rows], -1)
    distance[known] = graph.distance
    return Graph(rows, distance)
