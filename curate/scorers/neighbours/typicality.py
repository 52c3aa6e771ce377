"""Typicality: how close a row's neighbours are.

Hacohen et al. 2022, "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets"; official code avihu111/TypiClust.
"""

import numpy as np

from curate.protocols import Columns, PerRow, Shard
from curate.scorers.neighbours.options import check_neighbours


class Typicality(PerRow):
    """One over the mean distance to the `k` nearest rows; high is typical, low an outlier. Column `distance` is that mean.

    Euclidean neighbours from --embeddings. Like the official code we add 1e-5 to the distance, so that a row among its own
    copies has a finite score. The paper takes 20 neighbours within the row's cluster; ours are of the whole set. NaN without a vector.
    """

    hard_sign = -1
    keep = "high"

    def __init__(self, *, k: int = 20) -> None:
        check_neighbours("typicality", k)
        self.k = k
        self.requires = (f"neighbours.distance@{k}",)

    def score_rows(self, shard: Shard) -> Columns:
        distance = shard[self.requires[0]].astype(np.float64)
        count = np.isfinite(distance).sum(axis=1)
        mean = np.where(count > 0, np.nansum(distance, axis=1) / np.maximum(count, 1), np.nan)
        return {"score": (1 / (mean + 1e-5)).astype(np.float32), "distance": mean.astype(np.float32)}
