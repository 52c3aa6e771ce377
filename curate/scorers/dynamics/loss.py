"""Loss: cross-entropy of the given label, at the end of the run or on average over it; high is hard.

The "small loss" criterion of the noisy-label literature, e.g. Arpit et al. 2017, "A Closer Look at Memorization in Deep Networks".
"""

from typing import Literal, Self

import numpy as np

from curate.errors import OptionError
from curate.numerics import row_mean
from curate.protocols import Columns, PerRow, Shard
from curate.scorers.dynamics.run_length import check_at_least, check_reach


class Loss(PerRow):
    """Minus the natural logarithm of the label's probability, 0 or more; high is hard and kept.

    `over="final"` reads `eval.loss@E` once, at `epoch`, by default the last. `over="mean"` reads `dynamics.loss` and averages
    over the presentations of a row: no extra pass, and by far the better detector of wrong labels, since at the end of a
    long run they are memorised too. (n,) float32, NaN for a row that was not seen.
    """

    hard_sign = 1
    keep = "high"

    def __init__(self, *, over: Literal["final", "mean"] = "final", epoch: int | None = None) -> None:
        check_at_least("loss", "epoch", epoch, 1)
        if over == "mean" and epoch is not None:
            raise OptionError(f"loss: epoch {epoch} says nothing with over=mean, which averages over all; leave one of them out.")
        self.over = over
        self.epoch = epoch
        final = "eval.loss" if epoch is None else f"eval.loss@{epoch}"
        self.requires = ("dynamics.loss",) if over == "mean" else (final,)

    def settle(self, epochs: int) -> Self:
        """The last epoch where none was named."""
        if self.over == "mean":
            return self
        epoch = self.epoch or epochs
        check_reach("loss", f"epoch {epoch}", epoch, epochs, instead=f"epoch={epochs}")
        return type(self)(over=self.over, epoch=epoch)

    def score_rows(self, shard: Shard) -> Columns:
        loss = shard[self.requires[0]]  # (n, epochs), or (n,) of one epoch
        return {"score": (row_mean(loss) if self.over == "mean" else loss).astype(np.float32)}
