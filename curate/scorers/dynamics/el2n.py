"""EL2N: the length of the error vector p - onehot(y) early in training, high where a row is hard.

Paul, Ganguli, Dziugaite 2021, "Deep Learning on a Data Diet"; official code mansheej/data_diet.
"""

from collections.abc import Sequence
from typing import Literal, Self

from curate.errors import OptionError
from curate.numerics import seen_mean
from curate.protocols import Columns, PerRow, Shard
from curate.scorers.dynamics.lengths import early_epoch


class EL2N(PerRow):
    """Mean over the chosen epochs of |p - onehot(y)|, with the 2-norm in 0 … √2, with the 1-norm in 0 … 2; high is hard, keep high.

    Gives `score`, (n,) float32. Like the official code we read a clean pass in eval mode at the end of an epoch
    (`mode="eval"`); CCS and D2 read the training step's own logits, which is `mode="online"`. `epochs` is the paper's 20, or in a
    shorter run of E epochs min(20, E, max(3, E // 3)); late epochs of a memorised set say nothing. Three seeds or more are advised.
    Cost: one evaluation pass an epoch named. Some peers take the squared norm or the last epoch: other rankings, not offered.
    """

    requires: Sequence[str] = ("eval.el2n",)
    hard_sign = 1
    keep = "high"

    def __init__(self, *, epochs: tuple[int, ...] | None = None, norm: Literal[1, 2] = 2, mode: Literal["eval", "online"] = "eval") -> None:
        if epochs is not None and (not epochs or min(epochs) < 1):
            raise OptionError(f"el2n: epochs count from 1, got {epochs}.")
        if norm not in (1, 2):
            raise OptionError(f"el2n: norm must be 1 or 2, got {norm}.")
        self.epochs, self.norm, self.mode = epochs, norm, mode
        signal = f"{'eval' if mode == 'eval' else 'dynamics'}.{'el2n' if norm == 2 else 'el1'}"
        self.requires = (signal,) if epochs is None else tuple(f"{signal}@{epoch}" for epoch in epochs)

    def settle(self, epochs: int) -> Self:
        chosen = self.epochs or (early_epoch(epochs),)
        if max(chosen) > epochs:
            raise OptionError(f"el2n: epoch {max(chosen)} is asked for, the run has {epochs}. Use --epochs {max(chosen)} or more.")
        return type(self)(epochs=chosen, norm=self.norm, mode=self.mode)

    def score_rows(self, shard: Shard) -> Columns:
        import numpy as np

        return {"score": seen_mean(np.stack([shard[name] for name in self.requires], axis=1)).astype(np.float32)}
