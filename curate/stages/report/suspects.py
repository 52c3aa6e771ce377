"""Labels that are probably wrong, with the label that the model would give, to be decided upon and exported as review.csv."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.stages.report.context import Context, Section

MOST: Final = 100


def section(context: Context) -> Section | None:
    if context.suspicion is None or context.labels is None:
        return None
    suspicion, used = context.suspicion
    order = np.argsort(-suspicion, kind="stable")
    order = order[(context.labels[order] >= 0) & ~np.isnan(suspicion[order])]
    suggested = _suggested(context)
    rows = context.cells.show(order[:MOST])
    values = {
        "used": ", ".join(used),
        "shown": len(rows),
        "suggests": suggested is not None,
    }
    data = {
        "rows": rows,
        "given": [int(context.labels[row]) for row in rows],
        "suggested": None if suggested is None else [int(suggested[row]) for row in rows],
        "suspicion": [round(float(suspicion[row]), 4) for row in rows],
    }
    return Section("Labels that are probably wrong", "suspects.html", values, data)


def likely_wrong(context: Context) -> tuple[NDArray[np.int64] | None, str]:
    """The rows whose label the model contradicts, by the margin (AUM below 0) or by the mean probability (below ½); and that, in words."""
    scores = context.scores
    if scores is None or context.labels is None:
        return None, ""
    for method, border, words in (("aum", 0.0, "AUM below 0"), ("datamap", 0.5, "mean probability below ½")):
        name = next((name for name in scores.names if scores.about(name)["method"] == method), None)
        if name is not None:
            return np.flatnonzero((scores[name] < border) & (context.labels >= 0)), words
    return None, ""


def _suggested(context: Context) -> NDArray[np.int64] | None:
    """The likeliest class other than the given one, (n,)."""
    p = context.probabilities
    if p is None or context.labels is None:
        return None
    rest = np.nan_to_num(p.astype(np.float32, copy=True), nan=-1.0)
    known = np.flatnonzero(context.labels >= 0)
    rest[known, context.labels[known]] = -1.0
    return np.asarray(rest.argmax(axis=1))
