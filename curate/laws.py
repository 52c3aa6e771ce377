"""Laws of data: how the error falls with more rows, and how much less a row is worth each time it is seen again.

Learning curves: Hestness et al. 2017, "Deep Learning Scaling is Predictable, Empirically" (power law); Jain et al. 2023, "A Meta-Learning
Approach to Predicting Performance and Data Requirements" (piecewise law). Repetition: Goyal, Maini, Lipton, Raghunathan, Kolter 2024,
"Scaling Laws for Data Filtering: Data Curation cannot be Compute Agnostic"; official code locuslab/scaling_laws_data_filtering.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError

Floats = NDArray[np.float64]

UNIT: Final = 1e5  # rows; the official code's, so that `a` means the same
TAUS: Final = np.geomspace(0.05, 100, 80)  # half-lives in epochs that are tried
FLOORS: Final = np.linspace(0, 0.95, 20)  # irreducible errors that are tried, as shares of the lowest error seen
DRAWS: Final = 400
_TINY: Final = 1e-9


@dataclass(frozen=True)
class Interval:
    """A fitted number and the central 95 % of what the bootstrap makes of it."""

    value: float
    low: float
    high: float


def interval(draws: Floats) -> Interval:
    """Of draws whose first is the fit to the data themselves; NaN draws are left out."""
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Interval(float(draws[0]), float(min(low, draws[0])), float(max(high, draws[0])))


@dataclass(frozen=True)
class Measured:
    """Errors at several points: `mean`, (m,), 0 … 1; `error_of_mean`, (m,), its standard error by the pooled spread over seeds."""

    mean: Floats
    error_of_mean: Floats
    freedom: int  # degrees of it; 0 where no point has two seeds

    @classmethod
    def of(cls, errors: Sequence[Sequence[float]]) -> "Measured":
        """Of one list a point with an error a seed. A perfect point counts as half of the least error above 0 that was seen."""
        values = [np.asarray(each, np.float64) for each in errors]
        every = np.concatenate(values)
        if not (every > 0).any():
            raise InputError("Every training made no error at all, and no law can be fitted to that. Take a harder test set.")
        least = every[every > 0].min() / 2
        freedom = sum(len(each) - 1 for each in values)
        spread = sum(float(((each - each.mean()) ** 2).sum()) for each in values) / freedom if freedom else 0.0
        counts = np.array([len(each) for each in values])
        return cls(np.array([max(each.mean(), least) for each in values]), np.sqrt(spread / counts), freedom)

    def draws(self, misfit: float, rng: np.random.Generator) -> Floats:
        """(1 + DRAWS, m): the means, then such as other seeds might have given, Student-t by the few seeds that tell the spread.

        `misfit` is the mean squared distance of a fit from the means, per degree of freedom: what seeds do not explain of it is the
        law's own error, and is drawn too, or an extrapolation would look surer than it is.
        """
        own = np.maximum(0.0, misfit - np.mean(self.error_of_mean**2))
        noise = rng.standard_t(max(self.freedom, 1), (DRAWS, len(self.mean))) * self.error_of_mean
        noise += rng.standard_normal((DRAWS, len(self.mean))) * math.sqrt(own)
        drawn = np.maximum(self.mean + noise, self.mean.min() / 10)
        return np.concatenate([self.mean[None], np.minimum(drawn, 1)])


@dataclass(frozen=True)
class Curve:
    """A learning curve, log error = intercept + slope·log rows + bend·min(0, log rows - log knee)²; a power law where the bend is 0.

    Each field is (1 + draws,): the fit, then the bootstrap's.
    """

    intercept: Floats
    slope: Floats
    bend: Floats
    knee: Floats
    loo: float  # root mean square error of log error where each size was predicted from the others

    def at(self, rows: float) -> Interval:
        """The error that so many rows would give."""
        below = np.minimum(0, math.log(rows) - np.log(self.knee))
        return interval(np.exp(self.intercept + self.slope * math.log(rows) + self.bend * below**2))


def fit_power(rows: Sequence[float], measured: Measured, seed: int = 0) -> Curve:
    """The power law error = α·rows^slope; InputError for fewer than 3 sizes."""
    _require_sizes(rows, 3, "A power law")
    return _fit_curve(np.asarray(rows, np.float64), measured, [None], seed)


def fit_piecewise(rows: Sequence[float], measured: Measured, seed: int = 0) -> Curve:
    """Quadratic in logs below a knee and a power law beyond it, joined without a corner; InputError for fewer than 5 sizes.

    The knee is the best of the sizes between the smallest two and the largest two; the paper has a random forest, trained on
    other data sets, foretell it.
    """
    _require_sizes(rows, 5, "The piecewise law")
    sizes = np.unique(np.asarray(rows, np.float64))
    return _fit_curve(np.asarray(rows, np.float64), measured, list(sizes[2:-1]), seed)


def _require_sizes(rows: Sequence[float], needed: int, law: str) -> None:
    found = len(set(rows))
    if found < needed:
        raise InputError(f"{law} needs errors at {needed} sizes or more; there are {found}. Compare random rows of more sizes.")


def _fit_curve(rows: Floats, measured: Measured, knees: Sequence[float | None], seed: int) -> Curve:
    designs = [_design(rows, knee) for knee in knees]
    width = designs[0].shape[1]
    fits = [_least_squares(design, measured.mean[None]) for design in designs]
    best = int(np.argmin([fit[1][0] for fit in fits]))
    predicted = np.exp(designs[best] @ fits[best][0][0])
    freedom = len(rows) - width - (len(knees) > 1)
    misfit = float(((predicted - measured.mean) ** 2).sum() / freedom) if freedom > 0 else 0.0
    drawn = measured.draws(misfit, np.random.default_rng(seed))
    all_fits = [_least_squares(design, drawn) for design in designs]  # (draws, width), (draws,)
    chosen = np.argmin([squares for _, squares in all_fits], axis=0)
    found = np.stack([parameters for parameters, _ in all_fits])[chosen, np.arange(len(drawn))]
    knee = np.array([knees[i] or rows.min() for i in chosen])
    return Curve(
        found[:, 0], found[:, 1], found[:, 2] if width > 2 else np.zeros(len(drawn)), knee, _left_out(designs[best], measured.mean)
    )


def _design(rows: Floats, knee: float | None) -> Floats:
    parts = [np.ones(len(rows)), np.log(rows)]
    if knee is not None:
        parts.append(np.minimum(0, np.log(rows) - math.log(knee)) ** 2)
    return np.stack(parts, axis=1)  # (m, 2 or 3)


def _least_squares(design: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Parameters (draws, width) that fit log errors, (draws, m), and what squares are left, (draws,), weighted as errors are."""
    weight = errors[0]  # d log(e) = de / e: least squares in the error itself, to first order
    solved = np.linalg.lstsq(design * weight[:, None], (np.log(errors) * weight).T, rcond=None)[0].T
    left = ((np.log(errors) - solved @ design.T) * weight) ** 2
    return solved, left.sum(axis=1)


def _left_out(design: Floats, mean: Floats) -> float:
    """By the hat matrix: the error of a point left out is its residual over one minus its leverage."""
    hat = design @ np.linalg.pinv(design)
    leverage = np.minimum(np.diag(hat), 1 - _TINY)
    residual = np.log(mean) - hat @ np.log(mean)
    return float(np.sqrt(np.mean((residual / (1 - leverage)) ** 2)))


def repeated(visits: float, rows: float, taus: Floats) -> Floats:
    """Σ_{j≥2} δ^(j-1)·log(n_j/n_{j-1}) with δ = ½^(1/τ), for each half-life τ: what the epochs after the first are worth, as log rows.

    Epoch j ends at n_j = min(j·rows, visits). 0 where no row is seen twice, and at most log(visits/rows).

    >>> round(float(repeated(25.6e6, 12.8e6, np.array([2.0]))[0]), 6)  # ½^½ · log 2
    0.490129
    """
    last = max(1, math.ceil(visits / rows - _TINY))
    epochs = np.arange(2, last + 1)
    gain = np.log(np.minimum(epochs, visits / rows) / (epochs - 1))
    decay = 0.5 ** ((epochs - 1)[None] / np.asarray(taus)[:, None])
    return np.asarray(decay @ gain, np.float64)


@dataclass(frozen=True)
class FilterLaw:
    """Error = (a·n₁/1e5)^b · Π_{j≥2} (n_j/n_{j-1})^(b·δ^(j-1)) + floor, with a, τ and floor common and b the random rows' own.

    Each field is (1 + draws,): the fit, then the bootstrap's; NaN in a draw that fits no such law.
    """

    log_a: Floats
    b: Floats
    tau: Floats
    floor: Floats

    def reach(self, visits: float, rows: float) -> Floats:
        """What a pool's b multiplies: log of the rows' worth, (1 + draws,)."""
        taus, where = np.unique(self.tau, return_inverse=True)  # few values, each of the grid
        return self.log_a + math.log(min(rows, visits) / UNIT) + repeated(visits, rows, taus)[where]

    def errors(self, visits: float, rows: float, b: Floats | None = None) -> Floats:
        """The error after so many visits of a pool of so many rows, (1 + draws,)."""
        return np.exp((self.b if b is None else b) * self.reach(visits, rows)) + self.floor

    def utility(self, errors: Floats, visits: float, rows: float) -> Floats:
        """A pool's own b, (1 + draws,), from what it gave; NaN where its error is below the floor."""
        over = errors - self.floor
        reach = self.reach(visits, rows)
        # Near a reach of 0 the law says an error of 1 + floor whatever b is, so that nothing follows for b.
        known = (over > 0) & (np.abs(reach) > 0.05)
        return np.where(known, np.log(np.where(over > 0, over, 1)) / np.where(known, reach, 1), np.nan)


def fit_filter_law(visits: Sequence[float], rows: Sequence[float], errors: Floats, *, floor: float | None = None) -> FilterLaw:
    """The law for random rows, from errors (draws, m) after `visits` of pools of `rows`; a given `floor` is kept, None fits it.

    τ and the floor are the best of a grid; a and b follow from a line through log(error - floor), weighted as errors are. The official
    code searches a grid of a and b too, and multiplies the floor by each later epoch's factor, which the paper's formula does not: ours is
    the paper's. InputError where every pool was seen equally often, or no half-life and floor let the error fall with more rows.
    """
    n, s = np.asarray(visits, np.float64), np.asarray(rows, np.float64)
    if np.ptp(np.log(np.maximum(n / s, 1))) < 0.2:
        raise InputError(
            "Every random arm saw its rows equally often, so that nothing tells what a repetition is worth. "
            "Compare with --budget steps, or give two comparisons of different --steps."
        )
    worth = np.log(np.minimum(s, n) / UNIT)[:, None] + np.stack([repeated(*pair, TAUS) for pair in zip(n, s, strict=True)])  # (m, taus)
    floors = [floor] if floor is not None else list(FLOORS * float(errors[0].min()))
    if max(floors) >= errors[0].min():
        raise InputError(
            f"The floor {max(floors):g} is not below the least error that was measured, {errors[0].min():.4g}. Give a lower one."
        )
    best = np.full(len(errors), np.inf)
    found = np.full((4, len(errors)), np.nan)
    for known in floors:
        for tau, x in zip(TAUS, worth.T, strict=True):
            slope, intercept, left = _line(x, errors, known)
            better = (left < best) & (slope < 0)
            best = np.where(better, left, best)
            found = np.where(
                better,
                np.stack([intercept / np.where(slope < 0, slope, -1), slope, np.full_like(slope, tau), np.full_like(slope, known)]),
                found,
            )
    if np.isnan(found[0, 0]):
        raise InputError("The error does not fall with more rows, so that no law of data fits. Train longer, or on more sizes.")
    return FilterLaw(*found)


def _line(x: Floats, errors: Floats, floor: float) -> tuple[Floats, Floats, Floats]:
    """Slope, intercept and squares left, (draws,) each, of log(error - floor) over x; infinite squares where the floor is too high."""
    over = errors - floor  # (draws, m)
    fine = (over > 0).all(axis=1)
    over = np.where(over > 0, over, 1)
    y, w = np.log(over), over**2
    total = w.sum(axis=1)
    mean_x, mean_y = (w * x).sum(axis=1) / total, (w * y).sum(axis=1) / total
    dx, dy = x - mean_x[:, None], y - mean_y[:, None]
    slope = (w * dx * dy).sum(axis=1) / np.maximum((w * dx * dx).sum(axis=1), 1e-300)
    left = (w * (dy - slope[:, None] * dx) ** 2).sum(axis=1)
    return slope, mean_y - slope * mean_x, np.where(fine, left, np.inf)
