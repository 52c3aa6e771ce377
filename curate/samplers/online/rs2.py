"""RS2: a fresh random subset in every epoch, the cheap baseline for everything that trains on less.

Okanovic, Waleffe, Mageirakos, Nikolakakis, Karbasi, Kalogerias, Gürel, Rekatsinas 2024, "Repeated Random Sampling for Minimizing the
Time-to-Accuracy of Learning"; official code PatrikOkanovic/RS2.
"""

import numpy as np

from curate.rng import KeyedRandom
from curate.samplers.online.abstract import AbstractOnline, Floats, Plan, check_share, shuffled


class RS2(AbstractOnline):
    """⌊share·n⌋ rows an epoch, at least one, each of weight 1; reads no losses.

    By default without replacement over the epochs: one random order of all rows is walked from epoch to epoch, and a new one drawn
    when it ends, so that every row comes once in 1/share epochs. `replacement=True` draws each epoch's subset from all rows.
    """

    name = "rs2"
    reads_losses = False

    def __init__(
        self,
        n: int,
        epochs: int,
        *,
        share: float = 0.1,
        replacement: bool = False,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        super().__init__(n, epochs, seed, rank, world)
        check_share(self.name, "share", share)
        self.share, self.replacement = share, replacement
        self.k = max(1, int(share * n + 1e-9))

    def plan(self, epoch: int, losses: Floats, rng: KeyedRandom) -> Plan:
        rows = shuffled(np.arange(self.n), rng)[: self.k] if self.replacement else self._walk(epoch * self.k)
        return Plan(rows, np.ones(self.k, np.float32))

    def expected_rows(self, epoch: int) -> float:
        return float(self.k)

    def _walk(self, start: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """`k` rows from a place on in the endless line of random orders."""
        first, last = start // self.n, (start + self.k - 1) // self.n
        orders = [shuffled(np.arange(self.n), KeyedRandom(self.seed, self.name, "pass", i)) for i in range(first, last + 1)]
        return np.concatenate(orders)[start - first * self.n :][: self.k]
