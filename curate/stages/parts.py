"""`--shard I/N`: several processes fill one store, each with a manifest of its own, which the next command joins."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from curate.errors import OptionError, OtherJobError
from curate.locks import locked
from curate.store import MANIFEST, Store

PARTS: Final = "parts"
_WRITTEN: Final = re.compile(r"(\d{1,6})/(\d{1,6})")
_SETTINGS: Final = (("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"), ("RANK", "WORLD_SIZE", None))


@dataclass(frozen=True)
class Part:
    """The I-th of N processes, counted from 1. It does the shards whose numbers leave I-1 when divided by N."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Of "2/4", or "auto": of the task of a Slurm array, or the rank that torchrun gave; OptionError for anything else."""
        if text == "auto":
            return cls._of_environment()
        match = _WRITTEN.fullmatch(text.strip())
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise OptionError(f'--shard takes I/N with I from 1 to N, such as 2/4, or auto; got "{text}".')
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def _of_environment(cls) -> "Part":
        for index, count, least in _SETTINGS:
            if index in os.environ and count in os.environ:
                first = int(os.environ.get(least, "0")) if least else 0
                return cls(int(os.environ[index]) - first + 1, int(os.environ[count]))
        raise OptionError("--shard auto finds no Slurm array (SLURM_ARRAY_TASK_ID) and no torchrun (RANK). Write --shard I/N.")

    @property
    def name(self) -> str:
        return f"{self.index}-of-{self.of}"

    def has(self, shard: int) -> bool:
        return shard % self.of == self.index - 1


@contextmanager
def part_store(main: Store, part: Part) -> Iterator[Store]:
    """This process's own manifest, new or gone on with, under its lock. The shards that it names lie in the main store's folders."""
    path = main.path / PARTS / part.name
    with locked(path):
        if not (path / MANIFEST).is_file():
            yield Store.create(path, "part", dataset=main.dataset, job=main.job, settled=main.settled)
            return
        store = Store.open(path)
        if store.job != main.job or store.settled != main.settled:
            raise OtherJobError(f'"{path}" is of another job. Join it first: run the command without --shard.')
        yield store


def join(main: Store) -> list[str]:
    """Takes the shards of all parts over into the store and lets the parts go; OtherJobError where one is still being written.

    A kill on the way leaves parts that are taken over again, which changes nothing.
    """
    folder = main.path / PARTS
    joined = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        with locked(path):
            if (path / MANIFEST).is_file():
                _take_over(main, Store.open(path))
                joined.append(path.name)
            shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):  # not there, or a part has just begun
        folder.rmdir()
    return joined


def _take_over(main: Store, part: Store) -> None:
    if part.dataset != main.dataset or part.job != main.job:
        raise OtherJobError(f'"{part.path}" is a part of another job. Delete it, or start anew with --overwrite.')
    for table in part.tables:
        main.describe(table, part.about(table))
        main.enter(table, *part.files(table))
    main.take_log(part)
