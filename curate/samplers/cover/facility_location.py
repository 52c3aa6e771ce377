"""Facility location: picks such that every row has a similar one among them.

Mirzasoleiman, Bilmes, Leskovec 2020, "Coresets for Data-efficient Training of Machine Learning Models"; the greedy guarantee is Nemhauser,
Wolsey, Fisher 1978, lazy evaluation Minoux 1978. Official code baharanm/craig.
"""

import heapq
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.draws import filled
from curate.errors import OptionError
from curate.index.graph import graph_of
from curate.index.indexes import Kind
from curate.index.vectors import as_vectors, squared_norms, unit
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class FacilityLocation:
    """Greedily maximises Σ_i max_{j picked} s_ij, in the order picked; at least 1 - 1/e of the best there is.

    Reads `embedding`, (n, d). s is the cosine, 0 where it is negative, between a row and its `neighbours` nearest ones (either way
    round), and 1 to itself; all other pairs count as 0, so that memory is some 24·neighbours bytes a row and not n². With `weigh` a
    pick's weight is the number of rows that it is the most similar to, scaled to a mean of 1 (CRAIG), else 1. Once no pick adds anything
    the rest are drawn at random. Cost: the neighbours (FAISS: n²·d up to 100,000 rows), then a few evaluations a pick.
    """

    requires = ("embedding",)
    version = 1

    def __init__(self, *, neighbours: int = 64, weigh: bool = False, index: Kind = "auto") -> None:
        if neighbours < 1:
            raise OptionError(f"facility_location: neighbours must be 1 or more, got {neighbours}.")
        self.neighbours, self.weigh = neighbours, weigh
        self.index: Kind = index

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        similarity = similarity_graph(unit(as_vectors(pool["embedding"])), self.neighbours, self.index)
        picked = greedy(similarity, k)
        picked = filled(picked, k, pool.rows, rng)
        return picked, _served(similarity, picked) if self.weigh else np.ones(k)

    def memory(self, n: int, d: int, k: int) -> int:
        return 8 * n * d + 48 * n * self.neighbours


def similarity_graph(vectors: NDArray[np.float32], neighbours: int, index: Kind = "auto") -> "csr_array":
    """The similarities of near pairs of unit vectors, symmetric, (n, n) sparse; 1 on the diagonal."""
    from scipy.sparse import csr_array, eye_array

    graph = graph_of(vectors, neighbours, index)
    rows, (n, k) = graph.rows, graph.rows.shape
    length = squared_norms(vectors)  # 1, or 0 for a row of zeros, which is like nothing
    products = (length[:, None] + length[rows] - graph.distance**2) / 2
    there = (rows >= 0) & (products > 0)
    start = np.repeat(np.arange(n), k).reshape(n, k)
    near = csr_array((np.minimum(products[there], 1), (start[there], rows[there])), shape=(n, n), dtype=np.float32)
    return csr_array(near.maximum(near.T).maximum(eye_array(n, dtype=np.float32, format="csr")))


def greedy(similarity: "csr_array", k: int) -> Rows:
    """Up to `k` rows, each the one that adds most, ties to the lower row; fewer where nothing adds any more.

    Gains only fall, so a row whose old gain, evaluated anew, still leads needs no other to be looked at (Minoux).
    """
    start, index, value = similarity.indptr, similarity.indices, similarity.data
    best = np.zeros(similarity.shape[0], np.float32)
    first = np.asarray(similarity.sum(axis=1, dtype=np.float64)).reshape(-1)
    heap = [(-gain, row) for row, gain in enumerate(first.tolist())]
    heapq.heapify(heap)
    picked: list[int] = []
    while heap and len(picked) < k:
        _, row = heap[0]
        span = slice(start[row], start[row + 1])
        gain = float(np.maximum(value[span] - best[index[span]], 0).sum(dtype=np.float64))
        heapq.heapreplace(heap, (-gain, row))
        if heap[0] != (-gain, row):
            continue
        if gain <= 0:
            break
        heapq.heappop(heap)
        picked.append(row)
        best[index[span]] = np.maximum(best[index[span]], value[span])
    return np.array(picked, np.int64)


def _served(similarity: "csr_array", picked: Rows) -> NDArray[np.float64]:
    """How many rows each pick is the most similar to, itself at least, as weights with a mean of 1; ties to the earlier pick."""
    pairs = similarity[:, picked].tocoo()
    order = np.lexsort((pairs.col, -pairs.data, pairs.row))
    _, first = np.unique(pairs.row[order], return_index=True)
    counts: NDArray[np.float64] = np.maximum(np.bincount(pairs.col[order][first], minlength=len(picked)), 1).astype(np.float64)
    scaled: NDArray[np.float64] = counts * len(picked) / counts.sum()
    return scaled
