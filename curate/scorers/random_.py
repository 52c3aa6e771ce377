"""Random: a number a row that knows nothing, the baseline of every comparison."""

from curate.protocols import Columns, PerRow, Shard
from curate.rng import KeyedRandom


class Random(PerRow):
    """Uniform in (0, 1), keyed by (seed, row), (n,) float32; says nothing about hardness. Costs nothing."""

    def score_rows(self, shard: Shard) -> Columns:
        return {"score": KeyedRandom(shard.seed, "random").uniform(shard.rows).astype("float32")}
