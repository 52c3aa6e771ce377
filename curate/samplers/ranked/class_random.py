"""Random rows with the classes' shares fixed: the baseline where labels exist."""

import numpy as np
from numpy.typing import NDArray

from curate.budget import Balance, per_class
from curate.draws import uniform_per_bin
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom


class ClassRandom:
    """Rows drawn uniformly within every class, in one random order, each of weight 1.

    Reads `label`. `balance=proportional` keeps the classes' shares by largest remainder; `equal` gives every class the same,
    and what a small class cannot give goes to the others. Cost O(n log n), memory 42 bytes a row
    and 16 a chosen one.
    """

    requires = ("label",)
    version = 1

    def __init__(self, *, balance: Balance = "proportional") -> None:
        self.balance: Balance = balance

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        labels = pool["label"]
        budgets = per_class(labels, k, self.balance)
        _, classes = np.unique(labels, return_inverse=True)
        counts = np.fromiter(budgets.values(), np.int64, len(budgets))
        return uniform_per_bin(classes, counts, pool.rows, rng), np.ones(k)
