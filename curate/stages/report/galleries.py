"""The rows at both ends of every score."""

from typing import Final

import numpy as np

from curate.stages.report.context import Context, Section

EACH: Final = 24


def section(context: Context) -> Section | None:
    scores = context.scores
    if scores is None or not scores.names:
        return None
    values, data = [], {}
    for name in scores.names:
        score, about = scores[name], scores.about(name)
        known = np.flatnonzero(~np.isnan(score))
        if not len(known) or score[known].min() == score[known].max():  # a score that is everywhere the same has no ends
            continue
        order = known[np.argsort(score[known], kind="stable")]
        ends = {"low": order[:EACH], "high": order[::-1][:EACH]}
        hard = {1: "high", -1: "low"}.get(about["hard_sign"])
        words = {
            end: f"{'highest' if end == 'high' else 'lowest'}{', hard' if end == hard else ', kept' if end == about['keep'] else ''}"
            for end in ends
        }
        values.append({"name": name, "words": words})
        data[name] = {
            end: {"rows": context.cells.show(rows), "score": [float(f"{v:.4g}") for v in score[rows]]} for end, rows in ends.items()
        }
    return Section("Both ends of every score", "galleries.html", {"scores": values}, data) if values else None
