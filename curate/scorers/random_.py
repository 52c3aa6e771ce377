"""Random: a number for each row that says nothing about it, the baseline that every other score has to beat."""

import numpy as np

from curate.protocols import Columns, PerRow, Shard
from curate.rng import KeyedRandom


class Random(PerRow):
    """A uniform random number in 0 … 1, keyed by the seed and the row; says nothing about hardness.

    Reads no signal, so it costs nothing. (n,) float32, never NaN, the same however the rows were cut into shards.
    """

    requires = ()
    hard_sign = 0
    keep = "high"

    def score_rows(self, shard: Shard) -> Columns:
        return {"score": KeyedRandom(shard.seed, "random").uniform(shard.rows).astype(np.float32)}
