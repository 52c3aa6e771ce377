"""A person's decisions about labels: the review.csv of the report's page, read, checked and applied to a selection."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash

from curate.data import Dataset
from curate.errors import ColumnError, InputError, did_you_mean
from curate.selection import Selection, table_of

COLUMNS: Final = ("row", "given", "suggested", "decision")
DECISIONS: Final = ("fix", "drop", "keep")


@dataclass(frozen=True)
class Decisions:
    """Rows to drop, rows whose label becomes another (row → its name), how many stay as they are, and the file's hash."""

    dropped: frozenset[int]
    fixed: Mapping[int, str]
    kept: int
    digest: str

    def about(self) -> dict[str, Any]:
        """What a manifest and a card say of them."""
        return {"dropped": len(self.dropped), "fixed": len(self.fixed), "kept": self.kept, "digest": self.digest}


def read_decisions(path: str | Path, data: Dataset) -> Decisions:
    """Reads a csv with row, given, suggested and decision (fix, drop or keep) against the data that it is about.

    InputError that names the line where a row is out of range or comes twice, where `given` is not the row's label, where a fix
    suggests no class that there is, and for any other decision; ColumnError for other columns. Lines without a decision are passed over.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f'Decisions file "{file}" does not exist. The report\'s page exports one: review.csv.')
    dropped, fixed, kept, seen = set[int](), dict[int, str](), 0, dict[int, int]()
    names = set(data.label_names)
    labels = data.labels
    for line, cells in _lines(file):
        decision = cells["decision"].strip().lower()
        if not decision:
            continue
        row = _row(cells["row"], len(data), line, file)
        if row in seen:
            raise InputError(f'Line {line} of "{file}" decides on row {row} once more; line {seen[row]} has already. Keep one of them.')
        seen[row] = line
        given = data.label_names[labels[row]] if labels[row] >= 0 else "–"
        if cells["given"] != given:
            raise InputError(
                f'Line {line} of "{file}" says that row {row} is labelled "{cells["given"]}", but it is "{given}". '
                "Is it of another dataset?"
            )
        if decision == "drop":
            dropped.add(row)
        elif decision == "fix":
            if cells["suggested"] not in names:
                hint = did_you_mean(cells["suggested"], names)
                raise InputError(f'Line {line} of "{file}" gives row {row} the label "{cells["suggested"]}", which no class has.{hint}')
            fixed[row] = cells["suggested"]
        elif decision == "keep":
            kept += 1
        else:
            hint = did_you_mean(decision, DECISIONS)
            raise InputError(f'Line {line} of "{file}" decides "{decision}"; fix, drop or keep is expected.{hint}')
    return Decisions(frozenset(dropped), fixed, kept, xxhash.xxh3_64_hexdigest(file.read_bytes()))


def apply(decisions: Decisions, selection: Selection) -> Selection:
    """The selection without the dropped rows and with the labels of the others put right; decisions on rows outside it change nothing."""
    stays = ~np.isin(selection.rows, np.fromiter(decisions.dropped, np.int64, len(decisions.dropped)))
    if not stays.any():
        raise InputError("The decisions drop every row of the selection.")
    table = selection.table.filter(stays)
    order = np.argsort(np.argsort(selection.order[stays], kind="stable"), kind="stable")
    report = {**selection.report, "kept": int(stays.sum()), "decisions": decisions.about()}
    report.pop("classes", None)  # they are those of the labels before
    job = {**selection.job, "decisions": decisions.about()}
    return replace(selection, table=table_of(table, order), report=report, job=job, fixes=dict(decisions.fixed))


def _lines(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with open(file, encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                there = ", ".join(reader.fieldnames or ()) or "none"
                raise ColumnError(f'"{file}" has the columns {there}; {", ".join(COLUMNS)} are expected.')
            for cells in reader:
                yield reader.line_num, {name: cells.get(name) or "" for name in COLUMNS}
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'"{file}" does not read as csv ({error}). Export it from the report\'s page again.') from error


def _row(text: str, n: int, line: int, file: Path) -> int:
    try:
        row = int(text)
    except ValueError:
        raise InputError(f'Line {line} of "{file}" has the row "{text}"; a whole number is expected.') from None
    if not 0 <= row < n:
        raise InputError(f'Line {line} of "{file}" has row {row}; the dataset has rows 0 … {n - 1}. Is it of another dataset?')
    return row
