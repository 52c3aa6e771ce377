"""How long work tells that it goes on: the stages report to a `Progress`, the command line decides what is shown."""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

logger = logging.getLogger(__name__)


class Task(Protocol):
    """One bar; `advance` after each piece of work, by as many units as it held."""

    def advance(self, amount: int = 1) -> None: ...


class Progress(Protocol):
    """Where stages report: bars for long work, notes for what is worth a line on stderr."""

    def task(self, name: str, total: int, unit: str = "rows") -> AbstractContextManager[Task]: ...

    def note(self, message: str) -> None: ...


class _SilentTask:
    def advance(self, amount: int = 1) -> None:
        """Nobody watches."""


class Silent:
    """No bars; notes go to the log. What the Python API uses unless told otherwise."""

    def task(self, name: str, total: int, unit: str = "rows") -> AbstractContextManager[Task]:
        return nullcontext(_SilentTask())

    def note(self, message: str) -> None:
        logger.warning("%s", message)
