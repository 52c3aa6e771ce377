"""Which texts go through a model together: those of like length, as many as a budget of padded tokens holds."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

WINDOW: Final = 8192  # texts that are tokenised and sorted at a time; bounds memory, whatever a shard's size


def plan(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Batches of positions, longest texts first; a batch's longest times its size is at most `budget`, unless one text alone is longer.

    Nothing but the lengths decides, so the same rows are batched the same way whenever and wherever they are scored.

    >>> [batch.tolist() for batch in plan(np.array([2, 9, 3, 8]), budget=18)]
    [[1, 3], [2, 0]]
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches


def windows(n: int) -> list[tuple[int, int]]:
    """The ranges of texts that are planned together."""
    return [(start, min(start + WINDOW, n)) for start in range(0, n, WINDOW)]
