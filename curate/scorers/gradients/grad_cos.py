"""Grad-Cos: the cosine between a row's gradient and the target rows' at the end of the run.

Charpiat, Girard, Felardos, Tarabalka 2019, "Input Similarity from the Neural Network Perspective".
"""

from typing import TYPE_CHECKING, Final

from curate.scorers.gradients.epochs import check_epochs
from curate.scorers.gradients.pairs import AbstractPairs, Layers, check_width, last_checkpoint

if TYPE_CHECKING:
    from torch import Tensor


TINY: Final = 1e-30  # of a squared length; far below it a gradient is no more than rounding


class GradCos(AbstractPairs):
    """Mean over the --target rows of the cosine of ∇ loss(row) and ∇ loss(target) at the last checkpoint, -1 … 1; high is kept.

    It finds what is like the target and says nothing of how much it weighs: no finder of wrong labels (an AUROC of about 0.5 in dattri's
    benchmark). A row without any gradient scores 0. `most`, `least`, `most_on`, `least_on`, `layers`, `width`, `pairs` and the cost are
    as in `tracin_target`; of several `epochs` the cosines are added up.
    """

    def __init__(self, *, layers: Layers = "last", epochs: tuple[int, ...] | None = None, width: int = 2048, pairs: bool = False) -> None:
        check_width("grad_cos", width)
        self.layers, self.width, self.pairs = layers, width, pairs
        self.epochs = check_epochs("grad_cos", epochs)

    def settle(self, epochs: int) -> "GradCos":
        """The last checkpoint where none was named; OptionError where one lies beyond the run."""
        found = last_checkpoint("grad_cos", self.epochs, epochs)
        return GradCos(layers=self.layers, epochs=found, width=self.width, pairs=self.pairs)

    def weigh(self, gradient: "Tensor", squared_length: "Tensor", rate: float) -> "Tensor":
        return gradient * squared_length.clamp_min(TINY).rsqrt()[:, None]
