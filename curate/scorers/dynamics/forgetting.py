"""Forgetting: how often a row that was right became wrong, high where a row is hard.

Toneva et al. 2019, "An Empirical Study of Example Forgetting during Deep Neural Network Learning"; official code mtoneva/example_forgetting.
"""

from typing import Final, Literal

import numpy as np

from curate.numerics import close_gaps
from curate.protocols import Columns, PerRow, Shard

# data_diet writes infinity; a store holds only finite numbers, and this is beyond any count.
NEVER_LEARNED_IS_INFINITE: Final = 1e6


class Forgetting(PerRow):
    """The number of presentations at which a row turned from right to wrong, (n,) float32; summed over seeds; high is hard, keep high.

    Reads `dynamics.correct`. A row that was never right scores its number of presentations (`convention="toneva"`, as the official code does), 1e6
    (`"inf"`, data_diet), or 0 (`"zero"`, as in CCS, D2 and DeepCore, which ranks mislabelled rows as the easiest; for faithful baselines only).
    Further columns: `never_learned`; `first_learned`, the presentations before the first right one (NaN: none was);
    `presentations_to_learn`, the presentations up to and with the last wrong one. No state, one pass over the run's files.
    """

    requires = ("dynamics.correct",)
    hard_sign = 1
    keep = "high"
    combine = "sum"

    def __init__(self, *, convention: Literal["toneva", "inf", "zero"] = "toneva") -> None:
        self.convention = convention

    def score_rows(self, shard: Shard) -> Columns:
        correct, count = close_gaps(shard["dynamics.correct"])  # (n, presentations); NaN past a row's last
        right, wrong = correct >= 0.5, correct < 0.5
        events = (right[:, :-1] & wrong[:, 1:]).sum(axis=1).astype(np.float32)
        never, seen = ~right.any(axis=1), count > 0
        unlearned = {"toneva": count, "inf": NEVER_LEARNED_IS_INFINITE, "zero": 0}[self.convention]
        last_wrong = correct.shape[1] - wrong[:, ::-1].argmax(axis=1)
        return {
            "score": _where(seen, np.where(never, unlearned, events)),
            "never_learned": never & seen,
            "first_learned": _where(~never, right.argmax(axis=1)),
            "presentations_to_learn": _where(seen, np.where(wrong.any(axis=1), last_wrong, 0)),
        }


def _where(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(known, values, np.nan).astype(np.float32)
