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
from curate.index.neighbours import memory as found_in
from curate.index.vectors import BLOCK, Placed, Vectors, squared_norms
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom

if TYPE_CHECKING:
    from scipy.sparse import csr_array


EXACT: Final = 20_000  # rows up to which picks one at a time take seconds, and which stand for more of them where picks are few
FEW: Final = 4  # lists of neighbours that the rows of a pick would fill on average, beyond which lists say too little
_AT_ONCE: Final = 16  # candidates evaluated in one product
_ROUNDING: Final = 1e-6  # what a row of zeros may seem to be like another
_MANY: Final = 512  # picks that rows are compared with at a time
_BLOCK: Final = 512  # rows compared with many at a time


class FacilityLocation:
    """Greedily maximises Σ_i max_{j picked} s_ij, in the order picked; at least 1 - 1/e of the best there is.

    Reads `embedding`, (n, d). s is the cosine, 0 where it is negative. What a row would add is reckoned over its `neighbours` nearest
    ones (either way round) and itself, so that memory is some 60·neighbours bytes a row and not n²; how well each row is served already
    is known of every pick, near or not, which makes up for that: the value is that of a greedy over all pairs within a thousandth. Where
    the picks are so few that each serves more than 4·`neighbours` rows, their gains are over all rows (from 20,000 on over as many
    drawn ones), computed as they are needed, and there are no lists. `greedy=exact` picks whichever row adds most; `threshold` many
    rows at once that all add at least 98 % of that, for the same value within a thousandth in a fraction of the time; `auto` is exact up
    to 20,000 rows. With `weigh` a pick's weight is the number of rows that it is the most similar to, scaled to a mean of 1 (CRAIG), else
    1. Once no pick adds anything the rest are drawn at random. Cost: the neighbours (FAISS: n²·d up to 100,000 rows), some
    n²·d/`neighbours` for the rows without a pick near, then a few evaluations a pick.
    """

    requires = ("embedding",)
    version = 3

    def __init__(
        self,
        *,
        neighbours: int = 32,
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
        placed = Placed(pool["embedding"], "cosine")
        if self._is_few(len(pool), k):
            vectors = placed[:]
            picked = filled(by_all(vectors, _drawn(vectors, pool.rows, rng), k), k, pool.rows, rng)
            return picked, _scaled(_nearest(vectors, vectors[picked]), k) if self.weigh else np.ones(k)
        similarity, reach = similarity_graph(placed, self.neighbours, self.index)
        vectors = placed[:]
        exact = self.greedy == "exact" or (self.greedy == "auto" and len(pool) <= EXACT)
        picked = (greedy if exact else by_threshold)(similarity, k, Service(vectors, reach))
        picked = filled(picked, k, pool.rows, rng)
        return picked, _scaled(_served(similarity, reach, picked, vectors), k) if self.weigh else np.ones(k)

    def work(self, n: int, d: int, k: int) -> float:
        if self._is_few(n, k):
            return 2.0 * n * min(n, EXACT) * d  # all gains once, and about as many products again while it picks
        return search_work(n, d, self.index) + 5000 * n * self.neighbours  # a pick looks at neighbours here and there in memory

    def memory(self, n: int, d: int, k: int) -> int:
        if self._is_few(n, k):
            return 4 * (n + min(n, EXACT)) * d + 4 * (_BLOCK + 3 * _AT_ONCE) * min(n, EXACT) + 40 * n
        return max(found_in(n, d, self.neighbours), 4 * n * d + 60 * n * self.neighbours)

    def _is_few(self, n: int, k: int) -> bool:
        return FEW * self.neighbours * k < n


def similarity_graph(vectors: Vectors | Placed, neighbours: int, index: Kind = "auto") -> "tuple[csr_array, NDArray[np.float32]]":
    """The similarities of near pairs of unit vectors, symmetric, (n, n) sparse, 1 on the diagonal; and each row's `reach`, (n,).

    No row that is more similar to a row than its reach is missing there: it is the least similarity in the row's own list.
    """
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
    products[(graph.rows < 0) | (products < _ROUNDING)] = 0
    reach = products.min(axis=1, initial=1.0)
    wide = np.int64 if n * k > np.iinfo(np.int32).max else np.int32
    there = (products.reshape(-1), np.maximum(graph.rows, 0).reshape(-1).astype(np.int32), np.arange(0, n * k + 1, max(k, 1), dtype=wide))
    near = csr_array(there if k else (n, n), shape=(n, n), dtype=np.float32)
    near.eliminate_zeros()
    return csr_array(near.maximum(near.T.tocsr()).maximum(eye_array(n, dtype=np.float32, format="csr"))), reach


class Service:
    """How similar each row's most similar pick is, `best`, (n,).

    Where that is within the row's `reach`, a neighbour in its own list serves it best, as the lists tell; other rows are compared with
    every pick, and are ever fewer. `vectors` are unit ones.
    """

    def __init__(self, vectors: Vectors, reach: NDArray[np.float32]) -> None:
        self.best = np.zeros(len(vectors), np.float32)
        self._vectors, self._reach = vectors, reach
        self._far, self._theirs = np.arange(len(vectors)), vectors

    def add(self, rows: Rows, near: NDArray[np.int32], similarity: NDArray[np.float32]) -> None:
        """Takes picks, and the rows that are their neighbours with how similar they are."""
        np.maximum.at(self.best, near, similarity)
        still = self.best[self._far] < self._reach[self._far]
        if 2 * np.count_nonzero(still) <= len(still):
            self._far = self._far[still]
            self._theirs = self._vectors[self._far]
        for first in range(0, len(rows), _MANY):
            picks = self._vectors[rows[first : first + _MANY]].T
            for start in range(0, len(self._far), BLOCK):
                far = self._far[start : start + BLOCK]
                like = (self._theirs[start : start + BLOCK] @ picks).max(axis=1)
                self.best[far] = np.maximum(self.best[far], like)


def greedy(similarity: "csr_array", k: int, service: Service | None = None) -> Rows:
    """Up to `k` rows, each the one that adds most, ties to the lower row; fewer where nothing adds any more.

    Gains only fall, so a row whose old gain, evaluated anew, still leads needs no other to be looked at (Minoux). They are over the pairs
    in `similarity`, beyond which a pick serves no row, unless `service` says so.
    """
    start, index, value = similarity.indptr, similarity.indices, similarity.data
    best = np.zeros(similarity.shape[0], np.float32) if service is None else service.best
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
        if service is None:
            best[index[span]] = np.maximum(best[index[span]], value[span])
        else:
            service.add(np.array([row]), index[span], value[span])
    return np.array(picked, np.int64)


def by_threshold(similarity: "csr_array", k: int, service: Service | None = None, step: float = 0.02) -> Rows:
    """Up to `k` rows, picked many at once: each adds at least 1 - `step` of what the best one would, ties to the lower row.

    Badanidiyuru & Vondrák 2014, "Fast algorithms for maximizing submodular functions": a threshold falls from the largest gain by
    `step` a round, and rows that still add as much are picked; at least 1 - 1/e - `step` of the best value. Of the rows above
    it those are picked together that share no row which both would serve better, so that each one's gain is what it was.
    """
    n = similarity.shape[0]
    best = np.zeros(n, np.float32) if service is None else service.best
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
            if service is None:
                np.maximum.at(best, taken.indices, taken.data)
            else:
                service.add(rows, taken.indices, taken.data)
            bound[rows] = -1
            picked.append(rows)
            left -= len(rows)
    return np.concatenate(picked) if picked else np.empty(0, np.int64)


def by_all(vectors: Vectors, served: Vectors, k: int) -> Rows:
    """Up to `k` rows, each the one that adds most to the sum over all of `served`, ties to the lower row; no similarity is kept.

    Gains only fall here, too: those that lead are evaluated anew, a few in one product, until one that is up to date leads.
    """
    best = np.zeros(len(served), np.float32)
    bound = np.concatenate([_added(vectors[at : at + _BLOCK], served, best) for at in range(0, len(vectors), _BLOCK)])
    seen = np.zeros(len(vectors), np.int64)  # the number of picks when it was evaluated
    picked: list[int] = []
    while len(picked) < k and bound[row := int(bound.argmax())] > 0:
        if seen[row] < len(picked):
            few = min(_AT_ONCE, len(bound)) - 1
            rows = np.append(np.argpartition(-bound, few)[:few], row)
            rows = np.unique(rows[seen[rows] < len(picked)])
            bound[rows], seen[rows] = _added(vectors[rows], served, best), len(picked)
            continue
        picked.append(row)
        bound[row] = -1
        np.maximum(best, served @ vectors[row], out=best)
    return np.array(picked, np.int64)


def _added(vectors: Vectors, served: Vectors, best: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each of these would add to the sum over `served`, (rows,)."""
    more = vectors @ served.T
    more -= best
    np.maximum(more, 0, out=more)
    gains: NDArray[np.float32] = more.sum(axis=1)
    return gains


def _drawn(vectors: Vectors, rows: Rows, rng: KeyedRandom) -> Vectors:
    """All of the vectors, or as many of them as the exact form takes."""
    if len(vectors) <= EXACT:
        return vectors
    return vectors[np.sort(np.argpartition(rng.uniform(rows), EXACT)[:EXACT])]


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


def _served(similarity: "csr_array", reach: NDArray[np.float32], picked: Rows, vectors: Vectors) -> NDArray[np.int64]:
    """The place of the pick that each row is the most similar to, (n,), ties to the earlier one; -1 where it is like none."""
    pairs = similarity[:, picked].tocoo()
    order = np.lexsort((pairs.col, -pairs.data, pairs.row))
    rows, first = np.unique(pairs.row[order], return_index=True)
    place, best = np.full(len(vectors), -1, np.int64), np.full(len(vectors), -1, np.float32)
    place[rows], best[rows] = pairs.col[order][first], pairs.data[order][first]
    far = np.flatnonzero(best < reach)
    place[far] = _nearest(vectors[far], vectors[picked])
    return place


def _nearest(vectors: Vectors, picks: Vectors) -> NDArray[np.int64]:
    place = np.full(len(vectors), -1, np.int64)
    for start in range(0, len(vectors), _BLOCK):
        like = vectors[start : start + _BLOCK] @ picks.T
        place[start : start + _BLOCK] = np.where(like.max(axis=1) > 0, like.argmax(axis=1), -1)
    return place


def _scaled(place: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """How many rows each pick serves, itself at least, as weights with a mean of 1."""
    counts: NDArray[np.float64] = np.maximum(np.bincount(place[place >= 0], minlength=k), 1).astype(np.float64)
    scaled: NDArray[np.float64] = counts * k / counts.sum()
    return scaled
