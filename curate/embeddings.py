"""Reads a store of embeddings: one vector a row, memory-mapped."""

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from curate.data import Dataset
from curate.disk import is_whole, write_summed
from curate.errors import InputError
from curate.kinds import open_kind
from curate.scores import require_same_dataset
from curate.store import Store, as_numpy, read_arrow

EMBEDDINGS: Final = "embeddings"
KEPT: Final = "kept"


class Embeddings:
    """Vectors of every row: `matrix` is (n, d), float32 or float16, NaN throughout for a row that could not be embedded."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def open(cls, path: str | Path) -> "Embeddings":
        """InputError where the folder holds no embeddings, or not all of them yet."""
        store = open_kind(path, EMBEDDINGS)
        have, n = sum(entry.rows for entry in store.files(EMBEDDINGS)), int(store.dataset["rows"])
        if have != n:
            raise InputError(f'"{path}" holds {have:,} of {n:,} embeddings. Run the `curate embed` that began it again: it goes on.')
        return cls(store)

    @classmethod
    def of(cls, embeddings: "Embeddings | str | Path | None", data: Dataset) -> "Embeddings | None":
        """What was named, opened; OtherDatasetError where it is of another dataset, DamagedStoreError where a shard is not as written."""
        if embeddings is None:
            return None
        opened = embeddings if isinstance(embeddings, Embeddings) else cls.open(embeddings)
        opened.require_dataset(data)
        opened.require_whole()
        return opened

    @property
    def path(self) -> Path:
        return self.store.path

    @property
    def matrix(self) -> NDArray[Any]:
        """(n, d), memory-mapped; where there are several shards, from one file that is joined from them once and kept beside them."""
        path = self._joined
        if path is None:
            return self.store.column(EMBEDDINGS, "embedding")
        found = _opened(path)
        if found is None:
            write_summed(path, self._join)
            found = _opened(path)
        assert found is not None, "a file that was just written whole"
        return found

    def require_whole(self) -> None:
        """DamagedStoreError that names a shard which is not as it was written; a joined file that is not is made anew from the shards."""
        if self._joined is not None and is_whole(self._joined):
            return
        self.store.require_whole([EMBEDDINGS])
        if self._joined is not None:
            self._joined.unlink(missing_ok=True)

    @property
    def _joined(self) -> Path | None:
        """The file of all shards one behind the other; None where there is one shard, or nothing may be written."""
        several = len(self.store.files(EMBEDDINGS)) > 1
        return self.kept / f"joined-{self._digest}.npy" if several and self.kept is not None else None

    @property
    def kept(self) -> Path | None:
        """The folder for what follows from the vectors and can be made again; None where it may not be written."""
        return self.path / KEPT if os.access(self.path, os.W_OK) else None

    @property
    def _digest(self) -> str:
        return str(xxhash.xxh3_64_hexdigest("".join(entry.checksum for entry in self.store.files(EMBEDDINGS)).encode()))

    def _join(self, path: Path) -> None:
        """Writes all shards one after another as one .npy file, holding one at a time."""
        parts = [read_arrow(self.path / EMBEDDINGS / entry.file).column("embedding").chunks for entry in self.store.files(EMBEDDINGS)]
        chunks = [chunk for part in parts for chunk in part]
        first = as_numpy(chunks[0])
        whole = np.lib.format.open_memmap(path, mode="w+", dtype=first.dtype, shape=(len(self), first.shape[1]))
        start = 0
        for chunk in chunks:
            whole[start : start + len(chunk)] = as_numpy(chunk)
            start += len(chunk)
        whole.flush()

    @property
    def failed(self) -> dict[str, int]:
        """How many rows have no vector, by reason."""
        return self.store.failed(EMBEDDINGS)

    def __len__(self) -> int:
        return int(self.store.dataset["rows"])

    def about(self) -> dict[str, Any]:
        """What made them, for the manifest of what is made from them."""
        return {**self.store.job, "digest": self._digest}

    def require_dataset(self, data: Dataset) -> None:
        """OtherDatasetError, with how many rows differ, unless they are of this very dataset."""
        require_same_dataset(self.store, data)


def _opened(path: Path) -> NDArray[Any] | None:
    """A joined file, memory-mapped; None where there is none or one that was cut short."""
    if not path.is_file():
        return None
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):
        return None
    return found
