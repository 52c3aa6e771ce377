"""InfoBatch: part of the rows with a low loss is left out of each epoch, and the others of them count more, so that nothing is biased.

Qin et al. 2024, "InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning"; official code NUS-HPC-AI-Lab/InfoBatch.
"""

from typing import Literal

import numpy as np

from curate.rng import KeyedRandom
from curate.samplers.online.abstract import AbstractOnline, Floats, Plan, check_annealing, chooses, shuffled

_TIE = 1e-6  # a loss this close to the mean, relative to it, is not below it: the mean of equal float32 numbers need not equal them


class InfoBatch(AbstractOnline):
    """Of the rows whose last loss is below the mean of all, `share` are dropped at random; all others stay.

    The kept low rows weigh (low rows) / (kept low rows), the rest 1, so that the weighted sum of losses has the expectation of the
    full one. The first epoch and those beyond ⌊delta·epochs⌋ are whole. A row without a loss stays. `variant="code"` is the official
    implementation: it keeps ⌊(1-share)·low⌋ of them with weight 1/(1-share), whose sum falls short of the full one, and compares
    with the mean exactly. Multiply the losses by `weight(rows)` and report them unweighted with `update`; a mean-reduced loss will not do.
    """

    name = "infobatch"
    reads_losses = True

    def __init__(
        self,
        n: int,
        epochs: int,
        *,
        share: float = 0.5,
        delta: float = 0.875,
        variant: Literal["fixed", "code"] = "fixed",
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        super().__init__(n, epochs, seed, rank, world)
        check_annealing(self.name, share, delta)
        self.share, self.delta, self.variant = share, delta, variant

    def plan(self, epoch: int, losses: Floats, rng: KeyedRandom) -> Plan:
        rows = np.arange(self.n)
        low = self._low(losses) if chooses(epoch, self.epochs, self.delta) else np.zeros(self.n, bool)
        keep = self._kept(int(low.sum()))
        lucky = shuffled(rows[low], rng.child("low"))[:keep]
        weights = np.ones(self.n, np.float32)
        if keep:
            weights[lucky] = low.sum() / keep if self.variant == "fixed" else 1 / (1 - self.share)
        chosen = shuffled(np.concatenate((rows[~low], lucky)), rng)
        return Plan(chosen, weights[chosen])

    def expected_rows(self, epoch: int) -> float:
        if not chooses(epoch, self.epochs, self.delta):
            return float(self.n)
        low = int(self._low(self._known_losses()).sum())
        return float(self.n - low + self._kept(low))

    def _low(self, losses: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        known = losses[~np.isnan(losses)]
        if not len(known):
            return np.zeros(self.n, bool)
        mean = float(known.mean(dtype=np.float64))
        edge = mean if self.variant == "code" else mean - _TIE * abs(mean)
        return np.asarray(losses < edge)  # NaN is not below anything

    def _kept(self, low: int) -> int:
        if not low:
            return 0
        return int((1 - self.share) * low) if self.variant == "code" else max(1, round((1 - self.share) * low))
