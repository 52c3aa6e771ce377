"""Evaluation sets that the rows repeat word for word, and rows that a model knows by heart."""

from typing import Final

from curate.stages.contamination import found, worst
from curate.stages.report.context import Context, Section

EACH: Final = 24


def section(context: Context) -> Section | None:
    picked = context.selection.rows if context.selection is not None else None
    records = found(context.scores, picked)
    if context.scores is None or not records:
        return None
    shown = {f"worst{i}": context.cells.show(worst(context.scores, one["score"], EACH)) for i, one in enumerate(records)}
    return Section("Contamination", "contamination.html", {"records": records, "has_kept": picked is not None}, shown)
