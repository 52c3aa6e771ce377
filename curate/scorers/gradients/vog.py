"""VoG: how much the gradient of a row's own output by its input varies along the run; high is hard.

Agarwal, D'souza, Hooker 2022, "Estimating Example Difficulty using Variance of Gradients"; official code chirag126/VOG.
For text: Anand, Tan, Maakaryan 2023, "Influence Scores at Scale for Efficient Language Data Sampling".
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from curate.errors import OptionError
from curate.protocols import Columns, Keep, Shard, Sign, State, View
from curate.scorers.dynamics.run_length import check_reach
from curate.scorers.gradients.epochs import along_the_run, check_epochs, evenly_spaced

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 3  # two gradients always vary


class VoG:
    """Spread over checkpoints of the gradient of the label's output by the input, averaged over the input; high is hard and kept.

    Gives `score`, (n,) float32, standardised within each class as the paper ranks them (0 where a class has no spread), and
    `raw` before that; `normalise=none` gives `raw` alone. The gradient is by the pixels averaged over colours (as the ImageNet
    code), a table's columns, or the embedding layer's output without padding (the text variant; for a bag of words the bag's
    mean). `output=logit` is the paper's; its toy code differentiates the probability, `prob`. `estimator=std` is the code's
    standard deviation, `printed` the paper's formula without the root over the sum. `count` checkpoints evenly spaced over the
    `stage`: all of the run (the early one of `grand` among them), or the first (early) or last (late) third of it, 3 or more; or those in
    `epochs`.

    VoG is no finder of wrong labels by itself: output and stage decide its sign there. On digits with a tenth of the labels wrong the same
    code gives them an AUROC from 0.13 (prob, short training) to 0.95 (prob, trained until they were learned). Compare with `aum` first.
    Costs a forward and a backward pass to the input a row and checkpoint, and no memory a row.
    """

    hard_sign: Sign = 1
    keep: Keep = "high"
    combine: Literal["mean", "sum"] = "mean"
    version = 1

    def __init__(
        self,
        *,
        output: Literal["logit", "prob"] = "logit",
        stage: Literal["all", "early", "late"] = "all",
        estimator: Literal["std", "printed"] = "std",
        normalise: Literal["class", "none"] = "class",
        count: int = 10,
        epochs: tuple[int, ...] | None = None,
    ) -> None:
        if count < LEAST:
            raise OptionError(f"vog: count must be {LEAST} or more, for a spread of fewer gradients says nothing; got {count}.")
        self.output, self.stage, self.estimator, self.normalise, self.count = output, stage, estimator, normalise, count
        self.epochs = check_epochs("vog", epochs, least=LEAST)
        self.requires: Sequence[str] = ("swept.raw", "label") if normalise == "class" else ("swept.raw",)
        self.passes = 1 if normalise == "class" else 0

    def settle(self, epochs: int) -> Self:
        """The stage's checkpoints where none were named; OptionError where the run has too few."""
        check_reach("vog", f"a spread over {LEAST} checkpoints", LEAST, epochs)
        third = max(LEAST, epochs // 3)
        found = (
            self.epochs
            or {
                "all": along_the_run(epochs, self.count),
                "early": evenly_spaced(1, third, self.count),
                "late": evenly_spaced(epochs - third + 1, epochs, self.count),
            }[self.stage]
        )
        check_reach("vog", f"epoch {max(found)}", max(found), epochs)
        chosen = {"stage": self.stage, "estimator": self.estimator, "normalise": self.normalise, "count": self.count}
        return type(self)(output=self.output, epochs=found, **chosen)  # type: ignore[arg-type]  # the same literals as before

    def visit(self, view: View, memory: Any) -> "tuple[int, Tensor, Tensor, Tensor]":
        """Welford: how many gradients, their mean, the sum of squared deviations, (b, …); and what is not padding."""
        gradient, there = view.input_gradient(self.output)
        if gradient.ndim == 4:
            gradient = gradient.mean(dim=1)  # colours first, as the authors' ImageNet code: (b, height, width)
        gradient = gradient.double()
        k, mean, squares = (0, gradient.new_zeros(()), gradient.new_zeros(())) if memory is None else memory[:3]
        delta = gradient - mean
        mean = mean + delta / (k + 1)
        return k + 1, mean, squares + delta * (gradient - mean), there

    def leave(self, memory: Any) -> "Mapping[str, Tensor]":
        k, _, squares, there = memory
        spread = (squares / k).sqrt() if self.estimator == "std" else squares / k**0.5  # (b, …)
        width = spread[0, 0].numel() if there.shape[1] > 1 else spread[0].numel()
        weight = there.reshape(*there.shape, *(1,) * (spread.ndim - 2))
        return {"raw": (spread * weight).flatten(1).sum(dim=1) / (there.sum(dim=1).clamp_min(1) * width)}

    def fit(self, shard: Shard, state: State | None) -> State:
        """Count, mean and sum of squared deviations by class, (classes,) float64."""
        raw, label = shard["swept.raw"].astype(np.float64), shard["label"]
        seen = ~np.isnan(raw) & (label >= 0)
        raw, label = raw[seen], label[seen]
        count = np.bincount(label).astype(np.float64)
        mean = np.bincount(label, raw) / np.maximum(count, 1)
        return {"count": count, "mean": mean, "squares": np.bincount(label, (raw - mean[label]) ** 2)}

    def merge(self, states: Sequence[State]) -> State:
        classes = max(len(state["count"]) for state in states)
        count, mean, squares = np.zeros(classes), np.zeros(classes), np.zeros(classes)
        for state in states:  # Chan et al.'s merge of two sets of moments
            n, m, s = (np.pad(state[key], (0, classes - len(state[key]))) for key in ("count", "mean", "squares"))
            total = np.maximum(count + n, 1)
            squares = squares + s + (m - mean) ** 2 * count * n / total
            mean, count = (mean * count + m * n) / total, count + n
        return {"count": count, "mean": mean, "squares": squares}

    def score(self, shard: Shard, state: State | None) -> Columns:
        raw = np.array(shard["swept.raw"], np.float32)
        if self.normalise == "none":
            return {"score": raw}
        assert state is not None, "fitted where it standardises by class"
        return {"score": _standardised(raw, shard["label"], state), "raw": raw}


def _standardised(raw: NDArray[np.float32], label: NDArray[np.int64], state: State) -> NDArray[np.float32]:
    """Deviations from the class mean in population deviations; 0 in a class without spread (one row, or all alike)."""
    if not len(state["count"]):
        return np.full(len(raw), np.nan, np.float32)
    deviation = np.sqrt(state["squares"] / np.maximum(state["count"], 1))
    at = np.clip(label, 0, None)
    flat = deviation[at] <= 1e-7 * np.abs(state["mean"][at])
    z = np.where(flat, 0, (raw - state["mean"][at]) / np.where(flat, 1, deviation[at]))
    return np.where(np.isnan(raw), np.nan, z).astype(np.float32)
