"""What follows from vectors and can be made again is kept beside them, under a name that follows from the vectors themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import xxhash

from curate.index.vectors import BLOCK, Placed, Vectors

WORTH: Final = 5000  # rows from which finding neighbours anew takes longer than reading a file


@dataclass
class Keeper:
    """Where things are kept (None: nowhere), and what a sampler has to say about how it went, for the report."""

    folder: Path | None
    notes: list[str] = field(default_factory=list)


_KEEPER: ContextVar[Keeper | None] = ContextVar("keeper", default=None)


@contextmanager
def keeping(folder: Path | None) -> Iterator[Keeper]:
    """Within it, graphs and indexes come from and go to `folder`. Its files are caches: each may be deleted, a damaged one is made anew."""
    keeper = Keeper(folder)
    token = _KEEPER.set(keeper)
    try:
        yield keeper
    finally:
        _KEEPER.reset(token)


def note(text: str) -> None:
    keeper = _KEEPER.get()
    if keeper is not None and text not in keeper.notes:
        keeper.notes.append(text)


def place(kind: str, vectors: Vectors | Placed, *facts: object) -> Path | None:
    """The file for what follows from these vectors and facts; None where nothing is kept."""
    keeper = _KEEPER.get()
    if keeper is None or keeper.folder is None or len(vectors) < WORTH:
        return None
    digest = xxhash.xxh3_128()
    for start in range(0, len(vectors), BLOCK):
        digest.update(np.ascontiguousarray(vectors[start : start + BLOCK]).data.cast("B"))
    digest.update("\0".join(map(str, (vectors.shape, *facts))).encode())
    return keeper.folder / f"{kind}-{digest.hexdigest()}"
