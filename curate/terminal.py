"""What a person sees in a terminal: progress bars with rate and time left, notes on stderr, small aligned tables."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from curate.progress import Progress, Silent, Task


class Terminal:
    """Bars on stderr by rich; each task is one bar, and notes appear above it."""

    def __init__(self) -> None:
        self._live: Any = None

    @contextmanager
    def task(self, name: str, total: int, unit: str = "rows") -> Iterator[Task]:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = ("{task.description}", BarColumn(), "{task.percentage:>3.0f}%", TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        with Bars(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bars:
            self._live = bars
            yield _Bar(bars, bars.add_task(name, total=max(1, total), rate=""), unit)
            self._live = None

    def note(self, message: str) -> None:
        if self._live is not None:
            self._live.console.print(f"Note: {message}", markup=False, highlight=False)
        else:
            print(f"Note: {message}", file=sys.stderr)  # noqa: T201  # the terminal is this module's whole purpose


class _Bar:
    def __init__(self, bars: Any, task: Any, unit: str) -> None:
        self._bars, self._task, self._unit = bars, task, unit

    def advance(self, amount: int = 1) -> None:
        task = self._bars.tasks[self._bars.task_ids.index(self._task)]
        self._bars.update(self._task, advance=amount, rate=f"{task.speed:,.0f} {self._unit}/s" if task.speed else "")


class Notes(Silent):
    """No bars, but notes on stderr: for scripts and logs."""

    def task(self, name: str, total: int, unit: str = "rows") -> AbstractContextManager[Task]:
        return super().task(name, total, unit)

    def note(self, message: str) -> None:
        print(f"Note: {message}", file=sys.stderr)  # noqa: T201  # the terminal is this module's whole purpose


def progress_for(quiet: bool) -> Progress:
    """Bars where a person watches, else notes alone; nothing but the log when quiet."""
    if quiet:
        return Silent()
    return Terminal() if sys.stderr.isatty() else Notes()


def columns(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Aligned columns; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    right = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def _is_number(cell: object) -> bool:
    return (
        isinstance(cell, int | float)
        or str(cell).replace(",", "").replace(".", "").replace("%", "").lstrip("-").isdigit()
        or cell in ("", "-")
    )
