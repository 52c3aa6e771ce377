"""Neighbours that were found once are kept beside the embeddings, under a name that follows from the vectors themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from curate.disk import write_whole
from curate.index.vectors import Vectors
from curate.protocols import Rows

WORTH: Final = 5000  # rows from which finding neighbours anew takes longer than reading a file


@dataclass
class Keeper:
    """Where neighbours are kept (None: nowhere), and what was said about the indexes that were used."""

    folder: Path | None
    notes: list[str] = field(default_factory=list)


_KEEPER: ContextVar[Keeper | None] = ContextVar("keeper", default=None)


@contextmanager
def keeping(folder: Path | None) -> Iterator[Keeper]:
    """Within it, neighbours come from and go to `folder`. Its files are caches: each may be deleted, and a damaged one is made anew."""
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


def place(kind: str, vectors: Vectors, *facts: object) -> Path | None:
    """The file for what follows from these vectors and facts; None where nothing is kept."""
    keeper = _KEEPER.get()
    if keeper is None or keeper.folder is None or len(vectors) < WORTH:
        return None
    digest = xxhash.xxh3_128(np.ascontiguousarray(vectors).data.cast("B"))
    digest.update("\0".join(map(str, (vectors.shape, *facts))).encode())
    return keeper.folder / f"{kind}-{digest.hexdigest()}"


def load(path: Path | None, shape: tuple[int, int]) -> tuple[Rows, Vectors] | None:
    """The neighbours in a file, or None where there is no whole file of that shape."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if path is None or not path.is_file():
        return None
    try:
        found = load_file(path)
    except SafetensorError:
        return None
    if {name: values.shape for name, values in found.items()} != {"rows": shape, "values": shape}:
        return None
    return found["rows"], found["values"]


def save(path: Path | None, rows: Rows, values: NDArray[np.float32]) -> None:
    from safetensors.numpy import save_file

    if path is not None:
        write_whole(path, lambda temporary: save_file({"rows": rows, "values": values}, str(temporary)))
