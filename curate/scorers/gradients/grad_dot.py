"""Grad-Dot: the product of a row's gradient and the target rows' at the end of the run.

Charpiat, Girard, Felardos, Tarabalka 2019, "Input Similarity from the Neural Network Perspective".
"""

from typing import TYPE_CHECKING

from curate.scorers.gradients.epochs import check_epochs
from curate.scorers.gradients.pairs import AbstractPairs, Layers, check_width, last_checkpoint

if TYPE_CHECKING:
    from torch import Tensor


class GradDot(AbstractPairs):
    """Mean over the --target rows of ⟨∇ loss(row), ∇ loss(target)⟩ at the last checkpoint; high is a proponent, and kept.

    It is `tracin_target` at one checkpoint with a rate of 1, and rows with long gradients lead it. `most`, `least`, `most_on`, `least_on`,
    `layers`, `width`, `pairs` and the cost are as there; `epochs` names other checkpoints, whose products are added up.
    """

    def __init__(self, *, layers: Layers = "last", epochs: tuple[int, ...] | None = None, width: int = 2048, pairs: bool = False) -> None:
        check_width("grad_dot", width)
        self.layers, self.width, self.pairs = layers, width, pairs
        self.epochs = check_epochs("grad_dot", epochs)

    def settle(self, epochs: int) -> "GradDot":
        """The last checkpoint where none was named; OptionError where one lies beyond the run."""
        found = last_checkpoint("grad_dot", self.epochs, epochs)
        return GradDot(layers=self.layers, epochs=found, width=self.width, pairs=self.pairs)

    def weigh(self, gradient: "Tensor", squared_length: "Tensor", rate: float) -> "Tensor":
        return gradient
