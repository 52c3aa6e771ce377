"""kNN disagreement: the share of a row's neighbours that bear another label.

Wilson 1972, "Asymptotic Properties of Nearest Neighbor Rules Using Edited Data", as a score rather than a rule.
"""

import numpy as np

from curate.index.label_neighbours import disagreement
from curate.protocols import Columns, PerRow, Shard
from curate.scorers.neighbours.options import check_neighbours


class KNNDisagreement(PerRow):
    """The share of the `k` nearest rows whose label differs, 0 … 1; high is hard, and near 1 the label is probably wrong.

    Euclidean neighbours from --embeddings, the row itself left out. Neighbours without a label do not count; a row without a
    label or vector scores NaN. Costs the shared graph of neighbours, n²·d once, and nothing more.
    """

    hard_sign = 1
    keep = "low"

    def __init__(self, *, k: int = 10) -> None:
        check_neighbours("knn_disagreement", k)
        self.k = k
        self.requires = (f"neighbours.label@{k}", "label")

    def score_rows(self, shard: Shard) -> Columns:
        return {"score": disagreement(shard[self.requires[0]], shard["label"]).astype(np.float32)}
