"""What a folder's files are: which belong to which split, and images whose subfolders are their classes."""

import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from curate.errors import InputError
from curate.reading import PACKED, as_dataset

if TYPE_CHECKING:
    import datasets

log = logging.getLogger(__name__)

IMAGES: Final = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})
_SPLITS: Final = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}
# Files that stores and exports put beside the data.
_NOT_DATA: Final = frozenset({"dataset_info.json", "dataset_infos.json", "state.json", "manifest.json", "log.jsonl", "selection.arrow"})


def folder_splits(path: Path, endings: Sequence[str]) -> dict[str, list[str]]:
    """Split name to sorted data files, from the folder itself, else its `data`, else anywhere below; of the commonest ending.

    A file belongs to the split that its name (or a folder's on the way) bears as a word, "train" if none bears any.
    """
    for found in (_files(path, False), _files(path / "data", False), _files(path, True)):
        data = [file for file in found if data_suffix(file.name) in endings and file.name not in _NOT_DATA]
        if data:
            break
    else:
        return {}
    (ending, most), *others = Counter(data_suffix(file.name) for file in data).most_common()
    if others and others[0][1] == most:
        raise InputError(
            f'"{path}" holds as many {others[0][0]} as {ending} files; data of one kind is expected. Name the files meant, as a pattern.'
        )
    if others:
        passed = ", ".join(file.name for file in data if data_suffix(file.name) != ending)
        log.warning('Of "%s" the %d %s files are read, and these are passed over: %s', path, most, ending, passed)
    data = [file for file in data if data_suffix(file.name) == ending]
    named = {file: _split_of(file.relative_to(path)) for file in data}
    if any(named.values()) and (odd := [file for file, split in named.items() if split is None]):
        raise InputError(f'"{odd[0]}" bears no split in its name, unlike other files in "{path}". Name the files meant, as a pattern.')
    splits: dict[str, list[str]] = {}
    for file, split in named.items():
        splits.setdefault(split or "train", []).append(str(file))
    return splits


def image_folder(path: Path) -> "Mapping[str, datasets.Dataset]":
    """The splits of a folder of images, by path only; empty where it is none. Files that are no images are passed over.

    Every image's uppermost folder is its class, below `train`, `test` … if all images lie in such; an image in none has no label.
    """
    found = _files(path, True)
    images = [file.relative_to(path).parts for file in found if file.suffix.lower() in IMAGES]
    if len(images) * 2 <= len(found):
        return {}
    by_split: dict[str, list[tuple[str, ...]]] = {}
    if all(len(parts) > 1 and parts[0].lower() in _SPLITS for parts in images):
        for parts in images:
            by_split.setdefault(_SPLITS[parts[0].lower()], []).append(parts)
        depth = 1
    else:
        by_split, depth = {"train": images}, 0
    classes = sorted({parts[depth] for parts in images if len(parts) > depth + 1})
    return {split: _image_table(path, rows, depth, classes) for split, rows in by_split.items()}


def data_suffix(file: str) -> str:
    """The ending that tells a file's format, in lower case; of a URL without its query.

    >>> data_suffix("rows.JSONL.gz"), data_suffix("s3://bucket/x.csv?versionId=1")
    ('.jsonl', '.csv')
    """
    name = file.partition("?")[0] if "://" in file else file
    for packed in PACKED:
        name = name.removesuffix(packed)
    return os.path.splitext(name)[1].lower()


def _image_table(path: Path, images: Sequence[tuple[str, ...]], depth: int, classes: Sequence[str]) -> "datasets.Dataset":
    import datasets

    kinds: dict[str, object] = {"image": datasets.Image()}
    codes = {name: code for code, name in enumerate(classes)}
    paths = pa.array([str(path.joinpath(*parts)) for parts in images], pa.string())
    columns: dict[str, pa.Array] = {"image": pa.StructArray.from_arrays([pa.nulls(len(paths), pa.binary()), paths], ["bytes", "path"])}
    if classes:
        kinds["label"] = datasets.ClassLabel(names=list(classes))
        columns["label"] = pa.array([codes[parts[depth]] if len(parts) > depth + 1 else None for parts in images], pa.int64())
    features = datasets.Features(kinds)
    return as_dataset(pa.table(columns).cast(features.arrow_schema))


def _files(path: Path, recursive: bool) -> list[Path]:
    """The folder's files, sorted; without hidden ones and those in hidden folders."""
    found: list[Path] = []
    for where, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")] if recursive else []
        found += [Path(where, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _split_of(relative: Path) -> str | None:
    words = re.findall(r"[a-z]+", str(relative.with_suffix("")).lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)
