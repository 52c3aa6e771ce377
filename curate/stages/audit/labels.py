"""Label issues: where a linear probe that never saw the row and the row's neighbours say the same, and it is not the label."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.index.graph import Graph
from curate.index.linear_probe import out_of_fold
from curate.topk import average_ranks

NEIGHBOURS: Final = 10
DOUBTED: Final = 0.1  # probability of the label, at most
AGREED: Final = 0.6  # share of the neighbours, at least, that bear the label that the probe gives
ALONE: Final = 0.3  # share of the neighbours, at most, that bear the label itself
FEWEST: Final = 50  # labelled rows, below which there is nothing to learn from


@dataclass(frozen=True, eq=False)
class LabelCheck:
    """`is_issue`, (n,); `suspicion`, (n,) 0 … 1 with 1 the likeliest error, NaN without a label or vector; the probe's `probabilities`.

    `accuracy` is how often the probe gives the label, `neighbours` how often half of the neighbours or more bear it.
    """

    is_issue: NDArray[np.bool_]
    suspicion: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    accuracy: float
    neighbours: float


def check_labels(vectors: NDArray[Any], labels: NDArray[np.int64], classes: int, graph: Graph, seed: int) -> LabelCheck:
    """Costs the probe and a look at ten neighbours a row."""
    p = out_of_fold(vectors, labels, classes, seed)
    known = np.flatnonzero((labels >= 0) & np.isfinite(p[:, 0]))
    own, given = p[known, labels[known]].astype(np.float64), labels[known]
    other = p[known].argmax(axis=1)
    near = graph.rows[known, :NEIGHBOURS]
    theirs = np.where(near >= 0, labels[near], -1)
    count = np.maximum((theirs >= 0).sum(axis=1), 1)
    same, suggested = ((theirs == of[:, None]).sum(axis=1) / count for of in (given, other))
    issue = (other != given) & (own < DOUBTED) & (suggested >= AGREED) & (same <= ALONE)
    rank = (average_ranks(1 - own) + average_ranks(1 - same)) / 2
    is_issue, suspicion = np.zeros(len(labels), np.bool_), np.full(len(labels), np.nan)
    is_issue[known] = issue
    # What is called an issue comes before all that is not.
    suspicion[known] = (rank / max(1.0, rank.max()) + issue) / 2
    return LabelCheck(is_issue, suspicion, p, float((other == given).mean()), float((same >= 0.5).mean()))
