"""The data map: confidence against variability, one point a row; hovering shows the row, a drawn frame fills the gallery under it."""

from typing import Final

import numpy as np

from curate.rng import KeyedRandom
from curate.stages.report.cells import MOST_BYTES
from curate.stages.report.context import Context, Section

MOST_POINTS: Final = 5_000
ITS_SHARE: Final = 0.6  # of the page's room: galleries and suspects still follow


def section(context: Context) -> Section | None:
    scores = context.scores
    name = None if scores is None else next((n for n in scores.names if {"confidence", "variability"} <= set(scores.columns(n))), None)
    if scores is None or name is None:
        return None
    confidence, variability = scores[f"{name}.confidence"], scores[f"{name}.variability"]
    known = np.flatnonzero(~np.isnan(confidence))
    if not len(known):
        return None
    luck = KeyedRandom(0, "report").uniform(known)
    drawn = known[np.argsort(luck)[:MOST_POINTS]]  # in random order, so that those with content on the page are a fair part
    rows = context.cells.show(drawn, most_bytes=int(ITS_SHARE * MOST_BYTES))
    region = scores[f"{name}.region"]
    counts = {place: int((region == place).sum()) for place in ("easy", "ambiguous", "hard")}
    places = list(counts)
    data = {
        "rows": rows,
        "x": [round(float(v), 4) for v in variability[drawn]],
        "y": [round(float(v), 4) for v in confidence[drawn]],
        "region": [places.index(str(region[row])) if str(region[row]) in counts else -1 for row in drawn],
    }
    return Section(
        "Data map", "datamap.html", {"n": len(known), "drawn": len(rows), "counts": counts, "classes": context.label_names}, data
    )
