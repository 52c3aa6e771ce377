"""Facility location: picks such that every row has a similar one among them.

Mirzasoleiman, Bilmes, Leskovec 2020, "Coresets for Data-efficient Training of Machine Learning Models"; the greedy guarantee is Nemhauser,
Wolsey, Fisher 1978, lazy evaluation Minoux 1978. Official code baharanm/craig.
"""

import heapq
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.draws import filled
from curate.errors import OptionError
from curate.index.graph import graph_of
from curate.index.indexes import Kind, search_work
from curate.index.vectors import BLOCK, Placed, Vectors, squared_norms
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom

if TYPE_CHECKING:
    from scipy.sparse import csr_array


EXACT: Final = 20_000  # rows up to which picks one at a time take seconds


class FacilityLocation:
    """Greedily maximises Σ_i max_{j picked} s_ij, in the order picked; at least 1 - 1/e of the best there is.

    Reads `embedding`, (n, d). s is the cosine, 0 where it is negative, between a row and its `neighbours` nearest ones (either way
    round), and 1 to itself; all other pairs count as 0, so that memory is some 60·neighbours bytes a row and not n². `greedy=exact` picks
    whichever row adds most; `threshold` many rows at once that all add at least 98 % of that, for the same value within a thousandth
    in a fraction of the time; `auto` is exact up to 20,000 rows. With `weigh` a pick's weight is the number of rows that it is the most
    similar to, scaled to a mean of 1 (CRAIG), else 1. Once no pick adds anything the rest are drawn at random. Cost: the neighbours
    (FAISS: n²·d up to 100,000 rows), then a few evaluations a pick; memory 60·neighbours bytes a row.
    """

    requires = ("embedding",)
    version = 2

    def __init__(
        self,
        *,
        neighbours: int = 64,
        greedy: Literal["auto", "exact", "threshold"] = "auto",
        weigh: bool = False,
        index: Kind = "auto",
    ) -> None:
        if neighbours < 1:
            raise OptionError(f"facility_location: neighbours must be 1 or more, got {neighbours}.")
        self.neighbours, self.weigh = neighbours, weigh
        self.greedy: Literal["auto", "exact", "threshold"] = greedy
        self.index: Kind = index

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        similarity = similarity_graph(Placed(pool["embedding"], "cosine"), self.neighbours, self.index)
        exact = self.greedy == "exact" or (self.greedy == "auto" and len(pool) <= EXACT)
        picked = greedy(similarity, k) if exact else by_threshold(similarity, k)
        picked = filled(picked, k, pool.rows, rng)
        return picked, _served(similarity, picked) if self.weigh else np.ones(k)

    def work(self, n: int, d: int, k: int) -> float:
        return search_work(n, d, self.index) + 5000 * n * self.neighbours  # a pick looks at neighbours here and there in memory

    def memory(self, n: int, d: int, k: int) -> int:
        return 4 * n * d + 60 * n * self.neighbours


def similarity_graph(vectors: Vectors | Placed, neighbours: int, index: Kind = "auto") -> "csr_array":
    """The similarities of near pairs of unit vectors, symmetric, (n, n) sparse; 1 on the diagonal."""
    from scipy.sparse import csr_array, eye_array

    graph = graph_of(vectors, neighbours, index)
    n, k = graph.rows.shape
    blocks = (vectors[start : start + BLOCK] for start in range(0, n, BLOCK))
    length = np.concatenate([squared_norms(block) for block in blocks])  # 1, or 0 for a row of zeros, which is like nothing
    products = np.square(graph.distance)
    products *= -1
    products += length[:, None]
    for start in range(0, n, BLOCK):
        products[start : start + BLOCK] += length[graph.rows[start : start + BLOCK]]
    products /= 2
    np.clip(products, 0, 1, out=products)
    products[graph.rows < 0] = 0
    wide = np.int64 if n * k > np.iinfo(np.int32).max else np.int32
    there = (products.reshape(-1), np.maximum(graph.rows, 0).reshape(-1).astype(np.int32), np.arange(0, n * k + 1, max(k, 1), dtype=wide))
    near = csr_array(there if k else (n, n), shape=(n, n), dtype=np.float32)
    near.eliminate_zeros()
    return csr_array(near.maximum(near.T.tocsr()).maximum(eye_array(n, dtype=np.float32, format="csr")))


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


def by_threshold(similarity: "csr_array", k: int, step: float = 0.02) -> Rows:
    """Up to `k` rows, picked many at once: each adds at least 1 - `step` of what the best one would, ties to the lower row.

    Badanidiyuru & Vondrák 2014, "Fast algorithms for maximizing submodular functions": a threshold falls from the largest gain by
    `step` a round, and rows that still add as much are picked; at least 1 - 1/e - `step` of the best value. Of the rows above
    it those are picked together that share no row which both would serve better, so that each one's gain is what it was.
    """
    n = similarity.shape[0]
    best = np.zeros(n, np.float32)
    bound = _gains(similarity, np.arange(n), best)  # gains only fall
    picked: list[Rows] = []
    left = k
    while left and (most := float(bound.max(initial=0.0))) > 0:
        threshold = (1 - step) * most
        while left and len(rows := np.flatnonzero(bound >= threshold)):
            bound[rows] = _gains(similarity, rows, best)
            rows = rows[bound[rows] >= threshold]
            if not len(rows):
                break
            rows = _apart(similarity, rows[np.lexsort((rows, -bound[rows]))], best)[:left]
            taken = similarity[rows]
            np.maximum.at(best, taken.indices, taken.data)
            bound[rows] = -1
            picked.append(rows)
            left -= len(rows)
    return np.concatenate(picked) if picked else np.empty(0, np.int64)


def _gains(similarity: "csr_array", rows: Rows, best: NDArray[np.float32]) -> NDArray[np.float64]:
    """What each of these rows would add, (rows,)."""
    gains = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        part = similarity[rows[start : start + BLOCK]]
        more = np.maximum(part.data - best[part.indices], 0)
        gains[start : start + BLOCK] = np.add.reduceat(more, part.indptr[:-1], dtype=np.float64)  # no row is empty: each has itself
    return gains


def _apart(similarity: "csr_array", rows: Rows, best: NDArray[np.float32]) -> Rows:
    """Of rows, best first, those that are the first to serve every row that they would serve better."""
    part = similarity[rows]
    place = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
    better = part.data > best[part.indices]
    first = np.full(similarity.shape[0], len(rows))
    np.minimum.at(first, part.indices[better], place[better])
    beaten = np.bincount(place[better], weights=first[part.indices[better]] < place[better], minlength=len(rows))
    alone: Rows = rows[beaten == 0]
    return alone


def _served(similarity: "csr_array", picked: Rows) -> NDArray[np.float64]:
    """How many rows each pick is the most similar to, itself at least, as weights with a mean of 1; ties to the earlier pick."""
    pairs = similarity[:, picked].tocoo()
    order = np.lexsort((pairs.col, -pairs.data, pairs.row))
    _, first = np.unique(pairs.row[order], return_index=True)
    counts: NDArray[np.float64] = np.maximum(np.bincount(pairs.col[order][first], minlength=len(picked)), 1).astype(np.float64)
    scaled: NDArray[np.float64] = counts * len(picked) / counts.sum()
    return scaled
