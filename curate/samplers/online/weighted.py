"""Weighted: rows are presented in proportion to a score, and their losses corrected so that nothing is biased.

Importance sampling for SGD: Needell, Srebro, Ward 2014, "Stochastic Gradient Descent, Weighted Sampling, and the Randomized Kaczmarz
Algorithm"; Katharopoulos & Fleuret 2018, "Not All Samples Are Created Equal: Deep Learning with Importance Sampling", official code
idiap/importance-sampling.
"""

import numpy as np
from numpy.typing import ArrayLike

from curate.errors import InputError, OptionError
from curate.rng import KeyedRandom
from curate.samplers.online.abstract import AbstractOnline, Floats, Plan, check_share, shuffled


class Weighted(AbstractOnline):
    """⌊share·n⌋ presentations an epoch; row i is expected in proportion to p = mix/n + (1-mix)·score/Σscore, and weighs 1/(n·p).

    `scores`, (n,), are 0 or more. `mix` bounds the weights by 1/mix. Presentations are drawn systematically: a row comes ⌊k·p⌋ or
    ⌈k·p⌉ times, so that an even score gives every row once. `correct=False` leaves the weights at 1: the run then optimises the
    weighted loss, which is what one wants of scores that say how much a row is worth.
    """

    name = "weighted"
    reads_losses = False

    def __init__(
        self,
        scores: ArrayLike,
        epochs: int,
        *,
        share: float = 1.0,
        mix: float = 0.1,
        correct: bool = True,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        values = np.asarray(scores, np.float64).reshape(-1)
        super().__init__(len(values), epochs, seed, rank, world)
        check_share(self.name, "share", share)
        if not 0 <= mix <= 1:
            raise OptionError(f"weighted: mix, the share of even chances, must be 0 … 1, got {mix}.")
        odd = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if len(odd):
            raise InputError(f"weighted: scores must be finite and 0 or more; row {odd[0]} has {values[odd[0]]}. Shift or fill them first.")
        if values.sum() == 0:
            raise InputError("weighted: every score is 0, so there is nothing to weigh by. Use rs2 for even chances.")
        self.share, self.mix, self.correct = share, mix, correct
        self.k = max(1, int(share * self.n + 1e-9))
        self._p = mix / self.n + (1 - mix) * values / values.sum()

    def plan(self, epoch: int, losses: Floats, rng: KeyedRandom) -> Plan:
        order = shuffled(np.arange(self.n), rng)
        edges = np.cumsum(self._p[order]) * self.k
        offset = float(rng.child("offset").uniform(np.zeros(1, np.int64))[0])
        steps = np.clip(np.ceil(edges - offset), 0, self.k)
        steps[-1] = self.k  # rounding in the sum must not lose the last presentation
        times = np.diff(steps, prepend=0.0).astype(np.int64)
        rows = np.repeat(order, times)
        rows = rows[np.argsort(rng.child("place").uniform(np.arange(len(rows))), kind="stable")]  # a row's presentations lie apart
        weights = 1 / (self.n * self._p[rows]) if self.correct else np.ones(len(rows))
        return Plan(rows, weights.astype(np.float32))

    def expected_rows(self, epoch: int) -> float:
        return float(self.k)
