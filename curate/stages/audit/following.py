"""The commands that follow from what an audit found, as one would type them."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from curate.stages.audit.findings import DROPPED, FINDINGS, Audit

_UNLIKE: Final = {"odd": "odd", "outlier": "far from all others"}


def next_steps(found: Audit, source: str, folder: Path) -> list[tuple[str, str]]:
    """What to do next, each with what it will keep; names are those of the columns in findings.parquet."""
    counts = found.counts()
    gone = [kind for kind in DROPPED if counts.get(kind)]
    table, clean = folder / FINDINGS, shlex.quote(f"{folder}-clean")
    kept = found.facts["left"]
    if not kept:  # nothing to train on, so nothing to run
        return []
    made = []
    if gone:
        made.append((f"keep {kept:,} of {found.n:,} rows: no {_words(gone)}", _select(source, table, gone, clean)))
    doubted = counts.get("label_issue", 0)
    left = int((~found.any_of([*gone, "label_issue"])).sum())
    if doubted and left:
        labels = f"the {counted(doubted, 'doubtful label')}{' too' if gone else ''} (look at the page first)"
        strict = shlex.quote(f"{folder}-strict")
        made.append((f"keep {left:,} of {found.n:,}: without {labels}", _select(source, table, [*gone, "label_issue"], strict)))
    unlike = [kind for kind in ("odd", "outlier") if counts.get(kind)]
    if unlike:
        strange = int(found.any_of(unlike).sum())
        named = f"{'is' if strange == 1 else 'are'} {' or '.join(_UNLIKE[kind] for kind in unlike)}"
        why = f"the {counted(strange, 'row')} that {named}, to look at"
        made.append((why, _select(source, table, unlike, shlex.quote(f"{folder}-unlike"), wanted=True)))
    if found.probabilities is not None:
        trained = shlex.quote(f"{folder}-dynamics")
        listed = f"-o {shlex.quote(f'{folder}-labels.html')} --issues {shlex.quote(f'{folder}-labels.csv')}"
        made += [
            (
                "ask a trained model about the labels as well",
                f"curate score {source} --scorer aum --scorer datamap --scorer confident --out {trained}",
            ),
            ("and list what it doubts", f"curate report {trained} --data {source} {listed}"),
        ]
    if gone and found.probabilities is not None and kept > found.n // 10:
        made.append(
            (
                f"whether {kept:,} rows train as well as all {found.n:,}",
                f"curate compare {source} {clean} --out {shlex.quote(f'{folder}-compared')}",
            )
        )
    if not gone and "outlier" not in found.skipped:
        vectors, few = shlex.quote(str(folder / "embeddings")), shlex.quote(f"{folder}-half")
        made.append(
            (
                "nothing has to go; the half that stands for the rest",
                f"curate select {source} --embeddings {vectors} --sampler facility_location --budget 50% --out {few}",
            )
        )
    return made


def _select(source: str, table: Path, kinds: Sequence[str], out: str, *, wanted: bool = False) -> str:
    """The command that leaves these kinds out, or takes them alone."""
    where = " or ".join(f"{kind} == 1" for kind in kinds) if wanted else " and ".join(f"{kind} == 0" for kind in kinds)
    return f'curate select {source} --scores {shlex.quote(str(table))} --where "{where}" --out {out}'


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _words(kinds: Sequence[str]) -> str:
    named = {"empty": "empty rows", "exact_duplicate": "copies", "near_duplicate": "near copies", "leak": "rows of the test set"}
    return ", ".join(named[kind] for kind in kinds)
