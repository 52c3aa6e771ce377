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
from curate.kinds import open_kind
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
    fixes: Mapping[int, str] = field(default_factory=dict, repr=False)  # row → the label that it gets instead of its own

    @classmethod
    def open(cls, path: str | Path) -> "Selection":
        """Reads a selection's folder; InputError where there is none, DamagedStoreError where it does not read back."""
        store = open_kind(path, "selection")
        if not store.files(HERE):
            raise InputError(f'The selection "{path}" is not finished. Run the `curate select` that began it again.')
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
        table = self.data.table.select(self.rows) if self.data is not None else self._written()
        return _relabelled(table, str(self.dataset_about["label"]), self.rows, self.fixes) if self.fixes else table

    def _written(self) -> "datasets.Dataset":
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


def table_of(table: pa.Table, order: NDArray[np.int64]) -> pa.Table:
    """A selection's table with another order of picking."""
    return table.set_column(table.column_names.index("order"), "order", pa.array(order))


def _relabelled(table: "datasets.Dataset", label: str, rows: NDArray[np.int64], fixes: Mapping[int, str]) -> "datasets.Dataset":
    """The rows with other labels where one is given, in the label column's own type: class codes, strings or numbers."""
    feature = table.features[label]
    names = getattr(feature, "names", None)
    values = table.with_format("arrow")[label].to_pylist()
    for position in np.flatnonzero(np.isin(rows, np.fromiter(fixes, np.int64, len(fixes)))).tolist():
        name = fixes[int(rows[position])]
        values[position] = names.index(name) if names else _as(feature.dtype, name)
    order = table.column_names
    return table.remove_columns(label).add_column(label, values, feature=feature).select_columns(order)


def _as(dtype: str, name: str) -> str | int | float | bool:
    """A class's name as a value of the label column."""
    if dtype == "bool":
        return name == "true"
    if dtype.startswith(("int", "uint")):
        return int(name)
    return float(name) if dtype.startswith("float") else name
