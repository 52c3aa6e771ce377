"""TracIn on a target: how much a row's own steps lowered the target rows' losses along the run.

Pruthi, Liu, Kale, Sundararajan 2020, "Estimating Training Data Influence by Tracing Gradient Descent"; official code frederick0329/TracIn.
"""

from typing import TYPE_CHECKING

from curate.errors import OptionError
from curate.scorers.dynamics.run_length import check_reach
from curate.scorers.gradients.epochs import along_the_run, check_epochs
from curate.scorers.gradients.pairs import AbstractPairs, Layers, check_width

if TYPE_CHECKING:
    from torch import Tensor


class TracInTarget(AbstractPairs):
    """Mean over the --target rows of Σ rate ⟨∇ loss(row), ∇ loss(target)⟩ over checkpoints; high is a proponent, and kept.

    `most` and `least` are its extremes, `most_on` and `least_on` their target rows; `pairs=true` keeps `influence`, (n, targets).
    `layers=last` is the last linear layer in closed form, as in the authors' ImageNet experiment; `all` every parameter, projected to
    `width` numbers. `count` checkpoints along the whole run, those of `tracin`, or those in `epochs`; the rate is that of the middle of the
    epoch. The sum is that of plain SGD; for a run with AdamW it is only a rank. Costs a forward pass a row and checkpoint (with `all` a
    backward pass and the projection besides), classes + d numbers (`width`) on disk, and rows x targets products.
    """

    def __init__(
        self, *, layers: Layers = "last", count: int = 5, epochs: tuple[int, ...] | None = None, width: int = 2048, pairs: bool = False
    ) -> None:
        if count < 1:
            raise OptionError(f"tracin_target: count must be 1 or more, got {count}.")
        check_width("tracin_target", width)
        self.layers, self.count, self.width, self.pairs = layers, count, width, pairs
        self.epochs = check_epochs("tracin_target", epochs)

    def settle(self, epochs: int) -> "TracInTarget":
        """Checkpoints along the run where none were named; OptionError where one lies beyond the run."""
        found = self.epochs or along_the_run(epochs, self.count)
        check_reach("tracin_target", f"epoch {max(found)}", max(found), epochs)
        return TracInTarget(layers=self.layers, count=self.count, epochs=found, width=self.width, pairs=self.pairs)

    def weigh(self, gradient: "Tensor", squared_length: "Tensor", rate: float) -> "Tensor":
        root: float = rate**0.5  # of both the row's and the target's
        return gradient * root
