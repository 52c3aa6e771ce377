"""Datamodel: how a model's output on a target changes with a row among its training rows, by regression over random subsets.

Ilyas, Park, Engstrom, Leclerc, Madry 2022, "Datamodels: Predicting Predictions from Training Data"; official code MadryLab/datamodels.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError, OptionError
from curate.protocols import Columns, Shard, Sign, State
from curate.scorers.influence import summary
from curate.signals.subsets import fit_probes, log_odds_of, subset_masks

RIDGES: Final = np.logspace(-6, 2, 17)  # of the mean eigenvalue of the masks' products
LEAST: Final = 20  # subsets; of fewer nothing can be said

Matrix = NDArray[np.float64]


class Datamodel:
    """Mean effect of a row on the --target rows' log-odds of their labels; high helps them, and is kept.

    Trains `count` models on random halves (`share`) of the rows and regresses each target's log-odds on which rows were in; a row's weight
    is what including it adds. The models are logistic regressions on the standardised vectors (columns of numbers, or --embeddings),
    penalised by `decay`, all trained at once; the paper trains 10⁵ and more networks, which is out of reach, so this is the truth of a
    linear model on these vectors, not of your network. The paper's regression is a lasso; ours is ridge, its strength chosen for every
    target by leaving each subset out in turn (closed form). `most`, `least`, `most_on` and `least_on` are the extremes and their target
    rows. `leak` finds what is in both sets: the effect on a target beside the effect on the row itself, the smaller over the larger, 1 for
    a copy; `leak_on` is that target row. (A copy leads its target's proponents mostly, not always: a row that is rarely got right can
    add more, by exact influence, too.) `pairs=true` keeps `influence`, (n, targets). Without a target: what a row adds to its own
    log-odds, its memorisation, high for hard and mislabelled rows. A row without a label has no score.

    Cost: some hundred steps of count x rows x d x classes, and count³ for the regression; the more subsets the better (twice as many as
    rows is plenty). Holds all vectors and, for a shard, count x rows numbers.
    """

    keep: Literal["high"] = "high"
    combine: Literal["mean"] = "mean"
    version = 2
    passes = 1

    def __init__(
        self,
        *,
        count: int = 1000,
        share: float = 0.5,
        decay: float = 1e-2,
        pairs: bool = False,
        on: Literal["target", "itself"] = "target",
    ) -> None:
        if count < LEAST:
            raise OptionError(f"datamodel: count must be {LEAST} or more, for a regression over fewer subsets says nothing; got {count}.")
        if not 0 < share < 1:
            raise OptionError(f"datamodel: share must be above 0 and below 1, got {share}.")
        if not 0 < decay < np.inf:
            raise OptionError(f"datamodel: decay must be above 0, got {decay}.")
        if pairs and on == "itself":
            raise OptionError("datamodel: pairs are of rows and targets, and on=itself has no target. Leave one of the two out.")
        self.count, self.share, self.decay, self.pairs, self.on = count, share, decay, pairs, on
        targets = ("target.embedding", "target.label") if on == "target" else ()
        self.requires: Sequence[str] = ("embedding", "label", *targets)
        self.hard_sign: Sign = 1 if on == "itself" else 0

    def without_target(self) -> "Datamodel":
        """A row's effect on itself; OptionError where pairs are asked for."""
        if self.pairs:
            raise OptionError("datamodel:pairs=true keeps the effect on each target row, and no target is named. Name one: --target DATA.")
        return Datamodel(count=self.count, share=self.share, decay=self.decay, on="itself")

    def settle(self, epochs: int) -> "Datamodel":
        """Nothing depends on a run."""
        return self

    def fit_target(self, shard: Shard) -> State:
        x, y = shard["target.embedding"], shard["target.label"]
        known = _known(x, y)
        return {"row": shard.rows[known], "x": x[known], "y": y[known]}

    def merge_target(self, states: Sequence[State]) -> State:
        found = {key: np.concatenate([state[key] for state in states]) for key in states[0]}
        if not len(found["row"]):
            raise InputError("No target row has a label and a finite vector. Name another set with --target.")
        return found

    def fit(self, shard: Shard, state: State | None) -> State:
        x, y = shard["embedding"], shard["label"]
        known = _known(x, y)
        labels = y[known] if state is None or "target.y" not in state else np.concatenate([y[known], state["target.y"]])
        classes = np.array(labels.max(initial=0) + 1)
        return {"row": shard.rows[known], "x": x[known], "y": y[known], "classes": classes, "seed": np.array(shard.seed)}

    def merge(self, states: Sequence[State]) -> State:
        """Trains the models: their weights, and the masks' products in their own axes, which every target's regression shares."""
        row, x, y = (np.concatenate([state[key] for state in states]) for key in ("row", "x", "y"))
        if len(row) < 2:
            raise InputError(f"Of {len(row)} rows with a label and a finite vector no half can be trained on. Two or more are needed.")
        mean, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
        scale = np.where(deviation > 1e-8, deviation, 1)
        seed, classes = int(states[0]["seed"]), max(int(state["classes"]) for state in states)
        masks = subset_masks(row, self.count, self.share, seed)
        weights = fit_probes(_standardised(x, mean, scale), y, masks, classes, self.decay)
        centred = masks - masks.mean(axis=0)
        spectrum, axes = np.linalg.eigh(centred @ centred.T)
        return {"row": row, "mean": mean, "scale": scale, "weights": weights, "spectrum": spectrum, "axes": axes, "seed": np.array(seed)}

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "a pass has run"
        masks = subset_masks(state["row"], self.count, self.share, int(state["seed"]))
        place = np.searchsorted(state["row"], shard.rows)
        known = np.isin(shard.rows, state["row"])
        inside = masks[:, place[known]] - masks.mean(axis=0)[place[known]]  # (count, rows)
        own = np.full(len(shard), np.nan, np.float32)
        own[known] = np.einsum("cr,cr->r", inside, self._solved(state, shard["embedding"][known], shard["label"][known]))
        if self.on == "itself":
            return {"score": own}
        solved = self._solved(state, state["target.x"], state["target.y"])  # (count, targets)
        every = np.full((self.count, len(shard)), np.nan)
        every[:, known] = inside

        def effect(some: slice) -> NDArray[np.float32]:
            return (every[:, some].T @ solved).astype(np.float32)

        columns = dict(summary(len(shard), state["target.row"], effect, pairs=self.pairs))
        leaks = summary(len(shard), state["target.row"], lambda some: likeness(effect(some), own[some]), pairs=False)
        return columns | {"leak": leaks["most"], "leak_on": leaks["most_on"]}

    def _solved(self, state: State, x: NDArray[np.float32], y: NDArray[np.int64]) -> Matrix:
        """(MMᵀ + λI)⁻¹ f of the targets, (count, targets), whose product with the masks is the ridge regression's weights."""
        f = log_odds_of(state["weights"], _standardised(x, state["mean"], state["scale"]), y).astype(np.float64)
        return ridge(f - f.mean(axis=0), state["spectrum"], state["axes"])


def ridge(f: Matrix, spectrum: Matrix, axes: Matrix) -> Matrix:
    """The dual weights (count, targets) of the ridge whose left-out errors are least, for each target by itself.

    `f` are its outputs, centred; `spectrum` and `axes` those of the masks' products K. Without subset i the error is c_i / (K + λI)⁻¹_ii.
    """
    inside = axes.T @ f
    best, least = np.zeros_like(f), np.full(f.shape[1], np.inf)
    for strength in RIDGES * max(float(spectrum.mean()), 1e-12):
        inverse = 1 / (np.maximum(spectrum, 0) + strength)
        found = axes @ (inside * inverse[:, None])
        error = np.square(found / (np.square(axes) @ inverse)[:, None]).sum(axis=0)
        better = error < least
        best[:, better], least[better] = found[:, better], error[better]
    return best


def likeness(effect: NDArray[np.float32], own: NDArray[np.float32]) -> NDArray[np.float32]:
    """The smaller over the larger of the effects on targets (rows, targets) and on the rows themselves (rows,); 0 where signs differ.

    >>> likeness(np.float32([[2, 1, -2, 8]]), np.float32([2]))
    array([[1.  , 0.5 , 0.  , 0.25]], dtype=float32)
    """
    itself = np.broadcast_to(own[:, None], effect.shape)
    larger, smaller = np.maximum(np.abs(effect), np.abs(itself)), np.minimum(np.abs(effect), np.abs(itself))
    alike = (effect * itself > 0) | np.isnan(itself)
    return np.where(alike, smaller / np.maximum(larger, np.finfo(np.float32).tiny), 0).astype(np.float32)


def _known(x: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.isfinite(x).all(axis=1) & (y >= 0)
    return found


def _standardised(x: NDArray[np.float32], mean: Matrix, scale: Matrix) -> NDArray[np.float32]:
    return ((x - mean) / scale).astype(np.float32)
