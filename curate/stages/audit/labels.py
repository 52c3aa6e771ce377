"""Label issues: where a linear probe that never saw the row and the row's neighbours say the same, and it is not the label."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.index.graph import Graph
from curate.index.label_neighbours import disagreement
from curate.index.linear_probe import out_of_fold
from curate.label_issues import DOUBTED, LabelIssues, Vote, consensus, likeliest_other, votes_of_probabilities

NEIGHBOURS: Final = 10
AGREED: Final = 0.6  # share of the neighbours, at least, that bear the label that the probe gives
ALONE: Final = 0.3  # share of the neighbours, at most, that bear the label itself
FEWEST: Final = 50  # labelled rows, below which there is nothing to learn from


@dataclass(frozen=True, eq=False)
class LabelCheck:
    """`is_issue`, (n,); `issues`, what confident learning, the probe and the neighbours say together; the probe's `probabilities`.

    `accuracy` is how often the probe gives the label, `neighbours` how often half of the neighbours or more bear it.
    """

    is_issue: NDArray[np.bool_]
    issues: LabelIssues
    probabilities: NDArray[np.float32]
    accuracy: float
    neighbours: float


def check_labels(
    vectors: NDArray[Any], labels: NDArray[np.int64], classes: int, graph: Graph, seed: int, shapley: NDArray[Any]
) -> LabelCheck:
    """Costs the probe and a look at ten neighbours a row; `shapley` are the KNN-Shapley values, (n,)."""
    p = out_of_fold(vectors, labels, classes, seed)
    known = np.flatnonzero((labels >= 0) & np.isfinite(p[:, 0]))
    own, given = p[known, labels[known]].astype(np.float64), labels[known]
    other = p[known].argmax(axis=1)
    near = graph.rows[:, :NEIGHBOURS]
    theirs = np.where(near >= 0, labels[near], -1)
    count = np.maximum((theirs[known] >= 0).sum(axis=1), 1)
    same, suggested = ((theirs[known] == of[:, None]).sum(axis=1) / count for of in (given, other))
    is_issue = np.zeros(len(labels), np.bool_)
    is_issue[known] = (other != given) & (own < DOUBTED) & (suggested >= AGREED) & (same <= ALONE)
    differs, value = disagreement(theirs, labels), shapley.astype(np.float64)
    votes = [
        *votes_of_probabilities(p, labels),
        Vote("knn_disagreement", differs, differs > 0.5),
        Vote("knn_shapley", -value, value < 0),
    ]
    issues = consensus(votes, likeliest_other(p, labels))
    return LabelCheck(is_issue, issues, p, float((other == given).mean()), float((same >= 0.5).mean()))
