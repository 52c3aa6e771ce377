"""Which rows hang together: connected components of pairs, numbered by their lowest row, whatever the order of the pairs."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def components(pairs: Iterable[tuple[Rows, Rows]], n: int) -> Rows:
    """The lowest position of each position's component, (n,) int64; a position that is in no pair is its own."""
    found: Rows = np.arange(n)
    for one, other in _batches(pairs, n):
        found = _joined(found[one], found[other], n)[found]
    return found


def _batches(pairs: Iterable[tuple[Rows, Rows]], n: int) -> Iterator[tuple[Rows, Rows]]:
    """The pairs, about as many at a time as there are rows: more are never held."""
    held: list[tuple[Rows, Rows]] = []
    for pair in pairs:
        held.append(pair)
        if sum(len(one) for one, _ in held) >= n:
            yield _together(held)
            held = []
    if held:
        yield _together(held)


def _together(pairs: list[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return one, other


def _joined(one: Rows, other: Rows, n: int) -> Rows:
    """The lowest position of each position's component under these pairs alone."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

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
