"""A store: a folder of Arrow shards with a manifest, which any Arrow reader opens and which survives a crash."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.disk import TEMPORARY, checksum, plain_os_errors, write_json, write_whole
from curate.errors import ColumnError, DamagedStoreError, InputError, OtherJobError, did_you_mean
from curate.locks import LOCK, locked
from curate.manifest import FORMAT, Said, read_manifest
from curate.manifest import MANIFEST as MANIFEST
from curate.manifest import Entry as Entry

LOG = "log.jsonl"
RESULT = "result"
DEFAULT_SHARD_ROWS = 65_536
MENTIONED = 5  # differences that a message names


@dataclass(frozen=True)
class Fault:
    """A file of a store that does not read back as it was written."""

    file: str
    problem: str


class Store:
    """A folder with a manifest and tables; a table is a list of files that were written whole.

    `kind` says what the folder is for ("scores", "run", "selection", …), `dataset` from what content it was made, `job` by which
    parameters. `settled` holds what was fixed at the start and stays fixed when the job resumes (threads, device, shard size).
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self._manifest = manifest

    @classmethod
    def open(cls, path: str | Path, *, made_by: str = "`curate score DATA --scorer … --out DIR` makes one.") -> "Store":
        """Reads the manifest of an existing store; InputError where there is none, DamagedStoreError where it does not parse."""
        return cls(Path(path), read_manifest(Path(path), made_by))

    @classmethod
    def create(
        cls, path: str | Path, kind: str, *, dataset: Mapping[str, Any], job: Mapping[str, Any], settled: Mapping[str, Any]
    ) -> "Store":
        """A new, empty store; OtherJobError where the folder holds anything that is not ours."""
        folder = Path(path)
        refuse_foreign(folder)
        manifest = {"format": FORMAT, "kind": kind, "dataset": dict(dataset), "job": dict(job), "settled": dict(settled), "tables": {}}
        store = cls(folder, manifest)
        store.save()
        return store

    @property
    def kind(self) -> str:
        return str(self._manifest["kind"])

    @property
    def dataset(self) -> dict[str, Any]:
        return Said(self._manifest["dataset"], self.path)

    @property
    def job(self) -> dict[str, Any]:
        return Said(self._manifest["job"], self.path)

    @property
    def settled(self) -> dict[str, Any]:
        return Said(self._manifest["settled"], self.path)

    @property
    def tables(self) -> Sequence[str]:
        return sorted(self._manifest["tables"])

    def update(self, *, job: Mapping[str, Any] | None = None, settled: Mapping[str, Any] | None = None) -> None:
        """Adds to what the manifest says of the job, and saves it."""
        self._manifest["job"].update(job or {})
        self._manifest["settled"].update(settled or {})
        self.save()

    def about(self, table: str) -> dict[str, Any]:
        """What made a table."""
        return Said(self._table(table)["about"], self.path)

    def files(self, table: str) -> list[Entry]:
        """The finished files of a table in row (or epoch) order; none where the table does not exist."""
        found = self._manifest["tables"].get(table, {"files": {}})["files"]
        return [found[name] for name in sorted(found)]

    def failed(self, table: str) -> dict[str, int]:
        """How many rows of a table came to nothing, by reason."""
        total: dict[str, int] = {}
        for entry in self.files(table):
            for status, count in entry.failed.items():
                total[status] = total.get(status, 0) + count
        return total

    def describe(self, table: str, about: Mapping[str, Any]) -> None:
        """Opens a table for writing. A table of that name that something else made is an OtherJobError."""
        known = self._manifest["tables"].setdefault(table, {"about": dict(about), "files": {}})
        made_by = {key: value for key, value in known["about"].items() if key != RESULT}
        if made_by != dict(about):
            difference = differences(made_by, about)
            raise OtherJobError(
                f'Store "{self.path}" already has a "{table}" made otherwise ({difference}). '
                f"Give this one another name: --scorer NEWNAME={table}:…"
            )

    def conclude(self, table: str, result: Mapping[str, Any]) -> None:
        """Notes what came of a finished table (counts, stability) beside what made it."""
        self._table(table)["about"][RESULT] = dict(result)
        self.save()

    def add_shard(self, table: str, file: str, data: pa.Table, *, first: int = 0, failed: Mapping[str, int] | None = None) -> Entry:
        """Writes an Arrow file of one record batch, flushes, renames, and only then enters it in the manifest."""
        path = self.path / table / file
        write_whole(path, lambda temporary: write_arrow(temporary, data))
        entry = entry_of(path, first=first, rows=data.num_rows, failed=failed)
        self.enter(table, entry)
        return entry

    def add_file(self, table: str, file: str, write: Callable[[Path], object]) -> Entry:
        """The same for a file that is not Arrow (weights)."""
        path = self.path / table / file
        write_whole(path, write)
        entry = entry_of(path)
        self.enter(table, entry)
        return entry

    def enter(self, table: str, *entries: Entry) -> None:
        """Notes finished files in the manifest, whoever wrote them, and saves it once."""
        for entry in entries:
            self._table(table)["files"][entry.file] = entry
        self.save()

    def drop_table(self, table: str) -> None:
        """Strikes a whole table, then deletes its folder."""
        self._manifest["tables"].pop(table, None)
        self.save()
        shutil.rmtree(self.path / table, ignore_errors=True)

    def forget(self, table: str, files: Iterable[str]) -> None:
        """Strikes files from the manifest, then deletes them; in this order, so that a kill leaves no dangling entry."""
        gone = list(files)
        for file in gone:
            self._table(table)["files"].pop(file, None)
        self.save()
        for file in gone:
            (self.path / table / file).unlink(missing_ok=True)

    def save(self) -> None:
        tables = {
            name: {"about": table["about"], "files": {file: asdict(entry) for file, entry in table["files"].items()}}
            for name, table in self._manifest["tables"].items()
        }
        write_json(self.path / MANIFEST, {**self._manifest, "tables": tables})

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table's shards as one memory-mapped Arrow table; nothing is copied."""
        parts = [read_arrow(self.path / table / entry.file) for entry in self.files(table)]
        if not parts and table in self.tables:
            raise InputError(
                f'Store "{self.path}" was stopped before anything of "{table}" was written. Run the command that makes it again.'
            )
        if not parts:
            raise InputError(
                f'Store "{self.path}" has no "{table}".{did_you_mean(table, self.tables)} It holds: {", ".join(self.tables) or "nothing"}.'
            )
        whole = pa.concat_tables(parts)
        return whole.select(list(columns)) if columns is not None else whole

    def column(self, table: str, column: str) -> NDArray[Any]:
        """One column over all shards; NaN for null numbers. Zero-copy where there is one shard and no null."""
        whole = self.read(table)
        if column not in whole.column_names:
            raise ColumnError(
                f'"{table}" in store "{self.path}" has no column "{column}".{did_you_mean(column, whole.column_names)} '
                f"It has: {', '.join(whole.column_names)}."
            )
        chunks = [as_numpy(chunk) for chunk in whole.column(column).chunks]
        return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)

    def faults(self, tables: Iterable[str] | None = None) -> list[Fault]:
        """The files that are missing, cut short or changed, by reading every byte of the named tables (default all)."""
        found = []
        for table in self.tables if tables is None else tables:
            for entry in self.files(table):
                problem = _problem(self.path / table / entry.file, entry)
                if problem:
                    found.append(Fault(f"{table}/{entry.file}", problem))
        return found

    def drop_damaged(self, tables: Iterable[str] | None = None) -> list[Fault]:
        """Strikes damaged files from the manifest so that they are made again; says which."""
        faults = self.faults(tables)
        for fault in faults:
            table, _, file = fault.file.partition("/")
            self._table(table)["files"].pop(file)
        if faults:
            self.save()
        return faults

    def require_whole(self, tables: Iterable[str]) -> None:
        """DamagedStoreError that names the first bad shard, for stages that only read."""
        faults = self.faults(tables)
        if faults:
            raise DamagedStoreError(
                f'Shard "{self.path / faults[0].file}" is damaged ({faults[0].problem}), {len(faults)} in all. '
                "Run the command that made the store again: it recomputes only these."
            )

    def log(self, what: str, **facts: Any) -> None:
        """Appends a line to log.jsonl: the only file with a clock in it."""
        line = json.dumps({"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "what": what, **facts})
        with plain_os_errors(self.path / LOG), open(self.path / LOG, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def take_log(self, other: "Store") -> None:
        """Appends the lines of another store's log: what was spent on what is now here."""
        if (other.path / LOG).is_file():
            with plain_os_errors(self.path / LOG), open(self.path / LOG, "a", encoding="utf-8") as file:
                file.write((other.path / LOG).read_text(encoding="utf-8"))

    def history(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl; one that a kill or a full disk cut short is left out."""
        path = self.path / LOG
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        found = []
        for line in lines:
            with suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def _table(self, name: str) -> dict[str, Any]:
        try:
            return self._manifest["tables"][name]  # type: ignore[no-any-return]  # JSON is untyped
        except KeyError:
            raise InputError(
                f'Store "{self.path}" has no "{name}".{did_you_mean(name, self.tables)} It holds: {", ".join(self.tables)}.'
            ) from None


def refuse_foreign(folder: Path) -> None:
    """OtherJobError where a folder holds anything that a killed job of ours could not have left."""
    if folder.is_file():
        raise InputError(f'"{folder}" is a file. Point --out at a folder.')
    if os.fsencode(folder) != str(folder).encode("utf-8", errors="replace"):
        raise InputError(f'The name of the folder "{folder}" is not UTF-8, and Arrow writes into no other. Point --out at another.')
    if not folder.is_dir() or (folder / MANIFEST).is_file():
        return
    foreign = [p.name for p in folder.iterdir() if p.name != LOCK and not p.name.endswith(TEMPORARY)]
    if foreign:
        raise OtherJobError(f'"{folder}" holds something else ({", ".join(sorted(foreign)[:3])}). Point --out at an empty or new folder.')


@contextmanager
def writing(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Holds a store's folder, emptied first with `overwrite`; a stranger's folder is refused before anything is put into it."""
    folder = Path(path)
    refuse_foreign(folder)
    with locked(folder):
        if overwrite:
            remove(folder)
        yield folder


def remove(path: str | Path) -> None:
    """Empties a store's folder. Only a store is ever deleted: any other folder is an OtherJobError. The caller holds the lock."""
    folder = Path(path)
    refuse_foreign(folder)
    if not (folder / MANIFEST).is_file():
        return
    for item in folder.iterdir():
        if item.name in (LOCK, MANIFEST):
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()
    (folder / MANIFEST).unlink()  # last: a kill half way leaves what can still be seen to be a store, not a stranger's folder


def entry_of(path: Path, *, first: int = 0, rows: int = 0, failed: Mapping[str, int] | None = None) -> Entry:
    """The manifest entry of a file that has just been written."""
    return Entry(path.name, path.stat().st_size, checksum(path), first, rows, dict(failed or {}))


def write_arrow(path: Path, data: pa.Table) -> None:
    """An uncompressed Arrow IPC file of exactly one record batch, so that a column is one contiguous, memory-mappable buffer."""
    whole = data.combine_chunks()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, whole.schema) as writer:
        writer.write_table(whole, max_chunksize=max(1, whole.num_rows))


def read_arrow(path: Path) -> pa.Table:
    """A memory-mapped Arrow IPC file; DamagedStoreError where it does not open."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise DamagedStoreError(
            f'Shard "{path}" does not open ({error}). Run the command that made it again: it recomputes only that shard.'
        ) from error


def as_numpy(chunk: pa.Array) -> NDArray[Any]:
    """An Arrow array as numpy; null numbers become NaN; fixed-size lists become rows of a matrix."""
    if pa.types.is_fixed_size_list(chunk.type):
        return np.asarray(chunk.flatten().to_numpy(zero_copy_only=False)).reshape(len(chunk), chunk.type.list_size)
    return np.asarray(chunk.to_numpy(zero_copy_only=False))


def as_arrow(values: NDArray[Any]) -> pa.Array:
    """The reverse: NaN scores become null, matrices fixed-size lists, strings strings."""
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])
    return pa.array(values, from_pandas=values.dtype.kind == "f")


def shard_ranges(n: int, shard_rows: int) -> list[tuple[int, int]]:
    """The row ranges [first, stop) of a table's shards."""
    return [(first, min(first + shard_rows, n)) for first in range(0, n, shard_rows)]


def default_shard_rows(n: int) -> int:
    """65,536 rows a shard, more where that would make over a hundred-odd shards: the manifest is rewritten after each."""
    rows = DEFAULT_SHARD_ROWS
    while n > rows * 128:
        rows *= 2
    return rows


def shard_name(index: int) -> str:
    return f"part-{index:05d}.arrow"


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """`epochs: 8 there, 10 here; options.skip: …` for messages: the first five leaves that differ, and how many more there are."""
    here, there = _leaves(other), _leaves(one)
    keys = sorted(key for key in {**there, **here} if there.get(key) != here.get(key))
    said = [f"{key}: {there.get(key)} there, {here.get(key)} here" for key in keys[:MENTIONED]]
    return "; ".join(said + ([f"and {len(keys) - MENTIONED} more"] if len(keys) > MENTIONED else []))


def _leaves(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Everything in nested maps under dotted names; of lists, the maps in them, by their own names where they have one."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, list | tuple) and item and all(isinstance(part, Mapping) for part in item):
            item = {str(part.get("name", place)): part for place, part in enumerate(item)}
        found |= _leaves(item, f"{prefix}{key}.") if isinstance(item, Mapping) and item else {prefix + key: item}
    return found


def _problem(path: Path, entry: Entry) -> str:
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    if size != entry.bytes:
        return f"{size} bytes instead of {entry.bytes}"
    return "" if checksum(path) == entry.checksum else "its checksum differs"
