"""How each score is spread, by class."""

import numpy as np

from curate.cards import told
from curate.stages.report.context import CLASSES_SHOWN, Context, Section
from curate.stages.report.drawing import stacked_histogram


def section(context: Context) -> Section | None:
    scores = context.scores
    if scores is None:
        return None
    names = context.label_names if 0 < len(context.label_names) <= CLASSES_SHOWN else ()
    drawn = []
    for name in scores.names:
        values = scores[name]
        known = np.flatnonzero(~np.isnan(values) & ((context.labels >= 0) if names and context.labels is not None else True))
        if len(known):
            groups = context.labels[known] if names and context.labels is not None else None
            bars, ticks = stacked_histogram(values[known].astype(np.float64), groups, names)
            facts = told(scores.about(name).get("result", {}).get("facts", {}))
            drawn.append({"name": name, "bars": bars, "ticks": ticks, "keep": scores.keep(name), "facts": facts})
    return Section("How the scores are spread", "histograms.html", {"drawn": drawn, "classes": names}) if drawn else None
