"""Reads a store of embeddings: one vector a row, memory-mapped."""

from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from curate.data import Dataset
from curate.errors import InputError
from curate.scores import require_same_dataset
from curate.store import Store

EMBEDDINGS: Final = "embeddings"


class Embeddings:
    """Vectors of every row: `matrix` is (n, d), float32 or float16, NaN throughout for a row that could not be embedded."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def open(cls, path: str | Path) -> "Embeddings":
        """InputError where the folder holds no embeddings, or not all of them yet."""
        store = Store.open(path)
        if store.kind != EMBEDDINGS:
            raise InputError(f'"{path}" holds a {store.kind}, not embeddings. `curate embed DATA --out DIR` makes them.')
        have, n = sum(entry.rows for entry in store.files(EMBEDDINGS)), int(store.dataset["rows"])
        if have != n:
            raise InputError(f'"{path}" holds {have:,} of {n:,} embeddings. Run the `curate embed` that began it again: it goes on.')
        return cls(store)

    @classmethod
    def of(cls, embeddings: "Embeddings | str | Path | None", data: Dataset) -> "Embeddings | None":
        """What was named, opened; OtherDatasetError where it is of another dataset."""
        if embeddings is None:
            return None
        opened = embeddings if isinstance(embeddings, Embeddings) else cls.open(embeddings)
        opened.require_dataset(data)
        return opened

    @property
    def path(self) -> Path:
        return self.store.path

    @property
    def matrix(self) -> NDArray[Any]:
        """(n, d); nothing is copied where there is one shard."""
        return self.store.column(EMBEDDINGS, "embedding")

    @property
    def failed(self) -> dict[str, int]:
        """How many rows have no vector, by reason."""
        return self.store.failed(EMBEDDINGS)

    def __len__(self) -> int:
        return int(self.store.dataset["rows"])

    def about(self) -> dict[str, Any]:
        """What made them, for the manifest of what is made from them."""
        checksums = [entry.checksum for entry in self.store.files(EMBEDDINGS)]
        import xxhash

        return {**self.store.job, "digest": xxhash.xxh3_64_hexdigest("".join(checksums).encode())}

    def require_dataset(self, data: Dataset) -> None:
        """OtherDatasetError, with how many rows differ, unless they are of this very dataset."""
        require_same_dataset(self.store, data)
