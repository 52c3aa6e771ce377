"""What a comparison says: how good each arm is, how far it is from random, with intervals, and in words whether it paid."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.kinds import open_kind
from curate.store import Store

CONFIDENCE: Final = 0.95
BINS: Final = 15
ARMS: Final = "arms"
EVERYTHING: Final = "everything"
BASELINES: Final = ("random", "class_random")
METRICS: Final = ("accuracy", "worst_class", "ece", "loss")

SCHEMA: Final = pa.schema(
    {
        "arm": pa.string(),
        "seed": pa.int64(),
        "rows": pa.int64(),
        "steps": pa.int64(),
        **dict.fromkeys(METRICS, pa.float64()),
        "more": pa.string(),  # what else a training function of the user's own measured, as JSON
        "status": pa.string(),
        "curve": pa.list_(pa.struct({"step": pa.int64(), "accuracy": pa.float64()})),  # on the way, on a part of the test rows
    }
)
TARGET: Final = 0.95  # of the accuracy on everything: time-to-accuracy is the time to this

Floats = NDArray[np.float64]
Verdict = Literal["better than random", "no better than random", "worse than random"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval; `low` and `high` are None where one seed, or none, allows no interval."""

    mean: float | None
    low: float | None
    high: float | None
    seeds: int

    @property
    def half(self) -> float | None:
        """Half the interval's width."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def estimate(values: Sequence[float] | Floats) -> Estimate:
    """Mean and Student-t interval, mean ± t(n-1) s/√n, of one number a seed.

    It covers what varies with the seed (initial weights, order, random subsets), not the choice of the test rows.

    >>> round(estimate([1.0, 2.0, 3.0]).half, 6)  # t(0.975, 2) / √3
    2.484138
    """
    found = np.asarray(values, np.float64)
    n = len(found)
    if n == 0:
        return Estimate(None, None, None, 0)
    mean = float(found.mean())
    if n == 1:
        return Estimate(mean, None, None, 1)
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * found.std(ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate:
    """Ours minus theirs over the seeds that both have; a seed gives both arms the same initial weights, and so much of its luck cancels."""
    return estimate([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])


def verdict(difference: Estimate) -> Verdict | None:
    """In words: "no better" where the interval covers 0; None where there is no interval."""
    if difference.low is None or difference.high is None:
        return None
    if difference.low > 0:
        return "better than random"
    return "worse than random" if difference.high < 0 else "no better than random"


def break_even(scoring: float, everything: float, selected: float) -> int | None:
    """How many training runs on the selection win back the seconds of scoring; None where a run is no shorter than on everything.

    >>> break_even(60, everything=50, selected=20), break_even(60, everything=50, selected=50)
    (2, None)
    """
    saved = everything - selected
    return math.ceil(scoring / saved) if saved > 0 else None


def calibration_error(confidence: Floats, correct: NDArray[np.bool_]) -> float:
    """Expected calibration error of the likeliest class over 15 equally wide bins (Guo et al. 2017, "On Calibration of Modern
    Neural Networks"), 0 … 1: the mean over rows of how far their bin's accuracy is from its mean confidence."""
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, confidence - correct, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def worst_class(labels: NDArray[np.int64], correct: NDArray[np.bool_]) -> float:
    """The lowest accuracy of any class that has a test row."""
    counts = np.bincount(labels)
    right = np.bincount(labels, correct)
    return float((right[counts > 0] / counts[counts > 0]).min())


class Comparison:
    """A comparison's store, opened: `table` has a line an arm and seed, `summary()` what follows from them."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def open(cls, path: str | Path) -> "Comparison":
        """InputError where the folder holds no comparison."""
        return cls(open_kind(path, "comparison"))

    @property
    def path(self) -> Path:
        return self.store.path

    @property
    def table(self) -> pa.Table:
        """arm, seed, rows, steps, accuracy, worst_class, ece, loss, more, status, curve, and the seconds of the fit out of the log."""
        lines = self._lines()
        seconds = self._seconds()
        table = pa.Table.from_pylist(lines, SCHEMA)
        return table.append_column("seconds", pa.array([seconds.get((one["arm"], one["seed"])) for one in lines], pa.float64()))

    def summary(self) -> dict[str, Any]:
        """Every arm's estimates, differences and verdict, as plain JSON values; shares are 0 … 1."""
        job, lines, seconds = self.store.job, self._lines(), self._seconds()
        values = {one["name"]: _by_seed(lines, one["name"]) for one in job["arms"]}
        times = {name: [seconds[name, s] for s in found["accuracy"] if (name, s) in seconds] for name, found in values.items()}
        typical = {name: float(np.median(each)) if each else None for name, each in times.items()}
        scoring = self._scoring()
        arms = [self._arm(one, lines, values, typical, scoring) for one in job["arms"]]
        target = _target(values[EVERYTHING]["accuracy"])
        for arm in arms:
            share, seconds_of = _share_to(target, [one for one in lines if one["arm"] == arm["arm"]]), arm["seconds"]
            charged = arm.get("seconds_with_scoring", seconds_of)
            arm["seconds_to_target"] = charged - (1 - share) * seconds_of if share is not None and seconds_of is not None else None
        kept = ("seeds", "budget", "steps", "epochs", "model", "train", "test", "excluded")
        return {name: job.get(name) for name in kept} | {"scoring_seconds": scoring, "target": target, "arms": arms}

    def _arm(
        self,
        arm: Mapping[str, Any],
        lines: Sequence[Mapping[str, Any]],
        values: Mapping[str, Mapping[str, Mapping[int, float]]],
        times: Mapping[str, float | None],
        scoring: float | None,
    ) -> dict[str, Any]:
        name = arm["name"]
        own = [one for one in lines if one["arm"] == name]
        about: dict[str, Any] = {"arm": name, "kind": arm["kind"], "rows": arm["rows"], "policy": arm["policy"]}
        about["steps"] = next((one["steps"] for one in own if one["steps"] is not None), None)
        about |= {metric: asdict(estimate(list(values[name][metric].values()))) for metric in METRICS}
        about |= {"more": _more(own), "seconds": times[name]}
        about["failed"] = [{"seed": one["seed"], "status": one["status"]} for one in own if one["status"] is not None]
        if arm["kind"] == "online":
            about["minus_everything"] = asdict(paired_difference(values[name]["accuracy"], values[EVERYTHING]["accuracy"]))
            about["steps_saved"] = _saved(own, [one for one in lines if one["arm"] == EVERYTHING])
        if arm["kind"] != "selection":
            return about
        for other in (*arm["baselines"], EVERYTHING):
            difference = paired_difference(values[name]["accuracy"], values[other]["accuracy"])
            about[f"minus_{other.partition('-')[0]}"] = asdict(difference)
            if other.startswith("random-"):
                about |= {"baseline": other, "verdict": verdict(difference)}
        ours, full = times[name], times[EVERYTHING]
        if scoring is not None and ours is not None and full is not None:
            # Equal steps take equal time, whatever the clock says: what differs there is noise.
            runs = None if self.store.job.get("budget") == "steps" else break_even(scoring, full, ours)
            about |= {"seconds_with_scoring": ours + scoring, "break_even": runs}
        return about

    def _lines(self) -> list[dict[str, Any]]:
        """The lines in the order of the arms and seeds."""
        if not self.store.files(ARMS):
            return []
        place = {one["name"]: index for index, one in enumerate(self.store.job["arms"])}
        lines: list[dict[str, Any]] = self.store.read(ARMS).to_pylist()
        return sorted(lines, key=lambda one: (place[one["arm"]], one["seed"]))

    def _seconds(self) -> dict[tuple[str, int], float]:
        return {(line["arm"], line["seed"]): line["wall"] for line in self.store.history() if line["what"] == "fit"}

    def _scoring(self) -> float | None:
        return next((line["seconds"] for line in reversed(self.store.history()) if line["what"] == "scoring"), None)


def _target(accuracies: Mapping[int, float]) -> float | None:
    return TARGET * float(np.mean(list(accuracies.values()))) if accuracies else None


def _share_to(target: float | None, lines: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of its steps after which an arm's mean accuracy has reached the target, by the places looked at; None if never."""
    curves = [one["curve"] for one in lines if one.get("curve")]
    if target is None or not curves or len({len(curve) for curve in curves}) != 1:
        return None
    mean = np.mean([[point["accuracy"] for point in curve] for curve in curves], axis=0)
    reached = np.flatnonzero(mean >= target)
    if not len(reached):
        return None
    return float(np.mean([curve[reached[0]]["step"] / curve[-1]["step"] for curve in curves]))


def _saved(own: Sequence[Mapping[str, Any]], everything: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of steps that an arm makes fewer than everything does."""
    ours, theirs = ([one["steps"] for one in lines if one["steps"]] for lines in (own, everything))
    return 1 - float(np.mean(ours)) / float(np.mean(theirs)) if ours and theirs else None


def _by_seed(lines: Sequence[Mapping[str, Any]], arm: str) -> dict[str, dict[int, float]]:
    """Each metric's value by seed, where there is one."""
    own = [one for one in lines if one["arm"] == arm]
    return {metric: {one["seed"]: one[metric] for one in own if one[metric] is not None} for metric in METRICS}


def _more(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The estimates of what a training function of the user's own measured besides."""
    found: dict[str, list[float]] = {}
    for name, value in _pairs(lines):
        found.setdefault(name, []).append(value)
    return {name: asdict(estimate(values)) for name, values in sorted(found.items())}


def _pairs(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    for one in lines:
        yield from json.loads(one["more"] or "{}").items()
