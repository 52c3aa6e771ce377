"""A run on disk: what a training run revealed about each row, one file an epoch, and the weights saved along it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from curate.errors import InputError, did_you_mean
from curate.kinds import open_kind
from curate.store import Store, as_arrow, as_numpy, read_arrow

OUT_OF_FOLD, FINAL = "probs.oos", "final.arrow"
DYNAMICS, EVAL, PROBS, CHECKPOINTS, STATUS = "dynamics", "eval", "probs", "checkpoints", "status"
SWEPT = "swept"


class Run:
    """The store of one training run (one seed). Epochs count from 1."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        return cls(open_kind(path, "run"))

    @property
    def rows(self) -> int:
        return int(self.store.dataset["rows"])

    @property
    def epochs_done(self) -> int:
        """How many epochs are whole on disk."""
        return len(self.store.files(DYNAMICS))

    @property
    def epochs(self) -> int:
        """How many epochs the run has when it is finished; for a recorded loop, so far."""
        return int(self.store.job.get("epochs") or self.epochs_done)

    @property
    def seed(self) -> int:
        return int(self.store.job.get("seed", 0))

    @property
    def is_finished(self) -> bool:
        return self.epochs_done >= self.epochs > 0

    def write_epoch(self, table: str, epoch: int, columns: Mapping[str, NDArray[Any]]) -> None:
        """One epoch's scalars, every row in row order."""
        self.store.add_shard(table, epoch_name(epoch, "arrow"), pa.table({name: pa.array(values) for name, values in columns.items()}))

    def failed(self) -> dict[int, str]:
        """Rows that could not be trained on, and why."""
        if STATUS not in self.store.tables:
            return {}
        table = self.store.read(STATUS)
        return dict(zip(table["row"].to_pylist(), table["status"].to_pylist(), strict=True))

    def columns(self, names: Iterable[str], first: int, stop: int) -> dict[str, NDArray[Any]]:
        """The named signals of rows first … stop-1: (n, epochs), (n,) for `…@E`, (n, classes) for `probs.final`."""
        return {name: self.column(name, first, stop) for name in names}

    def column(self, name: str, first: int, stop: int) -> NDArray[Any]:
        table, _, measure = name.partition(".")
        if name == OUT_OF_FOLD:
            return self._out_of_fold(first, stop)
        if table == PROBS:
            return self._read(PROBS, f"{measure}.arrow", "p", first, stop)
        measure, _, epoch = measure.partition("@")
        if epoch:
            return self._read(table, epoch_name(int(epoch), "arrow"), measure, first, stop)
        epochs = range(1, self.epochs + 1)
        return np.stack([self._read(table, epoch_name(e, "arrow"), measure, first, stop) for e in epochs], axis=1)

    def swept(self, table: str, names: Iterable[str], first: int, stop: int) -> dict[str, NDArray[Any]]:
        """What a sweep found of rows first … stop-1, (n,) or (n, width) a name, whatever ranges it was written in."""
        found: dict[str, NDArray[Any]] = {}
        for entry in self.store.files(table):
            start, end = max(first, entry.first), min(stop, entry.first + entry.rows)
            if start >= end:
                continue
            part = read_arrow(self.store.path / table / entry.file)
            for name in names:
                values = as_numpy(part.column(name.removeprefix(SWEPT + ".")).chunk(0).slice(start - entry.first, end - start))
                found.setdefault(name, np.full((stop - first, *values.shape[1:]), np.nan, np.float32))[start - first : end - first] = values
        return found

    def missing_evaluations(self, requires: Iterable[str]) -> tuple[list[int], bool]:
        """The epochs whose clean pass is asked for and not there yet, and whether `probs.final` is."""
        wanted: set[int] = set()
        for name in requires:
            if name.startswith(EVAL + "."):
                _, _, epoch = name.partition("@")
                wanted |= {int(epoch)} if epoch else set(range(1, self.epochs + 1))
        done = {entry.file for entry in self.store.files(EVAL)}
        needs_probs = "probs.final" in set(requires) and FINAL not in {entry.file for entry in self.store.files(PROBS)}
        return sorted(e for e in wanted if epoch_name(e, "arrow") not in done), needs_probs

    def missing_folds(self, requires: Iterable[str], folds: int) -> list[int]:
        """The folds whose out-of-fold probabilities are asked for and not there yet."""
        done = {entry.file for entry in self.store.files(PROBS)}
        return [i for i in range(folds) if OUT_OF_FOLD in set(requires) and fold_name(i) not in done]

    def _out_of_fold(self, first: int, stop: int) -> NDArray[np.float32]:
        """(n, classes) from the files of all folds; NaN for rows that were in none."""
        found: NDArray[np.float32] | None = None
        for entry in self.store.files(PROBS):
            if entry.file == FINAL:
                continue
            part = read_arrow(self.store.path / PROBS / entry.file)
            rows, p = (as_numpy(part.column(name).chunk(0)) for name in ("row", "p"))
            if found is None:
                found = np.full((stop - first, p.shape[1]), np.nan, np.float32)
            inside = (rows >= first) & (rows < stop)
            found[rows[inside] - first] = p[inside]
        if found is None:
            raise InputError(f'Run "{self.store.path}" has no out-of-fold probabilities.')
        return found

    def checkpoint(self, epoch: int) -> Path:
        """The weights after an epoch; InputError where they were not kept."""
        name = epoch_name(epoch, "safetensors")
        path = self.store.path / CHECKPOINTS / name
        if name not in {entry.file for entry in self.store.files(CHECKPOINTS)} or not path.is_file():
            raise InputError(
                f'Run "{self.store.path}" has no checkpoint of epoch {epoch}, which this scorer needs. '
                "Record with `end_epoch(model)`, or train with `--checkpoints all`."
            )
        return path

    def _read(self, table: str, file: str, column: str, first: int, stop: int) -> NDArray[Any]:
        path = self.store.path / table / file
        if not path.is_file():
            raise InputError(f'Run "{self.store.path}" has no "{table}/{file}".')
        found = read_arrow(path)
        if column not in found.column_names:
            raise InputError(
                f'Run "{self.store.path}" did not record "{table}.{column}".{did_you_mean(column, found.column_names)} '
                f"It has: {', '.join(found.column_names)}. A run recorded from losses alone has no logit scalars."
            )
        return as_numpy(found.column(column).chunk(0).slice(first, stop - first))


def epoch_name(epoch: int, suffix: str) -> str:
    return f"epoch-{epoch:05d}.{suffix}"


def run_key(job: Mapping[str, Any]) -> str:
    """A folder name that equal parameters share: the seed to read, a hash for the rest."""
    text = repr(sorted(job.items()))
    return f"seed{job['seed']}-{xxhash.xxh3_64_hexdigest(text.encode())[:10]}"


def epoch_columns(means: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """An epoch's means (torch, CPU) as file columns: float32, and the visits as uint16 (an epoch shows no row 65,536 times)."""
    columns = {name: value.numpy() for name, value in means.items()}
    return columns | {"visits": np.minimum(columns["visits"], 65_535).astype(np.uint16)} if "visits" in columns else columns


def probs_table(probs: NDArray[np.float32]) -> pa.Table:
    return pa.table({"p": as_arrow(probs)})


def fold_name(fold: int) -> str:
    return f"oos-{fold}.arrow"


def fold_table(rows: NDArray[np.int64], probs: NDArray[np.float32]) -> pa.Table:
    return pa.table({"row": rows, "p": as_arrow(probs)})


def status_table(failed: Mapping[int, str]) -> pa.Table:
    rows = sorted(failed)
    return pa.table({"row": pa.array(rows, pa.int64()), "status": pa.array([failed[r] for r in rows], pa.string())})


def find_runs(path: str | Path) -> Sequence[Run]:
    """The runs in a folder: a run itself, or a score store's `runs/`."""
    store = Store.open(path)
    if store.kind == "run":
        return [Run(store)]
    folder = Path(path) / "runs"
    return [Run.open(p) for p in sorted(folder.iterdir()) if (p / "manifest.json").is_file()] if folder.is_dir() else []
