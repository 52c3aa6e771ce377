"""Which rows hang together: connected components of pairs, numbered by their lowest row, whatever the order of the pairs."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def components(pairs: Iterable[tuple[Rows, Rows]], n: int) -> Rows:
    """The lowest position of each position's component, (n,) int64; a position that is in no pair is its own."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = list(pairs)
    one, other = (np.concatenate([np.empty(0, np.int64), *(pair[side] for pair in ends)]) for side in (0, 1))
    graph = coo_matrix((np.ones(len(one), np.bool_), (one, other)), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    lowest = np.full(n, n, np.int64)
    np.minimum.at(lowest, label, np.arange(n))
    found: Rows = lowest[label]
    return found


def equal_pairs(keys: NDArray[np.uint64]) -> tuple[Rows, Rows]:
    """Pairs that join all positions with equal keys: each but the first of its key, with the one before it in row order."""
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    return order[same], order[same + 1]
