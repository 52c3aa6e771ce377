"""Gini impurity as a scorer of its own package: this file and four lines of pyproject.toml are all there is."""

from curate.protocols import Columns, PerRow, Shard


class Gini(PerRow):
    """Gini impurity of the final prediction, (n,) float32, 0 … 1; high is hard."""

    requires = ("probs.final",)
    hard_sign = 1
    keep = "high"

    def score_rows(self, shard: Shard) -> Columns:
        p = shard["probs.final"]  # (n, classes)
        return {"score": (1 - (p * p).sum(axis=1)).astype("float32")}
