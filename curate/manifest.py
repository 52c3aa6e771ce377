"""A store's manifest as it is read: its parts are what they should be, or it is damaged, and what it lacks is said to be lacking."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from curate.errors import DamagedStoreError, InputError, did_you_mean

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Entry:
    """One finished file of a table: where it lies, which rows it holds, and what proves that it is whole."""

    file: str
    bytes: int
    checksum: str
    first: int = 0
    rows: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)


class Said(dict[str, Any]):
    """What a manifest says of something; DamagedStoreError for a key that it should have and has not."""

    def __init__(self, said: Mapping[str, Any], folder: Path) -> None:
        super().__init__(said)
        self._folder = folder

    def __missing__(self, key: str) -> NoReturn:
        raise _damaged(self._folder / MANIFEST, f'it says nothing of "{key}"')

    def __reduce__(self) -> tuple[Any, ...]:
        return Said, (dict(self), self._folder)


def read_manifest(folder: Path, made_by: str) -> dict[str, Any]:
    """The manifest of the store in a folder, its tables' files as `Entry`; InputError where there is none, with what makes one."""
    file = folder / MANIFEST
    if not file.is_file():
        known = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
        hint = "" if folder.is_dir() else did_you_mean(folder.name, known)
        found = f"it has no {MANIFEST}" if folder.exists() else "no such folder"
        raise InputError(f'"{folder}" is not a store: {found}.{hint} {made_by}')
    try:
        manifest = dict(json.loads(file.read_text(encoding="utf-8")))
        manifest["tables"] = {name: _table_from_json(value) for name, value in manifest["tables"].items()}
        manifest["kind"], dict(manifest["job"]), dict(manifest["settled"]), range(manifest["dataset"].get("rows", 0))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(file, f"{type(error).__name__}: {error}") from error
    if manifest.get("format", 0) > FORMAT:
        raise InputError(
            f'Store "{folder}" has format {manifest["format"]}, this version reads up to {FORMAT}. Upgrade: pip install -U curatekit'
        )
    return manifest


def _table_from_json(value: Mapping[str, Any]) -> dict[str, Any]:
    files = {name: Entry(**entry) for name, entry in value["files"].items()}
    for entry in files.values():
        if Path(entry.file).is_absolute() or ".." in Path(entry.file).parts:
            raise ValueError(f'file "{entry.file}" is outside the store')
    return {"about": dict(value["about"]), "files": files}


def _damaged(file: Path, why: str) -> DamagedStoreError:
    return DamagedStoreError(
        f'The manifest "{file}" is damaged ({why}). Restore it from a backup, '
        "or start anew with --overwrite; the shards beside it are untouched."
    )
