"""The graph of nearest neighbours: made once for a store of embeddings, kept in it, and shared by all that asks who lies near."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.embeddings import Embeddings
from curate.errors import InputError
from curate.index.neighbours import nearest_by_distance
from curate.index.vectors import Vectors, squared_distances
from curate.locks import locked
from curate.store import Store, as_arrow, shard_name

NEIGHBOURS: Final = "neighbours"
WIDTH: Final = 16  # neighbours kept, unless more are asked for
_BLOCK: Final = 1024  # rows of another set at a time
WAIT: Final = 600.0  # seconds to wait for another process that makes the same graph


@dataclass(frozen=True)
class Graph:
    """`rows` are each row's neighbours, (n, k) int64, nearest first, itself left out, -1 where there is none; `distance` is Euclidean.

    A row without a vector has no neighbours and is nobody's; the distance of what is not there is infinite.
    """

    rows: NDArray[np.int64]
    distance: NDArray[np.float32]

    @property
    def k(self) -> int:
        return int(self.rows.shape[1])


def graph_of(vectors: NDArray[Any], k: int = WIDTH) -> Graph:
    """The graph of vectors, (n, d); exact up to 100,000 rows, see `nearest_by_distance`. InputError where fewer than two rows have one."""
    known = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    if len(known) < 2:
        raise InputError(f"{len(known)} of {len(vectors):,} rows have a vector; neighbours need two or more.")
    found, distance = nearest_by_distance(np.ascontiguousarray(vectors[known] if len(known) < len(vectors) else vectors, np.float32), k)
    rows = np.full((len(vectors), found.shape[1]), -1, np.int64)
    rows[known] = known[found]
    return Graph(rows, _spread(distance, known, len(vectors)))


def shared_graph(embeddings: Embeddings, k: int = WIDTH) -> Graph:
    """The store's graph, with `k` neighbours or more (fewer rows have fewer); made and written beside the vectors where it is missing.

    Costs n²·d once, 12 bytes a neighbour on disk and in memory nothing: it is memory-mapped. Another process that asks waits.
    """
    kept = _kept(embeddings, k)
    if kept is not None:
        return kept
    with locked(embeddings.path, wait=WAIT):
        embeddings = Embeddings.open(embeddings.path)  # another process may have made it meanwhile
        kept = _kept(embeddings, k)
        if kept is None:
            _write(embeddings.store, graph_of(embeddings.matrix, max(k, WIDTH)), _about(embeddings, max(k, WIDTH)))
    return kept or _read(Store.open(embeddings.path))


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


def _kept(embeddings: Embeddings, k: int) -> Graph | None:
    """The graph that is there, if it is whole, of these very vectors and wide enough."""
    store = embeddings.store
    if NEIGHBOURS not in store.tables or not store.files(NEIGHBOURS) or store.faults([NEIGHBOURS]):
        return None
    about = store.about(NEIGHBOURS)
    return _read(store) if about["of"] == embeddings.about()["digest"] and about["k"] >= k else None


def _about(embeddings: Embeddings, k: int) -> dict[str, Any]:
    return {"of": embeddings.about()["digest"], "k": k, "distance": "euclidean"}


def _write(store: Store, graph: Graph, about: dict[str, Any]) -> None:
    store.drop_table(NEIGHBOURS)
    store.describe(NEIGHBOURS, about)
    rows = graph.rows if len(graph.rows) > np.iinfo(np.int32).max else graph.rows.astype(np.int32)
    table = pa.table({"row": np.arange(len(rows)), "neighbour": as_arrow(rows), "distance": as_arrow(graph.distance)})
    store.add_shard(NEIGHBOURS, shard_name(0), table)


def _read(store: Store) -> Graph:
    rows, distance = (store.column(NEIGHBOURS, name) for name in ("neighbour", "distance"))
    return Graph(rows.astype(np.int64), distance)


def _spread(distance: Vectors, known: NDArray[np.int64], n: int) -> Vectors:
    spread = np.full((n, distance.shape[1]), np.inf, np.float32)
    spread[known] = distance
    return spread
