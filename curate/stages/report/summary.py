"""The first thing on the page: what was found, in words."""

import numpy as np

from curate.stages.audit.findings import DROPPED
from curate.stages.report.context import Context, Section
from curate.stages.report.suspects import likely_wrong
from curate.synthetic import RANDOM


def section(context: Context) -> Section | None:
    lines = [
        line
        for line in (
            _about(context),
            _audited(context),
            *_distilled(context),
            _scored(context),
            _wrong(context),
            _kept(context),
            *_paid(context),
        )
        if line
    ]
    return Section("In short", "summary.html", {"lines": lines})


def _about(context: Context) -> str:
    scores, selection, comparison = context.scores, context.selection, context.comparison
    stores = (part.store for part in (scores, comparison, context.distilled) if part is not None)
    store = next(stores, None)
    about = store.dataset if store is not None else selection.dataset_about if selection is not None else {}
    labelled = f", labels in “{about['label']}”" if about.get("label") else ""
    classes = f", {len(context.label_names)} classes" if context.label_names else ""
    missing = (
        ""
        if context.data is not None or context.distilled is not None
        else " The rows themselves are not shown: name their source with --data."
    )
    return f"{about['rows']:,} rows of {about['modality'].replace('_', ' ')} data{labelled}{classes}.{missing}"


def _audited(context: Context) -> str:
    audit = context.audit
    if audit is None:
        return ""
    problem, sure = (int(audit.any_of(kinds).sum()) for kinds in (tuple(audit.found), DROPPED))
    if not problem:
        return "No problem was found."
    gone = f"; {sure:,} of them are empty, copies or test rows, which the first command below leaves out" if sure else ""
    return f"{problem:,} rows, {problem / max(1, audit.n):.1%}, have a problem{gone}. The others want a look: they are shown below."


def _distilled(context: Context) -> list[str]:
    """Whether the set beats random rows of as many bytes, for each architecture and kind of labels."""
    if context.distilled is None:
        return []
    lines = []
    for one in context.distilled.summary()["results"]:
        found = one.get("minus", {}).get(RANDOM)
        if found is not None:
            sure = (
                "one network: no verdict"
                if found["low"] is None
                else f"{found['verdict']}, {100 * found['low']:+.1f} … {100 * found['high']:+.1f}"
            )
            about = f"The distilled set with {one['labels']} labels, tested by {one['network']}, minus random rows of as many bytes"
            lines.append(f"{about}: {100 * found['mean']:+.1f} points ({sure}).")
    return lines


def _scored(context: Context) -> str:
    scores = context.scores
    if scores is None or context.audit is not None:
        return ""
    run = (
        f" from one training run ({context.runs[0].store.job.get('model') or 'recorded'}, {context.runs[0].epochs} epochs)"
        if context.runs
        else ""
    )
    unscored = {name: sum(scores.failed(name).values()) for name in scores.names}
    worst = max(unscored, key=lambda name: unscored[name], default=None)
    failed = f" {unscored[worst]:,} rows have no {worst}." if worst is not None and unscored[worst] else ""
    return f"Scored by {', '.join(scores.names)}{run}.{failed}"


def _wrong(context: Context) -> str:
    rows, how = likely_wrong(context)
    if rows is None:
        return ""
    share = len(rows) / max(1, len(context.scores or ()))
    if not len(rows):
        return f"The model contradicts no label ({how})."
    return f"The model contradicts {len(rows):,} labels, {share:.1%} ({how}). The likeliest errors are below, to be looked at."


def _kept(context: Context) -> str:
    if context.selection is None:
        return ""
    report, job = context.selection.report, context.selection.job
    by = f" by {job['by']}" if job.get("by") else ""
    how = f"{job['sampler']}{by}" if job.get("sampler") else "a filter"
    emptied = [name for name, (kept, of) in report.get("classes", {}).items() if of and not kept]
    gone = f" Nothing is left of {', '.join(emptied[:5])}{' and others' if len(emptied) > 5 else ''}." if emptied else ""
    return f"The selection keeps {report['kept']:,} of {report['of']:,} rows, chosen by {how}.{gone}"


def _paid(context: Context) -> list[str]:
    if context.comparison is None:
        return []
    lines = []
    for arm in context.comparison.summary()["arms"]:
        minus = arm.get("minus_random") or {}
        if arm.get("verdict") and minus.get("mean") is not None:
            half = (minus["high"] - minus["low"]) / 2
            lines.append(f"{arm['arm']} is {arm['verdict']}: {100 * minus['mean']:+.1f} ± {100 * half:.1f} points of accuracy.")
        elif arm["kind"] == "selection" and minus.get("mean") is not None and np.isfinite(minus["mean"]):
            lines.append(f"{arm['arm']}: {100 * minus['mean']:+.1f} points against random, of one seed: no verdict.")
    return lines
