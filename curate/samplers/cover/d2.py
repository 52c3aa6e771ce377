"""D2 pruning: a row's score is that of its neighbourhood, and each pick takes away from the neighbours of the picked.

Maharana, Yadav, Bansal 2023, "D2 Pruning: Message Passing for Balancing Diversity and Difficulty in Data Pruning"; official code
adymaharana/d2pruning.
"""

import heapq
from array import array

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.draws import filled
from curate.errors import OptionError
from curate.index.graph import graph_of
from curate.index.indexes import Kind, search_work
from curate.index.neighbours import memory as found_in
from curate.index.vectors import Metric, Placed, Vectors
from curate.pool import wanted_score
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom


class D2:
    """Rows by score after messages over the graph of nearest neighbours, in the order picked, each of weight 1.

    Reads `embedding`, (n, d), and `score`, of which `keep` names the wanted end; it is turned so that this end is high and, where some
    are negative, lifted so that the lowest is 0. Forward: v_i = s_i + Σ_j exp(-d_ij)·s_j over the `neighbours` nearest rows. Then, again
    and again, the largest v is picked and its neighbours lose exp(-gamma·d_ij) of it. `neighbours=5, gamma=0.1` are the code's for CIFAR
    and ImageNet; it drops the 40 % likeliest mislabelled first, which is --where here. A v at 0 or below takes nothing from anyone; in the
    code it gives. Once no v is above 0 the rest are drawn at random. Cost: the neighbours, then a heap; memory the index and
    the queries, 12·d bytes a row up to 65,536 rows and 4·d beyond, then 40·neighbours + 160 bytes a row.
    """

    requires = ("embedding", "score")
    version = 1

    def __init__(self, *, neighbours: int = 5, gamma: float = 0.1, metric: Metric = "cosine", index: Kind = "auto") -> None:
        if neighbours < 1:
            raise OptionError(f"d2: neighbours must be 1 or more, got {neighbours}.")
        if not gamma >= 0:
            raise OptionError(f"d2: gamma must be 0 or more, got {gamma}.")
        self.neighbours, self.gamma = neighbours, gamma
        self.metric: Metric = metric
        self.index: Kind = index

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        score = wanted_score(pool)
        graph = graph_of(Placed(pool["embedding"], self.metric), self.neighbours, self.index)
        value = passed_forward(score - min(0.0, float(score.min())), graph.rows, graph.distance)
        return filled(pick(value, graph.rows, graph.distance, k, self.gamma), k, pool.rows, rng), np.ones(k)

    def work(self, n: int, d: int, k: int) -> float:
        return search_work(n, d, self.index) + n * self.neighbours * float(np.log2(n + 1))

    def memory(self, n: int, d: int, k: int) -> int:
        return found_in(n, d, self.neighbours) + 40 * n * self.neighbours + 160 * n


def passed_forward(score: NDArray[np.float64], near: NDArray[np.integer], distance: Vectors) -> NDArray[np.float64]:
    """v, (n,): every row's score and, weighted by exp(-distance), those of its neighbours; a place that holds -1 counts for nothing."""
    share = np.where(near >= 0, np.exp(-distance.astype(np.float64)), 0)
    value: NDArray[np.float64] = score + (share * score[near]).sum(axis=1)
    return value


def pick(value: NDArray[np.float64], near: NDArray[np.integer], distance: Vectors, k: int, gamma: float) -> Rows:
    """Up to `k` rows of the largest v, each taking from its neighbours; fewer once none is above 0. Ties to the lower row.

    v only falls, so an entry of the heap that is out of date is too high and comes up in time to be put right.
    """
    left = array("d", value.astype(np.float64).tobytes())
    heap = [(-v, row) for row, v in enumerate(left)]
    heapq.heapify(heap)
    picked: list[int] = []
    while heap and len(picked) < k:
        old, row = heap[0]
        mine = left[row]
        if mine <= 0:
            heapq.heappop(heap)
        elif mine < -old:
            heapq.heapreplace(heap, (-mine, row))
        else:
            heapq.heappop(heap)
            picked.append(row)
            for other, part in zip(near[row].tolist(), np.exp(-gamma * distance[row]).tolist(), strict=True):
                if other >= 0:
                    left[other] -= part * mine
    return np.array(picked, np.int64)
