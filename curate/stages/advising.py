"""`curate advise`: how many rows to keep at your compute, by laws fitted to what comparisons measured, or why they cannot say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.comparison import ARMS, EVERYTHING, Comparison
from curate.disk import write_whole
from curate.errors import InputError, OptionError, OtherDatasetError
from curate.laws import Curve, FilterLaw, Measured, fit_filter_law, fit_piecewise, fit_power, interval
from curate.stages.mapping import SUFFIXES

SHARES: Final = 60  # shares of the rows that are weighed, evenly in logs from the smallest measured to 1
POOLED: Final = 10  # degrees of freedom that points of equal visits need for a spread of their own
TOLERATED: Final = 0.01  # so much more error than on everything may a share cost that is called enough
CHECKED: Final = 0.3  # arms of at most this share foretell the error on everything, which was measured
FAR: Final = 10  # times the compute that was measured: beyond it the advice says that it is far
OWN: Final = ("seeds", "arms", "steps", "epochs", "budget", "excluded")  # what comparisons that are read together may differ in

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """What the arms of one policy gave at one size after so many visits: an error a seed."""

    policy: str
    rows: int
    visits: float
    errors: tuple[float, ...]


def advise(
    comparisons: Any,
    *,
    steps: int | None = None,
    epochs: float | None = None,
    floor: float | None = None,
    out: str | Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """How large a share of the rows to keep, as plain JSON values; shares and errors are 0 … 1.

    `comparisons` are one or more `compare` stores of the same data, model and test set, best with equal steps, selections of several
    sizes and two different numbers of steps. Your compute is `steps` of the comparison's batches, or `epochs` of all rows; by default
    the most that was measured. The law of repetition (`curate.laws.FilterLaw`) is fitted to everything and the random arms, with a,
    half-life and `floor` (the irreducible error; fitted where 5 points or more allow it, else 0) common to all; each policy and size
    has its own b, interpolated between sizes in log share and between computes in log visits, so that what was measured is met.
    `advice` says what surely follows; it is None where nothing does, and where the law cannot be fitted at all `refused` says why.
    `enough` of a policy, and of `random` rows, is the smallest share from which on the error is surely at most a point above that on
    everything; None where only everything is. `check` is what the curve through the arms of up to 30 % of the rows foretells for
    everything, beside what was measured there. `out` is a picture.
    InputError for fewer than 3 sizes of random rows, OtherDatasetError for comparisons of other data.
    """
    _check(steps, epochs, floor, out)
    opened = _opened(comparisons)
    total = _rows_of_all(opened[0])
    batch = int(opened[0].store.job["batch_size"])
    points = _points(opened)
    visits = steps * batch if steps is not None else epochs * total if epochs is not None else max(point.visits for point in points)
    measured = Measured.of([point.errors for point in points])
    found: dict[str, Any] = {"rows": total, "visits": visits, "steps": visits / batch, "epochs": visits / total, "batch_size": batch}
    found["measured_visits"] = sorted({point.visits for point in points})
    found["far"] = not min(found["measured_visits"]) / FAR <= visits <= max(found["measured_visits"]) * FAR
    of_curve = _of_curve(points)
    curves = _curves(of_curve, seed)
    found["curve"] = {name: _about_curve(curve, total) for name, curve in curves.items()}
    found["check"] = _check_curve(of_curve, total, seed)
    found |= {"refused": None, "law": None, "random": None, "policies": [], "advice": None}
    lines: dict[str, tuple[Floats, Floats]] = {}
    try:
        law, drawn, misfit = _law(points, measured, floor, seed)
        drawn = _by_seeds(points, measured, drawn, seed)
    except InputError as refusal:
        found["refused"] = str(refusal)
    else:
        found["law"] = _about_law(law, misfit)
        lines = {name: _line(law, points, drawn, name, total, visits) for name in ["random", *_policies(points)]}
        found["random"] = {"enough": _enough(*lines["random"])}
        found["policies"] = [_about_policy(name, *lines[name], points, total) for name in _policies(points)]
        found["advice"] = _advice(found["policies"])
    if out is not None:
        draw_advice(found, points, curves, lines, Path(out))
    return found


def _check(steps: int | None, epochs: float | None, floor: float | None, out: str | Path | None) -> None:
    if steps is not None and epochs is not None:
        raise OptionError("steps and epochs both say how much compute there is. Give one of them.")
    for name, value in (("steps", steps), ("epochs", epochs)):
        if value is not None and not 0 < value < math.inf:
            raise OptionError(f"{name} must be above 0, got {value}.")
    if floor is not None and not 0 <= floor < 1:
        raise OptionError(f"floor is an error rate from 0 to below 1, got {floor}.")
    if out is not None and Path(out).suffix not in SUFFIXES:
        raise OptionError(f'The picture "{out}" must end in {", ".join(SUFFIXES)}.')


def _opened(comparisons: Any) -> list[Comparison]:
    """The comparisons, which must be of one dataset, recipe and test set."""
    given = [comparisons] if isinstance(comparisons, str | Path | Comparison) else list(comparisons)
    opened = [one if isinstance(one, Comparison) else Comparison.open(one) for one in given]
    if not opened:
        raise InputError("No comparison is given. `curate compare DATA SELECTION… --out DIR` makes one.")
    first = opened[0]
    for one in opened:
        if "batch_size" not in one.store.job:
            raise InputError(
                f'"{one.path}" trained by a function of its own, so how often it saw a row is not known. Compare with --model.'
            )
        if not one.store.files(ARMS):
            raise InputError(f'"{one.path}" has no training yet. Run its `curate compare` to the end.')
        if one.store.dataset != first.store.dataset:
            raise OtherDatasetError(f'"{one.path}" is a comparison of other data than "{first.path}". Give comparisons of one dataset.')
        ours, theirs = ({k: v for k, v in each.store.job.items() if k not in OWN} for each in (one, first))
        odd = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        if odd:
            raise InputError(
                f'"{one.path}" and "{first.path}" differ in {", ".join(odd)}. Only --steps, --epochs, seeds and selections may.'
            )
    return opened


def _rows_of_all(comparison: Comparison) -> int:
    return next(int(arm["rows"]) for arm in comparison.store.job["arms"] if arm["kind"] == EVERYTHING)


def _points(opened: Sequence[Comparison]) -> list[Point]:
    """The errors by policy, size and visits; "random" are everything and the uniformly drawn arms. Online samplers and strata stay out."""
    found: dict[tuple[str, int, float], list[float]] = {}
    for comparison in opened:
        arms = {arm["name"]: arm for arm in comparison.store.job["arms"]}
        batch = comparison.store.job["batch_size"]
        for line in comparison.table.to_pylist():
            arm = arms[line["arm"]]
            if line["accuracy"] is None or arm["kind"] not in (EVERYTHING, "random", "selection"):
                continue
            policy = arm["policy"] if arm["kind"] == "selection" else "random"
            visits = float(line["steps"] * min(batch, line["rows"]))  # a pool smaller than a batch comes whole
            found.setdefault((policy, int(line["rows"]), visits), []).append(1 - line["accuracy"])
    points = [Point(*key, tuple(errors)) for key, errors in sorted(found.items())]
    sizes = {point.rows for point in points if point.policy == "random"}
    if len(sizes) < 3:
        raise InputError(
            f"There are random arms of {len(sizes)} size{'s' if len(sizes) != 1 else ''}, everything included; 3 or more are needed, "
            "and 5 are advised. Compare selections of more budgets: each brings random rows of its size."
        )
    return points


def _policies(points: Sequence[Point]) -> list[str]:
    return sorted({point.policy for point in points} - {"random"})


def _of_curve(points: Sequence[Point]) -> list[Point]:
    """The random arms of the most visits, which a learning curve goes through."""
    by_visits: dict[float, list[Point]] = {}
    for point in points:
        if point.policy == "random":
            by_visits.setdefault(point.visits, []).append(point)
    # With equal epochs each size has visits of its own, and the curve is theirs together.
    most = max(by_visits.values(), key=lambda each: (len(each), each[0].visits))
    return most if len(most) >= 3 else [point for each in by_visits.values() for point in each]


def _curves(points: Sequence[Point], seed: int) -> dict[str, Curve]:
    """The laws that these points allow. A power law needs 3 sizes and the piecewise one 5."""
    rows, measured = [point.rows for point in points], Measured.of([point.errors for point in points])
    fits = {"power": fit_power(rows, measured, seed)}
    return fits | ({"piecewise": fit_piecewise(rows, measured, seed)} if len(set(rows)) >= 5 else {})


def _check_curve(points: Sequence[Point], total: int, seed: int) -> dict[str, Any] | None:
    """What the power law of the small arms foretells for everything, and what was measured; None where one of the two is missing."""
    small = [point for point in points if point.rows <= CHECKED * total]
    whole = [point for point in points if point.rows == total]
    if len({point.rows for point in small}) < 3 or not whole:
        return None
    told = fit_power([point.rows for point in small], Measured.of([point.errors for point in small]), seed).at(total)
    return {"up_to": max(point.rows for point in small) / total, "foretold": asdict(told), "measured": float(np.mean(whole[-1].errors))}


def _law(points: Sequence[Point], measured: Measured, floor: float | None, seed: int) -> tuple[FilterLaw, Floats, float]:
    """The law, the errors of all points as drawn, (1 + draws, m), and how far the law is from the random ones (root mean square)."""
    own = np.array([point.policy == "random" for point in points])
    visits, rows = ([getattr(point, name) for point in points if point.policy == "random"] for name in ("visits", "rows"))
    settled = floor if floor is not None else None if own.sum() >= 5 else 0.0
    parameters = 3 + (settled is None)
    least = float(measured.mean.min())  # a selection may do better than all random rows
    once = fit_filter_law(visits, rows, measured.mean[None, own], floor=settled, below=least)
    left = np.array([once.errors(n, s)[0] for n, s in zip(visits, rows, strict=True)]) - measured.mean[own]
    freedom = int(own.sum()) - parameters
    if freedom < 1 and not measured.freedom:
        raise InputError(
            f"One seed at {int(own.sum())} sizes of random rows fixes the law's {parameters} numbers and leaves nothing to tell how "
            "sure they are. Compare with --seeds 3, or more sizes."
        )
    drawn = measured.draws(float((left**2).sum()) / freedom if freedom > 0 else 0.0, np.random.default_rng(seed))
    return fit_filter_law(visits, rows, drawn[:, own], floor=settled, below=least), drawn, float(np.sqrt((left**2).mean()))


def _by_seeds(points: Sequence[Point], measured: Measured, drawn: Floats, seed: int) -> Floats:
    """The errors of all points as other seeds might have given them, (1 + draws, m); `drawn`, which has the law's own error in it too,
    where no point has two seeds. A point's own b takes that error up, so that it is no doubt of what was measured.

    The spread over seeds is pooled over points of equal visits where these have seeds enough, for short trainings differ more.
    """
    if not measured.freedom:
        return drawn
    rng = np.random.default_rng((seed, 1))
    found = measured.draws(0.0, rng)
    for visits in sorted({point.visits for point in points}):
        own = [i for i, point in enumerate(points) if point.visits == visits]
        errors = [points[i].errors for i in own]
        if max(map(max, errors)) > 0 and (some := Measured.of(errors)).freedom >= POOLED:
            found[:, own] = some.draws(0.0, rng)
    return found


def _line(law: FilterLaw, points: Sequence[Point], drawn: Floats, policy: str, total: int, visits: float) -> tuple[Floats, Floats]:
    """Shares, (SHARES,), the last of them 1, and the errors that the policy would give there, (1 + draws, SHARES)."""
    sizes = sorted({point.rows for point in points if point.policy == policy and point.rows < total})
    known = [_utility(law, points, drawn, policy, size, visits) for size in sizes]
    # Everything has its own measurements as well: were it the law's value, what the law misses there would be taken for a gain.
    known.append(_utility(law, points, drawn, "random", total, visits))
    knots = np.log(np.array([*sizes, total]) / total)
    utilities = np.stack(known, axis=1)  # (1 + draws, knots)
    shares = np.exp(np.linspace(knots[0], 0, SHARES))
    between = np.stack([np.interp(np.log(shares), knots, one) for one in np.eye(len(knots))])  # (knots, SHARES)
    errors = [law.errors(visits, share * total, b) for share, b in zip(shares, (utilities @ between).T, strict=True)]
    return shares, np.stack(errors, axis=1)


def _utility(law: FilterLaw, points: Sequence[Point], drawn: Floats, policy: str, size: int, visits: float) -> Floats:
    """The b, (1 + draws,), of these rows at this compute: interpolated in log visits, and beyond what was measured that of the nearest."""
    own = sorted((point.visits, i) for i, point in enumerate(points) if point.policy == policy and point.rows == size)
    if not own:
        return law.b
    each = np.stack([law.utility(drawn[:, i], at, size) for at, i in own])  # (times measured, 1 + draws)
    grid = np.log([at for at, _ in own])
    return np.asarray(np.array([np.interp(math.log(visits), grid, one) for one in np.eye(len(own))]) @ each)


def _about_policy(name: str, shares: Floats, errors: Floats, points: Sequence[Point], total: int) -> dict[str, Any]:
    """Where the policy's error is least, how sure that is, and whether it is below that on everything."""
    own = sorted({point.rows / total for point in points if point.policy == name})
    about: dict[str, Any] = {"policy": name, "measured_shares": own, "keep": None, "gain": None, "enough": None, "verdict": "cannot say"}
    fine = np.asarray(np.isfinite(errors).all(axis=1), bool)
    if not fine[0] or fine.mean() < 0.5:
        return about | {"why": "its errors are below the floor, or where the law says nothing of it; give a lower --floor"}
    errors = errors[fine]
    best = errors.argmin(axis=1)
    gain = interval(errors[:, -1] - errors[:, best[0]])
    keep = interval(shares[best])
    about |= {"keep": asdict(keep), "gain": asdict(gain), "enough": _enough(shares, errors), "error": asdict(interval(errors[:, best[0]]))}
    about["error_on_everything"] = asdict(interval(errors[:, -1]))
    if best[0] == len(shares) - 1:
        return about | {"verdict": "keep everything" if keep.low > 0.95 else "cannot say"}
    return about | {"verdict": "keep a part" if gain.low > 0 else "cannot say"}


def _enough(shares: Floats, errors: Floats) -> float | None:
    """The smallest share from which on the error is surely at most TOLERATED above that on everything; None where only everything is."""
    high = np.nanpercentile(errors - errors[:, -1:], 97.5, axis=0)
    over = np.flatnonzero(~(high <= TOLERATED))
    first = int(over[-1]) + 1 if len(over) else 0
    return float(shares[first]) if first < len(shares) - 1 else None


def _advice(policies: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The policy of the least error among those that surely gain; everything where none can."""
    sure = [one for one in policies if one["verdict"] == "keep a part"]
    if sure:
        chosen = min(sure, key=lambda one: one["error"]["value"])
        return {"policy": chosen["policy"], "keep": chosen["keep"], "gain": chosen["gain"]}
    if policies and all(one["verdict"] == "keep everything" for one in policies):
        return {"policy": EVERYTHING, "keep": {"value": 1.0, "low": 1.0, "high": 1.0}, "gain": None}
    return None


def _about_curve(curve: Curve, total: int) -> dict[str, Any]:
    at = {f"error_{name}": asdict(curve.at(rows)) for name, rows in (("on_everything", total), ("on_twice", 2 * total))}
    knee = float(curve.knee[0]) if curve.bend.any() else None
    return {"slope": asdict(interval(curve.slope)), "knee": knee, "left_out": curve.loo, **at}


def _about_law(law: FilterLaw, misfit: float) -> dict[str, Any]:
    fields = {"a": np.exp(law.log_a), "b": law.b, "tau": law.tau, "floor": law.floor}
    return {name: asdict(interval(values)) for name, values in fields.items()} | {"misfit": misfit}


def draw_advice(
    found: Mapping[str, Any],
    points: Sequence[Point],
    curves: Mapping[str, Curve],
    lines: Mapping[str, tuple[Floats, Floats]],
    target: Path,
) -> None:
    """Left the learning curves through what was measured, right the error that each policy would give at your compute, by share."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "curate", "font.size": 9}):
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_curves(left, points, curves, found["rows"])
        _draw_policies(right, found, lines)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        metadata = {"Date": None} if target.suffix == ".svg" else None
        write_whole(target, lambda path: figure.savefig(path, format=target.suffix[1:], dpi=150, metadata=metadata))


def _draw_curves(axes: Any, points: Sequence[Point], curves: Mapping[str, Curve], total: int) -> None:
    own = [point for point in points if point.policy == "random"]
    for visits in sorted({point.visits for point in own}):
        some = [point for point in own if point.visits == visits]
        mean = [100 * float(np.mean(point.errors)) for point in some]
        axes.plot([point.rows for point in some], mean, "o", markersize=5, label=f"random rows, {visits:,.0f} visits")
    grid = np.geomspace(min(point.rows for point in own), 2 * total, 60)
    for name, curve in curves.items():
        at = [curve.at(rows) for rows in grid]
        (line,) = axes.plot(grid, [100 * one.value for one in at], linewidth=1.2, label=f"{name} law")
        axes.fill_between(
            grid, [100 * one.low for one in at], [100 * one.high for one in at], color=line.get_color(), alpha=0.12, linewidth=0
        )
    axes.axvline(total, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="test error, %")
    axes.set_title("More random rows (dotted: all there are)", loc="left")
    axes.legend(frameon=False)
    _plain_ticks(axes)


def _draw_policies(axes: Any, found: Mapping[str, Any], lines: Mapping[str, tuple[Floats, Floats]]) -> None:
    if "random" in lines:
        shares, errors = lines["random"]
        axes.plot(100 * shares, 100 * errors[0], color="0.45", linestyle="--", label="random")
    for about in found["policies"]:
        shares, errors = lines[about["policy"]]
        fine = errors[np.isfinite(errors).all(axis=1)]
        if about["keep"] is None:
            continue
        low, high = 100 * np.percentile(fine, [2.5, 97.5], axis=0)
        (line,) = axes.plot(100 * shares, 100 * fine[0], label=about["policy"])
        axes.fill_between(100 * shares, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
        axes.plot(100 * about["keep"]["value"], 100 * about["error"]["value"], "o", color=line.get_color())
    axes.set(xscale="log", xlabel="rows kept, %", ylabel="test error that the law expects, %")
    axes.set_title(f"At {found['visits']:,.0f} visits ({found['epochs']:,.1f} epochs of everything)", loc="left")
    if found["refused"] is not None:
        axes.text(0.5, 0.5, "no law fits: see the text", transform=axes.transAxes, ha="center")
    elif any(about["keep"] is not None for about in found["policies"]):
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, "the law says nothing of these selections", transform=axes.transAxes, ha="center")
    _plain_ticks(axes)


def _plain_ticks(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axis.set_minor_formatter(NullFormatter())
