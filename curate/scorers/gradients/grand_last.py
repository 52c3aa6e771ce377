"""GraNd-last: the norm of the gradient that a row gives the last layer alone; high is hard.

Paul, Ganguli, Dziugaite 2021, "Deep Learning on a Data Diet"; the restriction to the last layer is that of DeepCore, PatrickZH/DeepCore.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from curate.protocols import Columns, PerRow, Shard, View
from curate.scorers.gradients.epochs import check_epochs, early_checkpoint
from curate.scorers.gradients.last_layer import prediction_error

if TYPE_CHECKING:
    from torch import Tensor


class GraNdLast(PerRow):
    """Norm of the gradient of a row's cross-entropy over the last linear layer, at an early checkpoint; high is hard and kept.

    Gives `score`, (n,) float32, 0 or more: ‖p - onehot(y)‖ √(1 + ‖h‖²), the mean over `epochs`, h being what goes into the layer and the 1
    its bias (`bias=false` leaves it out); exact for that layer, and a forward pass is all it costs. `epochs=None` is the early epoch of
    `el2n` and `grand`. DeepCore takes the gradient of the batch's mean loss, so its scores shrink with the batch; ours do not.
    A model that does not end in a linear layer over one vector a row is refused.
    """

    requires = ("swept.norm",)
    hard_sign = 1
    keep = "high"

    def __init__(self, *, epochs: tuple[int, ...] | None = None, bias: bool = True) -> None:
        self.epochs = check_epochs("grand_last", epochs)
        self.bias = bias

    def settle(self, epochs: int) -> Self:
        """One early epoch where none was named; OptionError where one lies beyond the run."""
        return type(self)(epochs=early_checkpoint("grand_last", self.epochs, epochs), bias=self.bias)

    def visit(self, view: View, memory: Any) -> "Tensor":
        """The sum of the norms so far, (b,)."""
        error = prediction_error(view.logits, view.labels).norm(dim=1)
        norm: Tensor = error * (view.features.square().sum(dim=1) + self.bias).sqrt()
        return norm if memory is None else memory + norm

    def leave(self, memory: "Tensor") -> "Mapping[str, Tensor]":
        assert self.epochs is not None, "settled before it sweeps"
        return {"norm": memory / len(self.epochs)}

    def score_rows(self, shard: Shard) -> Columns:
        return {"score": np.array(shard["swept.norm"], np.float32)}
