"""GOT-D: in which direction a row moves the rows' distribution, to the target or away from it.

Kang et al. 2024, "Get more for less: Principled Data Selection for Warming Up Fine-Tuning in LLMs"; no official code for the method alone.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError, OptionError
from curate.index.vectors import Metric, Vectors, known, squared_distances, squared_norms
from curate.protocols import Array, Columns, Keep, Shard, Sign, State

Floats = NDArray[np.float64]

CELLS: Final = 1 << 22  # costs held at a time: 16 MB
SETTLED: Final = 1e-3  # change of the potentials, in units of the regularisation, at which they are taken to be found
LEAST: Final = 1e-12  # mean cost where all rows are one
FAINT: Final = 1e-30  # a target row that gets less of a block than this is summed in logarithms


class GOTD:
    """Calibrated gradient of the optimal-transport distance between rows and target by a row's weight; low, negative, is kept.

    Reads `embedding` and `target.embedding`. More of a row with a negative gradient brings the rows nearer to the target, so what the
    rows lack is chosen and not what they have. The distance is entropic, with regularisation `epsilon` times the mean cost, between equally
    weighted rows of either side, costs squared Euclidean; under `metric=cosine` all vectors have length 1. The gradient is
    n/(n-1)·(f - mean f) of the row's dual potential f (`potential`), found by Sinkhorn's steps in logarithms: epsilon starts at the mean
    cost and is halved; it ends when no potential moves by more than epsilon/1000, or after `iterations` steps, as the fact says.
    `--keep high` moves away from the target.

    The state is one number a target row; a step costs 2·n·m·d and never holds n x m. Rows are those that one would have trained on
    anyway, or a sample: for a million and more take `--limit`, or a `dsir` cut first.
    """

    requires = ("embedding", "target.embedding")
    hard_sign: Sign = 0
    keep: Keep = "low"
    combine = "mean"
    version = 1

    def __init__(self, *, epsilon: float = 0.05, metric: Metric = "cosine", iterations: int = 200) -> None:
        if not 0 < epsilon < np.inf:
            raise OptionError(f"got_d: epsilon must be above 0, got {epsilon}.")
        if iterations < 1:
            raise OptionError(f"got_d: iterations must be 1 or more, got {iterations}.")
        self.epsilon = epsilon
        self.metric: Metric = metric
        self.iterations = iterations
        self.passes = iterations + 1

    def settle(self, epochs: int) -> Self:
        return self

    def fit_target(self, shard: Shard) -> State:
        return {"vectors": known(shard["target.embedding"], self.metric)[1]}

    def merge_target(self, states: Sequence[State]) -> State:
        vectors = np.concatenate([state["vectors"] for state in states])
        if not len(vectors):
            raise InputError("got_d: no row of the target has a vector. Name its text column with --target-input, or embed it again.")
        return {"vectors": vectors}

    def fit(self, shard: Shard, state: State | None) -> State:
        assert state is not None, "the target is there"
        vectors = self._vectors(shard, state)[1]
        if "g" not in state:
            return _costs(vectors, state["target.vectors"])
        f, log_sum = step(vectors, state["target.vectors"], state["g"], float(state["epsilon"][0]))
        told = {name: state[name] for name in ("g", "epsilon", "cost", "step")}
        return told | {"rows": np.array([len(f)]), "f": np.array([f.sum()]), "log_sum": log_sum}

    def merge(self, states: Sequence[State]) -> State:
        added: State = {name: np.sum([state[name] for state in states], axis=0) for name in ("rows", "costs", "f") if name in states[0]}
        n = int(added["rows"][0])
        if not n:
            raise InputError("got_d: no row has a vector. Embed them again: `curate embed`.")
        if "costs" in added:
            g = states[0]["zeros"]
            cost = np.maximum(added["costs"] / (n * len(g)), LEAST)
            return {"g": g, "cost": cost, "epsilon": cost * max(self.epsilon, 1.0), "step": np.array([0])}
        told = states[0]
        moved = -told["epsilon"] * (np.logaddexp.reduce([state["log_sum"] for state in states], axis=0) - np.log(n))
        last, count = self.epsilon * told["cost"], told["step"] + 1
        settled = bool(told["epsilon"] <= last) and bool(np.abs(moved - told["g"]).max() <= SETTLED * told["epsilon"])
        if settled or count >= self.iterations:
            distance = added["f"] / n + moved.mean()
            return {**told, **added, "step": count, "done": np.array([settled]), "distance": distance}
        return {"g": moved, "cost": told["cost"], "epsilon": np.maximum(told["epsilon"] / 2, last), "step": count}

    def is_done(self, state: State) -> bool:
        """Whether the potentials have been found."""
        return "done" in state

    def conclude(self, state: State) -> Mapping[str, float | int | str]:
        return {
            "target_rows": len(state["target.vectors"]),
            "iterations": int(state["step"][0]),
            "settled": "yes" if state["done"][0] else "no",
            "distance": round(float(state["distance"][0]), 6),
        }

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "the passes come before"
        there, vectors = self._vectors(shard, state)
        f = step(vectors, state["target.vectors"], state["g"], float(state["epsilon"][0]))[0]
        n = int(state["rows"][0])
        columns = {name: np.full(len(shard), np.nan, np.float32) for name in ("score", "potential")}
        columns["potential"][there] = f
        columns["score"][there] = calibrated(f, float(state["f"][0]) / n, n)
        return columns | {"status": np.where(there, "", "no_vector").astype(str)}

    def _vectors(self, shard: Shard, state: State) -> tuple[Array, Vectors]:
        there, vectors = known(shard["embedding"], self.metric)
        goal = state["target.vectors"].shape[1]
        if vectors.shape[1] != goal:
            raise InputError(
                f"got_d: the rows have vectors of {vectors.shape[1]} numbers, the target of {goal}. Embed both with one encoder."
            )
        return there, vectors


def step(rows: Vectors, goal: Vectors, g: Floats, epsilon: float) -> tuple[Floats, Floats]:
    """The rows' potentials given the target's, f (n,), and of each target row the logarithm of Σ_i exp((f_i - c_ij)/ε), (m,).

    f_i = -ε·ln Σ_j exp((g_j - c_ij)/ε)/m. The terms of that sum, over it, are the plan's row; their sums by column give the
    other number, so that every cost meets one exponential.
    """
    m, shift = len(goal), goal.mean(axis=0)
    there, raised = goal - shift, (g / epsilon).astype(np.float32)
    size = max(CELLS // m, 1)
    f, log_sum = np.empty(len(rows)), np.full(m, -np.inf)
    for start in range(0, len(rows), size):
        scaled = squared_distances(rows[start : start + size] - shift, there)  # (b, m)
        scaled *= np.float32(-1 / epsilon)
        plan = scaled + raised
        top = plan.max(axis=1, keepdims=True)
        plan -= top
        np.exp(plan, out=plan)
        total = plan.sum(axis=1, keepdims=True, dtype=np.float64)
        here = -(np.log(total) + top)[:, 0] + np.log(m)
        f[start : start + size] = epsilon * here
        plan /= total.astype(np.float32)
        column = plan.sum(axis=0, dtype=np.float64)
        with np.errstate(divide="ignore"):
            sums = np.log(column) + np.log(m) - g / epsilon
        faint = np.flatnonzero(column < FAINT)
        sums[faint] = np.logaddexp.reduce(scaled[:, faint] + here[:, None], axis=0)
        log_sum = np.logaddexp(log_sum, sums)
    return f, log_sum


def calibrated(f: Floats, mean: float, n: int) -> Floats:
    """How the distance changes with the weight of a row, the others giving way alike: f_i less the mean of the other rows' f.

    >>> calibrated(np.array([2.0, 1.0, 0.0]), 1.0, 3).tolist()
    [1.5, 0.0, -1.5]
    """
    return (f - mean) * (n / max(n - 1, 1))


def _costs(rows: Vectors, goal: Vectors) -> State:
    """The sum of all costs, from sums over rows and over the target."""
    shift = goal.mean(axis=0)
    a, b = (one - shift for one in (rows, goal))
    cross = a.sum(axis=0, dtype=np.float64) @ b.sum(axis=0, dtype=np.float64)
    norms = [float(squared_norms(one).sum(dtype=np.float64)) for one in (a, b)]
    costs = len(b) * norms[0] + len(a) * norms[1] - 2 * cross
    return {"rows": np.array([len(rows)]), "costs": np.array([max(costs, 0.0)]), "zeros": np.zeros(len(goal))}
