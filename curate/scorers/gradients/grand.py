"""GraNd: the norm of the gradient that a row gives the whole network early in training; high is hard.

Paul, Ganguli, Dziugaite 2021, "Deep Learning on a Data Diet"; official code mansheej/data_diet.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from curate.protocols import Columns, PerRow, Shard, View
from curate.scorers.gradients.epochs import check_epochs, early_checkpoint

if TYPE_CHECKING:
    from torch import Tensor


class GraNd(PerRow):
    """Norm of the gradient of a row's cross-entropy over all trainable parameters, at an early checkpoint; high is hard and kept.

    Gives `score`, (n,) float32, 0 or more: the mean over `epochs` of the norm (clean view, eval mode, the sum of nothing but the row's own
    loss), as the paper defines it. `epochs=None` is the early epoch of EL2N: 20, or a third of a shorter run, not before the third. The
    norms come from ghost norms, exact, without a gradient a row: 2/3 of a training step a row and checkpoint, where the official code
    forms batch x parameters numbers. Do not read it at initialisation: the published curve of epoch 0 came from a checkpoint
    restored by mistake, and true scores there do not beat random (Kirsch 2023). The paper takes ten seeds: --seeds 10.
    A row whose gradient is not finite has no score.
    """

    requires = ("swept.norm",)
    hard_sign = 1
    keep = "high"

    def __init__(self, *, epochs: tuple[int, ...] | None = None) -> None:
        self.epochs = check_epochs("grand", epochs)

    def settle(self, epochs: int) -> Self:
        """One early epoch where none was named; OptionError where one lies beyond the run."""
        return type(self)(epochs=early_checkpoint("grand", self.epochs, epochs))

    def visit(self, view: View, memory: Any) -> "Tensor":
        """The sum of the norms so far, (b,)."""
        norm = view.squared_norms.clamp_min(0).sqrt()
        return norm if memory is None else memory + norm

    def leave(self, memory: "Tensor") -> "Mapping[str, Tensor]":
        assert self.epochs is not None, "settled before it sweeps"
        return {"norm": memory / len(self.epochs)}

    def score_rows(self, shard: Shard) -> Columns:
        return {"score": np.array(shard["swept.norm"], np.float32)}
