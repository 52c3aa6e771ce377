"""Opens data that is named: files, globs, folders, URLs, hub names and bundled samples, each as its splits."""

import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from curate.compensated import COMPENSATED, Compensated
from curate.errors import InputError, did_you_mean
from curate.folders import data_suffix, folder_splits, image_folder
from curate.image_tables import expanded
from curate.reading import PACKED, as_dataset, check_before, check_names, explain_failures

if TYPE_CHECKING:
    import datasets

# File ending to the builder of `datasets` that reads it and its options.
BUILDERS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    ".parquet": ("parquet", {}),
    ".csv": ("csv", {}),
    ".tsv": ("csv", {"sep": "\t"}),
    ".json": ("json", {}),
    ".jsonl": ("json", {}),
    ".ndjson": ("json", {}),
    ".arrow": ("arrow", {}),
    ".ipc": ("arrow", {}),
    ".feather": ("arrow", {}),
}
_EXPECTED: Final = "parquet, csv, tsv, json, jsonl and arrow files"
_HUB_NAME: Final = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[^@/]+))?(?:@(?P<revision>[\w./-]+))?")
# pandas guesses types from a block of rows; a larger one meets the rare fraction or empty field in time.
_CSV_OPTIONS: Final = {"chunksize": 100_000}


@dataclass(frozen=True)
class Opened:
    """A source's splits; `location` opens it again from any folder, None for what lives in memory; `title` names it in messages."""

    splits: "Mapping[str, datasets.Dataset]"
    title: str
    location: str | None = None
    image_root: Path | None = None


def open_named(source: str) -> Opened:
    """Whatever `source` names; InputError with what was tried where it names nothing."""
    if source.startswith("sample:"):
        from curate.samples import load_sample

        return Opened(load_sample(source.removeprefix("sample:")), source, source)
    if "://" in source:
        return Opened({"train": _build([source], source)}, source, source)
    path = Path(source).expanduser()
    if path.is_dir():
        splits, image_root = _open_folder(path)
        return Opened(splits, source, os.path.abspath(path), image_root)
    files = [str(path)] if path.is_file() else sorted(glob.glob(str(path), recursive=True))
    if files:
        return Opened({"train": _read_files(files, source)}, source, os.path.abspath(path))
    if glob.has_magic(source):
        raise InputError(f'No file matches "{source}". Check the pattern; quote it so that the shell leaves it alone.')
    if _looks_like_hub(source, path):
        splits, cache = _open_hub(source)
        return Opened(splits, source, source, cache)
    raise InputError(_missing(source, path))


def _read_files(files: Sequence[str], source: str) -> "datasets.Dataset":
    suffixes = {data_suffix(file) for file in files}
    if len(suffixes) > 1:
        raise InputError(f'"{source}" matches files of several kinds ({", ".join(sorted(suffixes))}). Narrow the pattern to one kind.')
    if _builder(files[0])[0] == "arrow" and not files[0].endswith(PACKED):
        return _map_arrow(files)
    return _build(files, source)


def _build(files: Sequence[str], source: str) -> "datasets.Dataset":
    import datasets

    builder, options = _builder(files[0])
    is_local = "://" not in files[0]
    if is_local:
        for file in files:
            check_before(file, builder, options.get("sep", ","))
    # `datasets` takes every file name for a pattern.
    names = [glob.escape(os.path.abspath(file)) for file in files] if is_local else list(files)
    more = _CSV_OPTIONS if builder == "csv" else {}
    with explain_failures(files, source, builder):
        table = datasets.load_dataset(builder, data_files={"train": names}, split="train", **options, **more)
        if builder == "json":
            table.data.table.validate(full=True)  # the one reader that lets text through which is no UTF-8
    return table


def _map_arrow(files: Sequence[str]) -> "datasets.Dataset":
    """Arrow files of either form, mapped where they lie instead of copied into a cache."""
    tables = []
    for file in files:
        check_before(file, "arrow")
        with explain_failures([file], file, "arrow"):
            tables.append(_arrow_table(file))
        check_names(tables[-1].column_names, file)
    with explain_failures(files, files[0], "arrow"):
        return as_dataset(pa.concat_tables(tables))


def _arrow_table(file: str) -> pa.Table:
    mapped = pa.memory_map(file)
    is_file_format = mapped.read(6) == b"ARROW1"
    mapped.seek(0)
    return (pa.ipc.open_file(mapped) if is_file_format else pa.ipc.open_stream(mapped)).read_all()


def _open_folder(path: Path) -> "tuple[Mapping[str, datasets.Dataset], Path | None]":
    import datasets

    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        with explain_failures([str(path)], str(path), "save_to_disk"):
            loaded = datasets.load_from_disk(str(path))
        return (loaded if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}), None
    if (path / "data" / COMPENSATED).is_file():
        return {"train": expanded(Compensated.load(path / "data" / COMPENSATED))}, None
    card = path / "README.md"
    if card.is_file() and re.search(r"^configs:", card.read_text("utf-8", errors="replace"), re.MULTILINE):
        # The card says itself which files are which split.
        with explain_failures([str(path)], str(path), "folder"):
            return datasets.load_dataset(str(path)), None
    images = image_folder(path)
    if images:
        return images, path
    found = folder_splits(path, tuple(BUILDERS))
    if found:
        return {split: _read_files(files, str(path)) for split, files in found.items()}, None
    raise InputError(f'Folder "{path}" holds no data: {_EXPECTED}, a save_to_disk folder or images in one subfolder a class are expected.')


def _open_hub(source: str) -> "tuple[Mapping[str, datasets.Dataset], Path]":
    import datasets

    match = _HUB_NAME.fullmatch(source)
    assert match is not None, "only names of this form get here"
    with explain_failures([], source, "hub"):
        splits = datasets.load_dataset(match["name"], match["config"], revision=match["revision"])
    return splits, Path(datasets.config.HF_CACHE_HOME).expanduser()


def _looks_like_hub(source: str, path: Path) -> bool:
    return (
        bool(_HUB_NAME.fullmatch(source))
        and not source.startswith(".")
        and not path.parent.is_dir()
        and data_suffix(source) not in BUILDERS
    )


def _missing(source: str, path: Path) -> str:
    parent = path.parent
    siblings = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    hint = did_you_mean(path.name, siblings)
    where = f"file or folder there, and {parent} {'exists' if parent.is_dir() else 'does not exist either'}"
    return f'"{source}" was not found: no {where}.{hint} Give a path, a pattern, a hub name as org/name, or sample:NAME.'


def _builder(file: str) -> tuple[str, Mapping[str, Any]]:
    suffix = data_suffix(file)
    if suffix not in BUILDERS:
        raise InputError(f'Cannot read "{file}": its ending is "{suffix}", and {_EXPECTED} are read. Convert it, or mend its name.')
    return BUILDERS[suffix]
