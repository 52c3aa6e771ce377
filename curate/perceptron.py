"""The perceptron that learns from a perceptron: where it pays to keep hard rows, and where easy ones.

Sorscher, Geirhos, Shekhar, Ganguli & Morcos 2022, "Beyond neural scaling laws: beating power law scaling via data pruning"; the toy of
Yang et al. 2024, "Maximizing V-information for Pre-training Superior Foundation Models" (OptiDEL).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.errors import OptionError
from curate.rng import KeyedRandom

Floats = NDArray[np.float64]
Kept = Literal["random", "hard", "easy"]

KEPT: Final[tuple[Kept, ...]] = ("random", "hard", "easy")


@dataclass(frozen=True)
class Errors:
    """The generalisation errors of one setting, (trials,): the share of new inputs on which student and teacher disagree."""

    samples: float
    kept: Kept
    each: Floats

    @property
    def mean(self) -> float:
        return float(self.each.mean())

    @property
    def deviation(self) -> float:
        """Of the mean."""
        return float(self.each.std(ddof=1) / math.sqrt(len(self.each))) if len(self.each) > 1 else math.nan


def simulate(
    samples: Sequence[float],
    *,
    share: float = 0.25,
    kept: Sequence[Kept] = KEPT,
    parameters: int = 100,
    angle: float = 0.0,
    trials: int = 10,
    seed: int = 0,
) -> list[Errors]:
    """What a max-margin student learns from a `share` of the rows that a teacher labelled, for every number of `samples` a parameter.

    Inputs are standard normal in `parameters` dimensions, labels the sign of the teacher's product, w = e1. A row's margin is |x · probe|,
    the probe `angle` degrees from the teacher (0: the teacher itself, the first coordinate); "hard" keeps the smallest margins, "easy" the
    largest. `samples` are those before pruning. The error is arccos(cosine of student and teacher) / π. All arms of a trial see the same
    rows, so differences are paired. Cost: an active-set solution of share · samples · parameters rows each, well under a second at 32
    samples and 100 parameters.

    >>> [round(one.mean, 1) for one in simulate([2], kept=["random", "hard"], parameters=30, trials=5)]
    [0.3, 0.5]
    """
    _check(samples, share, parameters, angle, trials)
    found = []
    for each in samples:
        errors = np.array([_trial(each, share, kept, parameters, angle, KeyedRandom(seed, "perceptron", trial)) for trial in range(trials)])
        found += [Errors(float(each), name, errors[:, place]) for place, name in enumerate(kept)]
    return found


def predicted(samples: float, kept: Kept, *, share: float = 0.25) -> float:
    """The error of `simulate` in infinitely many dimensions, with a probe that is the teacher itself (the paper's replica theory).

    A student of overlap R with the teacher can reach a margin κ on α rows a parameter while 1 - R² is at least α E(κ - λ)²₊, λ being its
    product with a row y · x: normal around R |u| with variance 1 - R², u the teacher's product. The student of the largest margin is found
    by that maximum over R.
    """
    from scipy.optimize import brentq, minimize_scalar

    _check([samples], share, 2, 0, 1)
    u, alpha = _teacher_products(kept, share), samples * share

    def margin(overlap: float) -> float:
        rest = 1 - overlap**2
        return float(brentq(lambda kappa: rest - alpha * _shortfall(kappa - overlap * u, rest), -50, 50))

    best = minimize_scalar(lambda overlap: -margin(overlap), bounds=(0, 1 - 1e-9), method="bounded", options={"xatol": 1e-7})
    return math.acos(float(best.x)) / math.pi


def max_margin(rows: Floats) -> Floats:
    """The w of unit length that maximises the smallest product with any of `rows` (y · x, (n, d)), if there is one with all above 0.

    The least-distance problem min ‖w‖ with rows · w ≥ 1 as Lawson & Hanson (1974, chapter 23) solve it: non-negative least squares.
    """
    from scipy.optimize import nnls

    n, d = rows.shape
    duals, _ = nnls(np.vstack([rows.T, np.ones(n)]), np.append(np.zeros(d), 1.0), maxiter=20 * (n + d))
    w: Floats = rows.T @ duals
    size = float(np.linalg.norm(w))
    if not size > 1e-9:
        raise OptionError("The rows have no separating direction; a teacher without noise always gives one.")
    unit: Floats = w / size
    return unit


def _teacher_products(kept: Kept, share: float) -> Floats:
    """|u| of the kept rows, u standard normal: the middles of 2,000 equally likely parts."""
    from scipy.special import ndtri

    low, high = {"random": (0.0, 1.0), "hard": (0.0, share), "easy": (1 - share, 1.0)}[kept]
    middle = low + (high - low) * (np.arange(2000) + 0.5) / 2000
    products: Floats = ndtri((1 + middle) / 2)
    return products


def _shortfall(distance: Floats, variance: float) -> float:
    """The mean of (distance - z)²₊ over normal z of this variance."""
    from scipy.special import ndtr

    s = math.sqrt(variance)
    at = distance / s
    density = np.exp(-at * at / 2) / math.sqrt(2 * math.pi)
    return float(((distance**2 + variance) * ndtr(at) + distance * s * density).mean())


def _trial(samples: float, share: float, kept: Sequence[Kept], d: int, angle: float, rng: KeyedRandom) -> list[float]:
    n = max(1, round(samples * d))
    x = _normal(n, d, rng)
    labels = np.where(x[:, 0] >= 0, 1.0, -1.0)
    turned = math.radians(angle)
    margins = np.abs(math.cos(turned) * x[:, 0] + math.sin(turned) * x[:, 1])
    keys: dict[Kept, Floats] = {"hard": margins, "easy": -margins, "random": rng.child("random").uniform(np.arange(n))}
    count = max(1, math.floor(share * n))
    errors = []
    for name in kept:
        chosen = np.argsort(keys[name], kind="stable")[:count]
        w = max_margin(labels[chosen, None] * x[chosen])
        errors.append(math.acos(float(np.clip(w[0], -1, 1))) / math.pi)
    return errors


def _normal(n: int, d: int, rng: KeyedRandom) -> Floats:
    """Standard normal numbers, (n, d), by Box & Muller: a row is the same however many follow it."""
    cells = np.arange(n * d)
    radius = np.sqrt(-2 * np.log(rng.child("radius").uniform(cells)))
    normal: Floats = (radius * np.cos(2 * np.pi * rng.child("turn").uniform(cells))).reshape(n, d)
    return normal


def _check(samples: Sequence[float], share: float, parameters: int, angle: float, trials: int) -> None:
    if not samples or min(samples) <= 0:
        raise OptionError(f"samples are numbers above 0 of rows a parameter before pruning; got {list(samples)}.")
    if not 0 < share <= 1:
        raise OptionError(f"share is the share of rows that is kept, above 0 and at most 1; got {share}.")
    if parameters < 2:
        raise OptionError(f"parameters must be 2 or more, got {parameters}.")
    if not 0 <= angle <= 90:
        raise OptionError(f"angle is between the probe and the teacher, 0 … 90 degrees; got {angle}.")
    if trials < 1:
        raise OptionError(f"trials must be 1 or more, got {trials}.")
