"""TracIn: how much a row's own steps lowered its own loss along the run, its self-influence; high is hard.

Pruthi, Liu, Kale, Sundararajan 2020, "Estimating Training Data Influence by Tracing Gradient Descent"; official code frederick0329/TracIn.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from curate.errors import OptionError
from curate.protocols import Columns, PerRow, Shard, View
from curate.scorers.dynamics.run_length import check_reach
from curate.scorers.gradients.epochs import along_the_run, check_epochs
from curate.scorers.gradients.last_layer import prediction_error

if TYPE_CHECKING:
    from torch import Tensor


class TracIn(PerRow):
    """Sum over checkpoints of learning rate times squared gradient norm, the self-influence; high is hard (often a wrong label) and kept.

    Gives `score`, (n,) float32, 0 or more. `layers=all` takes every trainable parameter by ghost norms, 2/3 of a training step a row and
    checkpoint, shared with `grand` in the same call; `layers=last` the last linear layer in closed form, a forward pass, which is what
    the authors' ImageNet experiment does. The rate is that of the middle of the checkpoint's epoch. `count` checkpoints, nearly
    evenly spaced over the whole run with the early one of `grand` among them, or those that `epochs` names: the authors choose them where
    the loss falls, not in the converged tail, where gradients vanish. The sum is that of plain SGD; for a run with AdamW the rates of
    single weights differ, and it is only a rank.
    """

    requires = ("swept.influence",)
    hard_sign = 1
    keep = "high"

    def __init__(self, *, layers: Literal["all", "last"] = "all", count: int = 5, epochs: tuple[int, ...] | None = None) -> None:
        if count < 1:
            raise OptionError(f"tracin: count must be 1 or more, got {count}.")
        self.layers = layers
        self.count = count
        self.epochs = check_epochs("tracin", epochs)

    def settle(self, epochs: int) -> Self:
        """Checkpoints along the run where none were named; OptionError where one lies beyond the run."""
        found = self.epochs or along_the_run(epochs, self.count)
        check_reach("tracin", f"epoch {max(found)}", max(found), epochs)
        return type(self)(layers=self.layers, count=self.count, epochs=found)

    def visit(self, view: View, memory: Any) -> "Tensor":
        """The sum so far, (b,)."""
        influence = view.rate * self._squared_norms(view)
        return influence if memory is None else memory + influence

    def leave(self, memory: "Tensor") -> "Mapping[str, Tensor]":
        return {"influence": memory}

    def score_rows(self, shard: Shard) -> Columns:
        return {"score": np.array(shard["swept.influence"], np.float32)}

    def _squared_norms(self, view: View) -> "Tensor":
        if self.layers == "all":
            return view.squared_norms.clamp_min(0)
        return prediction_error(view.logits, view.labels).square().sum(dim=1) * (1 + view.features.square().sum(dim=1))
