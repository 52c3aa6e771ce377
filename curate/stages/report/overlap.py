"""How far the scores agree: rank correlation, and how much of their hardest tenth they share."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.rng import KeyedRandom
from curate.stages.report.context import Context, Section, hard_rank

MOST_ROWS: Final = 200_000
HARDEST: Final = 0.1


def section(context: Context) -> Section | None:
    scores = context.scores
    names = [] if scores is None else [name for name in scores.names if _tells(scores[name])]
    if scores is None or len(names) < 2:
        return None
    ranks = np.stack([hard_rank(scores, name) for name in names])  # (scores, n)
    if ranks.shape[1] > MOST_ROWS:
        ranks = ranks[:, np.argsort(KeyedRandom(0, "overlap").uniform(np.arange(ranks.shape[1])))[:MOST_ROWS]]
    with np.errstate(invalid="ignore"):  # of the rows looked at, too, a score may be everywhere the same
        correlation = np.atleast_2d(np.nan_to_num(np.corrcoef(ranks)))
    k = max(1, int(HARDEST * ranks.shape[1]))
    hardest = np.zeros(ranks.shape, np.float32)
    np.put_along_axis(hardest, np.argpartition(-ranks, k - 1, axis=1)[:, :k], 1.0, axis=1)
    shared = hardest @ hardest.T / k
    lines = [
        {"name": name, "cells": [{"correlation": float(correlation[i, j]), "shared": float(shared[i, j])} for j in range(len(names))]}
        for i, name in enumerate(names)
    ]
    return Section("How far the scores agree", "overlap.html", {"names": names, "lines": lines})


def _tells(score: NDArray[np.floating]) -> bool:
    """Whether some rows have another value than others: a score that is everywhere the same correlates with nothing."""
    known = score[~np.isnan(score)]
    return bool(len(known)) and known.min() < known.max()
