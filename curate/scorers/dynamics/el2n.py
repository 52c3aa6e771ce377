"""EL2N: how far the prediction is from the label early in training; high is hard.

Paul, Ganguli, Dziugaite 2021, "Deep Learning on a Data Diet"; official code mansheej/data_diet.
"""

from typing import Literal, Self

import numpy as np

from curate.errors import OptionError
from curate.numerics import row_mean
from curate.protocols import Columns, PerRow, Shard
from curate.scorers.dynamics.run_length import check_reach, early_epoch


class EL2N(PerRow):
    """Norm of the predicted probabilities minus the one-hot label, after an early epoch; high is hard and kept.

    Reads `eval.el2n@E` (clean rows, eval mode, as the official code), one evaluation pass for each epoch in `epochs`, and
    gives their mean; `norm=1` reads `el1`, the code's L1 error, 0 … 2. With norm 2 the range is 0 … √2. `mode="online"` reads
    the training step's own logits, which cost nothing. A row missing in all these epochs scores NaN. `epochs=None` is one
    epoch: 20, or a third of a shorter run, not before the third. The norm is not squared and never of the last epoch alone,
    where memorised rows are all at 0. The paper advises a mean over ten seeds; the stage takes it when --seeds says so.
    """

    hard_sign = 1
    keep = "high"

    def __init__(self, *, epochs: tuple[int, ...] | None = None, norm: Literal[1, 2] = 2, mode: Literal["eval", "online"] = "eval") -> None:
        if epochs is not None and (not epochs or min(epochs) < 1 or len(set(epochs)) < len(epochs)):
            raise OptionError(f"el2n: epochs must be distinct numbers from 1 on, got {epochs}. Write epochs=3 or epochs=3+5.")
        self.epochs = epochs
        self.norm = norm
        self.mode = mode
        column = f"{'eval' if mode == 'eval' else 'dynamics'}.el{'2n' if norm == 2 else '1'}"
        self.requires = (column,) if epochs is None else tuple(f"{column}@{epoch}" for epoch in epochs)

    def settle(self, epochs: int) -> Self:
        """One early epoch where none was named; OptionError where one lies beyond the run."""
        chosen = self.epochs or (early_epoch(epochs),)
        check_reach("el2n", f"epoch {max(chosen)}", max(chosen), epochs, instead=f"epochs={epochs}")
        return type(self)(epochs=chosen, norm=self.norm, mode=self.mode)

    def score_rows(self, shard: Shard) -> Columns:
        errors = np.stack([shard[name] for name in self.requires], axis=1)  # (n, chosen epochs)
        return {"score": row_mean(errors).astype(np.float32)}
