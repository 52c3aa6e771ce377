"""What a selection keeps and drops: shares by class, and rows of both kinds."""

from typing import Final

import numpy as np

from curate.rng import KeyedRandom
from curate.stages.report.context import CLASSES_SHOWN, Context, Section

EACH: Final = 24


def section(context: Context) -> Section | None:
    selection = context.selection
    if selection is None:
        return None
    n = int(selection.dataset_about["rows"])
    dropped = np.setdiff1d(np.arange(n), selection.rows)
    luck = KeyedRandom(0, "report-selection")
    ends = {
        "first": selection.rows[np.argsort(selection.order, kind="stable")[:EACH]],
        "dropped": dropped[np.argsort(luck.uniform(dropped))[:EACH]],
    }
    classes = [
        {"name": name, "kept": kept, "of": of, "share": kept / of}
        for name, (kept, of) in list(selection.report.get("classes", {}).items())[:CLASSES_SHOWN]
        if of
    ]
    values = {
        "report": selection.report,
        "classes": classes,
        "more_classes": max(0, len(selection.report.get("classes", {})) - CLASSES_SHOWN),
        "command": selection.command,
        "has_order": bool(selection.job.get("sampler")),
    }
    return Section("Kept and dropped", "selection.html", values, {end: context.cells.show(rows) for end, rows in ends.items()})
