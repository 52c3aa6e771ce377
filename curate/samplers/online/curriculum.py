"""Curriculum: easy rows first, harder ones joining from epoch to epoch; or the other way round.

Bengio, Louradour, Collobert, Weston 2009, "Curriculum Learning"; the pacing functions are those of Wu, Dyer, Neyshabur 2021, "When Do
Curricula Work?", official code google-research/understanding-curricula.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from curate.errors import InputError, OptionError
from curate.rng import KeyedRandom
from curate.samplers.online.abstract import AbstractOnline, Floats, Plan, check_share, shuffled


class Curriculum(AbstractOnline):
    """Epoch e presents the first g(e) rows by difficulty, each once, in random order, each of weight 1.

    `scores`, (n,), are high where a row is hard (negate AUM and confidence); NaN counts as hardest. g grows from start·n to n over the
    first `full_at` of the epochs: `linear`, `quadratic`, `root` (square root), `exponential`, or `step`, which jumps. `order`
    easy_first is the curriculum, hard_first the anti-curriculum. Ties are broken at random once. Wu et al. find no gain from it on
    clean data and full training time, and one with noisy labels or little time: put random beside it.
    """

    name = "curriculum"
    reads_losses = False

    def __init__(
        self,
        scores: ArrayLike,
        epochs: int,
        *,
        start: float = 0.2,
        full_at: float = 0.8,
        pace: Literal["linear", "quadratic", "root", "exponential", "step"] = "linear",
        order: Literal["easy_first", "hard_first"] = "easy_first",
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        values = np.asarray(scores, np.float64).reshape(-1)
        super().__init__(len(values), epochs, seed, rank, world)
        check_share(self.name, "start", start)
        check_share(self.name, "full_at", full_at)
        if pace not in ("linear", "quadratic", "root", "exponential", "step"):
            raise OptionError(f'curriculum: pace must be linear, quadratic, root, exponential or step; got "{pace}".')
        if order not in ("easy_first", "hard_first"):
            raise OptionError(f'curriculum: order must be easy_first or hard_first; got "{order}".')
        if np.isnan(values).all():
            raise InputError("curriculum: no row has a score. Score the rows first, or train without a curriculum.")
        self.start, self.full_at = start, full_at
        self.pace, self.order = pace, order
        luck = KeyedRandom(seed, self.name, "tie").uniform(np.arange(self.n))
        hardness = np.where(np.isnan(values), np.inf, values)
        self._ranked = np.lexsort((luck, hardness if order == "easy_first" else -hardness)).astype(np.int64)

    def plan(self, epoch: int, losses: Floats, rng: KeyedRandom) -> Plan:
        rows = shuffled(self._ranked[: self._size(epoch)], rng)
        return Plan(rows, np.ones(len(rows), np.float32))

    def expected_rows(self, epoch: int) -> float:
        return float(self._size(epoch))

    def _size(self, epoch: int) -> int:
        """g(e): start·n in the first epoch, n from the epoch on with which `full_at` of the run is over."""
        last = self.full_at * self.epochs
        t = min(1.0, epoch / last)
        paces: dict[str, float] = {
            "linear": t,
            "quadratic": t**2,
            "root": t**0.5,
            "exponential": float(np.expm1(10 * t) / np.expm1(10)),
            "step": float(t >= 1),
        }
        grown = paces[self.pace]
        return max(1, min(self.n, round(self.n * (self.start + (1 - self.start) * grown))))
