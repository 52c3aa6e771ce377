"""A selection: which rows of one dataset, in which order picked, with which weight; the folder that `curate select` writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.data import Dataset
from curate.errors import InputError, OtherDatasetError
from curate.scores import require_same_dataset
from curate.store import RESULT, Store, as_numpy, read_arrow

if TYPE_CHECKING:
    import datasets

HERE: Final = "."  # the table of files that lie in the folder itself
DATA: Final = "data"
FILE: Final = "selection.arrow"
CARD: Final = "README.md"


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of one source, ascending, with the order in which they were picked and their weights.

    `table` has row (int64), order (int64, 0 picked first), weight (float64, 1 unless the sampler weighs) and the user's `id` where one was
    named. `dataset_about` says of which content, `job` how they were chosen, `report` what came of it.
    """

    table: pa.Table = field(repr=False)
    dataset_about: Mapping[str, Any] = field(repr=False)
    job: Mapping[str, Any]
    report: Mapping[str, Any]
    data: Dataset | None = field(default=None, repr=False)
    path: Path | None = None
    command: str = field(default="", repr=False)

    @classmethod
    def open(cls, path: str | Path) -> "Selection":
        """Reads a selection's folder; InputError where there is none, DamagedStoreError where it does not read back."""
        store = Store.open(path)
        if store.kind != "selection" or not store.files(HERE):
            raise InputError(f'"{path}" holds no selection. `curate select DATA … --out DIR` makes one.')
        store.require_whole([HERE])
        about = store.about(HERE)
        command = about.get(RESULT, {}).get("command", "")
        return cls(read_arrow(store.path / FILE), store.dataset, store.job, about["report"], path=store.path, command=command)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Positions in the source, (k,) int64, ascending."""
        return self._column("row")

    @property
    def order(self) -> NDArray[np.int64]:
        """0 for the row picked first, (k,) int64."""
        return self._column("order")

    @property
    def weight(self) -> NDArray[np.float64]:
        """Importance weights, (k,) float64; 1 unless the sampler gave others."""
        return self._column("weight")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def dataset(self) -> "datasets.Dataset":
        """The selected rows as a `datasets.Dataset`, in row order, with the source's own features."""
        if self.data is not None:
            return self.data.table.select(self.rows)
        assert self.path is not None, "a selection is over data at hand or was opened from a folder"
        store = Store.open(self.path)
        if DATA not in store.tables:
            raise InputError(
                f'"{self.path}" holds rows only (--rows-only). Name the source: `curate export {self.path} --data DATA --out DIR`.'
            )
        import datasets

        return datasets.Dataset.from_parquet([str(self.path / DATA / entry.file) for entry in store.files(DATA)])

    def export(self, out: str | Path, *, format: str = "parquet", **options: Any) -> Path:
        """Writes the selected rows as parquet (a hub-ready folder), arrow, jsonl or ids; options as `curate.stages.exporting.export`."""
        from curate.plugins import stage

        written: Path = stage("exporting").export(self, out=out, format=format, **options)
        return written

    def require_dataset(self, data: Dataset) -> None:
        """OtherDatasetError unless the selection is over this very dataset."""
        if self.path is not None:
            require_same_dataset(Store.open(self.path), data)
        elif self.dataset_about["fingerprint"] != data.fingerprint:
            theirs = self.dataset_about["fingerprint"][:8]
            raise OtherDatasetError(
                f'The selection is over dataset {theirs}…, but "{data.source}" is {data.fingerprint[:8]}…. Pass its own.'
            )

    def _column(self, name: str) -> NDArray[Any]:
        chunks = [as_numpy(chunk) for chunk in self.table.column(name).chunks]
        return np.concatenate(chunks) if len(chunks) != 1 else chunks[0]
