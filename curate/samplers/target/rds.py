"""RDS+: the rows of a target take turns, each choosing the row nearest to it that is still there.

Ivison et al. 2025, "Large-Scale Data Selection for Instruction Tuning"; official code hamishivi/automated-instruction-selection.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.errors import ColumnError
from curate.protocols import Array, Pool, Rows
from curate.rng import KeyedRandom
from curate.topk import top_k

SPARE: Final = 2  # how many times its share of the budget a query looks ahead at first


class RDS:
    """Takes turns: of `k` rows each query gets k / queries, or one more, so that no task is left out for another.

    Reads `rds.similarity`, which the scorer of this name wrote: --scores DIR. `scores` is another name under which it was written.
    Queries choose in the order of the target's rows, or of its labels under tasks=true; of equally near rows the first is taken.
    Exact at any budget: what a query looks through grows as others take rows away. Cost O(n·queries), memory some 16 k
    bytes; the official code pops from the heads of lists, which is O(k²).
    """

    requires: Sequence[str] = ("rds.similarity",)
    version = 1

    def __init__(self, *, scores: str = "rds") -> None:
        self.scores = scores
        self.requires = (f"{scores}.similarity",)

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        similarity = pool[self.requires[0]]
        if similarity.ndim != 2:
            raise ColumnError(f'"{self.requires[0]}" has one number a row; one a query is expected. Is "{self.scores}" a score of rds?')
        return round_robin(similarity, k), np.ones(k)


def round_robin(similarity: Array, k: int) -> Rows:
    """`k` rows of (n, queries), in the order taken, (k,) int64.

    >>> round_robin(np.array([[0.9, 0.8], [0.5, 0.7], [0.1, 0.2]]), 3).tolist()
    [0, 1, 2]
    """
    n, queries = similarity.shape
    depth = min(n, SPARE * -(-k // queries))
    lists = [iter(_best(similarity, query, depth)) for query in range(queries)]
    seen = [depth] * queries
    taken, order = bytearray(n), []
    for turn in range(k):
        query = turn % queries
        row = next((row for row in lists[query] if not taken[row]), None)
        while row is None:  # all that it knew of is taken: look further
            lists[query] = iter(_best(similarity, query, min(n, 2 * seen[query]))[seen[query] :])
            seen[query] = min(n, 2 * seen[query])
            row = next((row for row in lists[query] if not taken[row]), None)
        taken[row] = 1
        order.append(row)
    return np.array(order, np.int64)


def _best(similarity: Array, query: int, depth: int) -> list[int]:
    found: list[int] = top_k(np.ascontiguousarray(similarity[:, query]), depth).tolist()
    return found
