"""Around every read by other libraries: looks at a file before, keeps them quiet, and says in one line what was wrong with it."""

import codecs
import csv
import importlib.util
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from curate.errors import ColumnError, InputError, MissingExtraError

if TYPE_CHECKING:
    import datasets

# Endings that only say how a file is compressed.
PACKED: Final = (".gz", ".bz2", ".xz", ".zst")
_NO_ROWS: Final = ("corresponds to no data", "BatchSize must be greater than 0")  # `datasets` on an empty split, on an empty row group
_HUB_HINT: Final = "Check the name, the network, and HF_HUB_OFFLINE; a private set needs `hf auth login`."


def check_before(file: str, builder: str, separator: str = ",") -> None:
    """InputError for an empty file, ColumnError for two columns of one name or rows wider than the head, which readers pass over."""
    if not os.path.getsize(file):
        raise InputError(f'File "{file}" is empty (0 bytes); data with at least one row is expected. Write it again.')
    if file.endswith(".zst") and importlib.util.find_spec("zstandard") is None:
        raise MissingExtraError(f'Reading "{file}" needs zstandard. Install it: pip install zstandard')
    if builder == "parquet":
        import pyarrow.parquet as pq

        with explain_failures([file], file, builder):
            names = pq.read_schema(file).names
        check_names(names, file)
    elif builder == "csv" and file.endswith((".csv", ".tsv")):
        with open(file, encoding="utf-8-sig", errors="replace", newline="") as lines:
            rows = csv.reader(lines, delimiter=separator)
            head, first = next(rows, []), next(rows, [])
        _check_separator(head, file, separator)
        check_names(head, file)
        if len(first) > len(head):
            raise InputError(
                f'File "{file}" has {len(head)} column names and {len(first)} fields in the first row. Name every column, or mend the row.'
            )


def _check_separator(head: Sequence[str], file: str, separator: str) -> None:
    """InputError where the head is one name with other separators in it: a whole row would be one value."""
    other = next((one for one in ";\t|," if one != separator and len(head) == 1 and one in head[0]), None)
    if other is not None:
        raise InputError(
            f'File "{file}" looks separated by {json.dumps(other)}: its head is one name, "{head[0]}". '
            "Commas are expected in .csv and tabs in .tsv. Write it again so, or rename it."
        )


def check_names(names: Sequence[str], source: str) -> None:
    """ColumnError where two columns have one name."""
    double = sorted({name for name in names if list(names).count(name) > 1}) if len(set(names)) < len(names) else []
    if double:
        raise ColumnError(f'"{source}" has more than one column "{double[0]}"; names must differ. Rename or drop one.')


def as_dataset(table: pa.Table) -> "datasets.Dataset":
    """A table as `datasets` has it, named by its content; left to itself `datasets` pickles it for that, three copies in memory."""
    import datasets
    import xxhash

    digest = xxhash.xxh3_128(str(table.schema).encode())
    for chunk in (chunk for column in table.columns for chunk in column.chunks):
        digest.update(f"{chunk.offset} {len(chunk)}".encode())
        for buffer in chunk.buffers():
            digest.update(buffer or b"-")
    return datasets.Dataset(table, fingerprint=digest.hexdigest()[:16])


def no_rows(source: str) -> InputError:
    """The error for a source without rows."""
    return InputError(f'"{source}" has no rows; at least one is expected. Check that it is the right file or split.')


@contextmanager
def explain_failures(files: Sequence[str], source: str, builder: str) -> Iterator[None]:
    """Keeps `datasets` silent while the body reads, and turns what it raises into an InputError that names file and cause."""
    import datasets

    try:
        with quiet():
            yield
    except ImportError as failed:
        raise MissingExtraError(f'Reading "{source}" needs a package that is not installed: {failed}') from failed
    except (datasets.exceptions.DatasetsError, pa.ArrowException, ValueError, OSError, NotImplementedError) as failed:
        if any(sign in _cause(failed) for sign in _NO_ROWS):
            raise no_rows(source) from failed
        if builder == "hub":
            tried = "no file or folder of that name is here, and the Hugging Face hub gave"
            raise InputError(f'"{source}" could not be loaded: {tried}: {_line(failed)} {_HUB_HINT}') from failed
        culprit = next(filter(None, (_explain(file, builder) for file in files)), None)
        culprit = culprit or (_unlike(files) if builder == "parquet" else None)
        text = culprit or f'Cannot read "{source}" as {builder}: {_cause(failed)} Write it again, or check that it is what its name says.'
        raise InputError(text) from failed


def _cause(error: BaseException) -> str:
    """The first line of what went wrong first; libraries wrap it several times over."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return _line(error)


def _line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if line.endswith(".") else f"{line}."


def _explain(file: str, builder: str) -> str | None:
    """What is wrong with a text file and in which line, or which of many binary ones is damaged; None where this cannot tell."""
    if "://" in file or not os.path.isfile(file) or file.endswith(PACKED):
        return None
    if builder in ("csv", "json"):
        return _bad_line(file, is_jsonl=builder == "json" and not file.endswith(".json"))
    return _unread_column(file) if builder == "parquet" else None


def _unread_column(file: str) -> str | None:
    """The first column of a type that `datasets` has no word for."""
    import datasets

    for field in _schema(file) or ():
        try:
            datasets.Features.from_arrow_schema(pa.schema([pa.field(field.name, field.type)]))
        except ValueError:
            return (
                f'Column "{field.name}" of "{file}" is {field.type}, which `datasets` cannot hold. '
                "Numbers, texts, times, lists and structs are expected: drop the column, or write it otherwise."
            )
    return None


def _unlike(files: Sequence[str]) -> str | None:
    """The first parquet file whose columns are not those of the file before all others."""
    schemas = [_schema(file) for file in files]
    first, *others = ({field.name: str(field.type) for field in schema or ()} for schema in schemas)
    for file, columns in zip(files[1:], others, strict=True):
        odd = sorted(first.keys() ^ columns.keys()) or sorted(name for name in first if first[name] != columns[name])
        if odd:
            told = ", ".join(f'"{name}" is {columns.get(name, "missing")} instead of {first.get(name, "missing")}' for name in odd)
            return f'File "{file}" has other columns than "{files[0]}": {told}. Give all files the same columns, or name the files meant.'
    return None


def _schema(file: str) -> pa.Schema | None:
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError):
        return None


def _bad_line(file: str, *, is_jsonl: bool) -> str | None:
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                text = line.decode("utf-8")
                if is_jsonl and text.strip():
                    json.loads(text.lstrip("\ufeff"))
            except UnicodeDecodeError as bad:
                coded = "utf-16" if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "latin1"
                return (
                    f'File "{file}" is not UTF-8: byte 0x{line[bad.start]:02x} in line {number}. '
                    f"Re-encode it, for instance: iconv -f {coded} -t utf-8 FILE > NEW."
                )
            except json.JSONDecodeError as bad:
                return f'File "{file}" has no valid JSON in line {number}: {bad.msg}. One object a line is expected; mend or drop the line.'
    return None


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and no log lines from `datasets` and the hub's client; both as they were afterwards."""
    import datasets

    hub = importlib.import_module("huggingface_hub.utils")  # its names are public, and not declared so

    bars = [(datasets.are_progress_bars_disabled, datasets.disable_progress_bars, datasets.enable_progress_bars)]
    bars.append((hub.are_progress_bars_disabled, hub.disable_progress_bars, hub.enable_progress_bars))
    shown = [(disable, enable) for is_disabled, disable, enable in bars if not is_disabled()]
    logs = [(one, one.get_verbosity()) for one in (datasets.utils.logging, hub.logging)]
    for log, _ in logs:
        log.set_verbosity(logging.CRITICAL)
    for disable, _ in shown:
        disable()
    try:
        yield
    finally:
        for log, level in logs:
            log.set_verbosity(level)
        for _, enable in shown:
            enable()
