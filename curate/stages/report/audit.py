"""What an audit found: a line and a gallery a kind of problem, the classes, and the commands that follow."""

from typing import Any, Final

import numpy as np

from curate.stages.audit.findings import KINDS, Audit
from curate.stages.report.context import Context, Section

EACH: Final = 24
CLASSES: Final = 30
OWN_PLACE: Final = ("label_issue",)  # shown further down, with buttons to decide


def section(context: Context) -> Section | None:
    audit = context.audit
    if audit is None:
        return None
    kinds, shown = [], {}
    for kind, title in KINDS.items():
        if kind in audit.found:
            count = int(audit.found[kind].sum())
            if count and (kind not in OWN_PLACE or audit.issues is None):
                shown[kind] = context.cells.show(_rows(audit, kind))
            kinds.append({"key": kind, "title": title, "count": count, "note": audit.notes.get(kind, ""), "is_shown": kind in shown})
        elif kind in audit.skipped:
            kinds.append({"key": kind, "title": title, "count": None, "note": f"not checked: {audit.skipped[kind]}", "is_shown": False})
    values = {"kinds": kinds, "n": audit.n, "commands": audit.commands, "classes": _classes(audit), "most": EACH, "sets": _sets(audit)}
    return Section("What was found", "audit.html", values, shown)


def _rows(audit: Audit, kind: str) -> list[int]:
    """The rows to look at first, of a copy with the row that it copies in front."""
    order = audit.first.get(kind, np.flatnonzero(audit.found[kind]))
    kept = order if kind.endswith("duplicate") else order[audit.found[kind][order]]
    return [int(row) for row in kept[:EACH]]


def _sets(audit: Audit) -> list[dict[str, Any]]:
    """Of the rows that bear several labels the first issues: what each bears, and what it should not or should."""
    if audit.set_issues is None:
        return []
    rows = [row for row in _rows(audit, "label_issue") if audit.found["label_issue"][row]]
    said = audit.set_issues.in_words(np.array(rows, np.int64))
    return [{"row": row, **{name: words[i] for name, words in said.items()}} for i, row in enumerate(rows)]


def _classes(audit: Audit) -> list[dict[str, Any]]:
    found = sorted(audit.facts.get("classes", {}).items(), key=lambda item: -item[1])
    total = max(1, sum(count for _, count in found))
    shown = [*found[:CLASSES], *found[-3:]] if len(found) > CLASSES + 3 else found
    return [{"name": name, "count": count, "share": 100 * count / total} for name, count in shown]
