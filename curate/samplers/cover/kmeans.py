"""k-means: every cluster of rows gives its share.

Clustering before sampling is common ground; as a baseline of coreset selection Sorscher et al. 2022, "Beyond neural scaling laws: beating
power law scaling via data pruning" and Yu et al. 2024, "Diversify and Conquer"; official code for-ai/iterative-data-selection.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget, power
from curate.draws import best_per_bin
from curate.errors import OptionError
from curate.index.kmeans import default_clusters, kmeans, kmeans_work
from curate.index.kmeans import memory as clustered_in
from curate.index.vectors import Metric, Placed
from curate.pool import wanted_score
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom

Within = Literal["random", "nearest", "farthest", "score"]


class KMeans:
    """Clusters the rows and takes a share of the budget from each cluster; clusters take turns, each row of weight 1.

    Reads `embedding`, (n, d), and `score` with `within=score`. `clusters=None` is √n of them. A cluster's share is in proportion to
    size**`power`: 1 keeps proportions, 0 gives the same to each, ½ lies between. In a cluster rows are drawn by key (`random`), the
    `nearest` to or `farthest` from its centroid come first, or those with the best `score`; ties go to the lower row.
    Cost 2·n·K·d a round of k-means; memory that of the rows trained on, 256·K·d numbers, not of all.
    """

    requires: Sequence[str] = ("embedding",)
    version = 2

    def __init__(self, *, clusters: int | None = None, power: float = 1.0, within: Within = "random", metric: Metric = "cosine") -> None:
        if clusters is not None and clusters < 1:
            raise OptionError(f"kmeans: clusters must be 1 or more, got {clusters}.")
        if not 0 <= power <= 1:
            raise OptionError(f"kmeans: power must lie between 0 (equal shares) and 1 (in proportion to size), got {power}.")
        self.clusters, self.power = clusters, power
        self.within: Within = within
        self.metric: Metric = metric
        self.requires = ("embedding", "score") if within == "score" else ("embedding",)

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        found = kmeans(Placed(pool["embedding"], self.metric), self.clusters or default_clusters(len(pool)), rng)
        if self.within == "score":
            first = wanted_score(pool)
        elif self.within == "random":
            first = rng.uniform(pool.rows)
        else:
            first = found.square if self.within == "farthest" else -found.square
        return best_per_bin(first, found.of, power(found.sizes, k, self.power)), np.ones(k)

    def work(self, n: int, d: int, k: int) -> float:
        return kmeans_work(n, d, self.clusters or default_clusters(n))

    def memory(self, n: int, d: int, k: int) -> int:
        return clustered_in(n, d, self.clusters or default_clusters(n)) + 64 * n
