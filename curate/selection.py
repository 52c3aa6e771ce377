"""A selection: which rows of one dataset, in which order picked, with which weight; the folder that `curate select` writes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.data import Dataset
from curate.errors import InputError
from curate.scores import require_same_dataset
from curate.store import Store

if TYPE_CHECKING:
    import datasets

HERE: Final = "."  # the table of files that lie in the folder itself
DATA: Final = "data"
FILE: Final = "selection.arrow"
CARD: Final = "README.md"


class Selection:
    """Row numbers over one source, ascending, with the order in which they were picked and their weights."""

    def __init__(self, store: Store, data: Dataset | None = None) -> None:
        self.store = store
        self._data = data

    @classmethod
    def open(cls, path: str | Path) -> "Selection":
        """InputError where the folder holds no selection."""
        store = Store.open(path)
        if store.kind != "selection" or not store.files(HERE):
            raise InputError(f'"{path}" holds no selection. `curate select DATA … --out DIR` makes one.')
        store.require_whole([HERE])
        return cls(store)

    @property
    def path(self) -> Path:
        return self.store.path

    @property
    def rows(self) -> NDArray[np.int64]:
        """Positions in the source, (k,) int64, ascending."""
        return self.store.column(HERE, "row") if len(self.table) else np.empty(0, np.int64)

    @property
    def order(self) -> NDArray[np.int64]:
        """0 for the row picked first, (k,) int64."""
        return self.store.column(HERE, "order")

    @property
    def weight(self) -> NDArray[np.float64]:
        """Importance weights, (k,) float64; 1 unless the sampler gave others."""
        return self.store.column(HERE, "weight")

    @property
    def table(self) -> pa.Table:
        """row, order, weight, and the user's id where one was named; memory-mapped."""
        from curate.store import read_arrow

        return read_arrow(self.path / FILE)

    @property
    def report(self) -> dict[str, Any]:
        """Counts by class, quantiles of the score, overlap with a random selection of the same size."""
        report: dict[str, Any] = self.store.about(HERE)["report"]
        return report

    def __len__(self) -> int:
        return self.table.num_rows

    def dataset(self) -> "datasets.Dataset":
        """The selected rows as a `datasets.Dataset`, in row order, with the source's own features."""
        if self._data is not None:
            return self._data.table.select(self.rows)
        if DATA not in self.store.tables:
            raise InputError(
                f'"{self.path}" holds rows only (--rows-only). `curate export {self.path} --data DATA --out DIR` adds the data.'
            )
        import datasets

        files = [str(self.path / DATA / entry.file) for entry in self.store.files(DATA)]
        return datasets.Dataset.from_parquet(files)

    def export(self, out: str | Path, *, format: str = "parquet", **options: Any) -> Path:
        """Writes the selected rows as parquet (hub-ready), arrow, jsonl or ids; see `curate export`."""
        from curate.plugins import stage

        written: Path = stage("exporting").export(self, out=out, format=format, data=self._data, **options)
        return written

    def require_dataset(self, data: Dataset) -> None:
        """OtherDatasetError unless the selection is over this very dataset."""
        require_same_dataset(self.store, data)
