"""Labels that are probably wrong, with the label that the model would give, to be decided upon and exported as review.csv."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.stages.report.context import Context, Section

MOST: Final = 100


def section(context: Context) -> Section | None:
    issues = context.issues
    if issues is None or context.labels is None:
        return None
    rows = context.cells.show(issues.order[:MOST])
    judges = [name.replace("_", " ") for name in issues.doubts]
    values = {
        "used": ", ".join(name.replace("_", " ") for name in issues.names),
        "shown": len(rows),
        "suggests": issues.suggested is not None,
        "judges": judges,
        "doubted": len(issues.rows),
        "unanimous": int((issues.votes == issues.judges).sum()) if judges else 0,
    }
    data = {
        "rows": rows,
        "given": [int(context.labels[row]) for row in rows],
        "suggested": None if issues.suggested is None else [int(issues.suggested[row]) for row in rows],
        "suspicion": [round(float(issues.suspicion[row]), 4) for row in rows],
        "votes": [f"{issues.votes[row]} of {issues.judges}" for row in rows] if judges else None,
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
