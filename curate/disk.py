"""Writes files whole or not at all, and says in plain words what the disk refused."""

import errno
import json
import mmap
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError

from curate.errors import DoesNotFitError, InputError

TEMPORARY = ".tmp"


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file, flushes it to disk and renames it to `path`; a kill leaves the old file or the new one."""
    temporary = path.with_name(path.name + TEMPORARY)
    with plain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)  # half a file only fills a disk that is full
            raise
        _flush_folder(path.parent)


def write_summed(path: Path, write: Callable[[Path], object]) -> None:
    """As `write_whole`, and beside the file its checksum, for caches that have no manifest."""
    write_whole(path, write)
    write_whole(_sum(path), lambda temporary: temporary.write_text(checksum(path)))


def is_whole(path: Path) -> bool:
    """Whether a file that `write_summed` wrote is there, to the last bit as it was written."""
    return path.is_file() and _sum(path).is_file() and _sum(path).read_bytes() == checksum(path).encode()


def _sum(path: Path) -> Path:
    return path.with_name(path.name + ".xxh3")


def write_json(path: Path, value: Any) -> None:
    """A JSON file with sorted keys, so that equal values are equal bytes."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def checksum(path: Path) -> str:
    """xxh3-128 of a file's bytes as "xxh3:<32 hex digits>"; reads through a memory map, about 10 GB/s from the page cache."""
    if path.stat().st_size == 0:
        return "xxh3:" + xxhash.xxh3_128_hexdigest(b"")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        return "xxh3:" + xxhash.xxh3_128_hexdigest(view)


@contextmanager
def plain_os_errors(path: Path) -> Iterator[None]:
    """Turns a full or read-only disk into an error that says what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = _number(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise DoesNotFitError(
                f'The disk is full: could not write "{path}". Free some room and run the same command again; '
                "it goes on from the last whole shard."
            ) from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(f'May not write "{path}" ({os.strerror(number)}). Point --out at a folder that you can write to.') from error
        if number in (errno.ENOTDIR, errno.EEXIST):
            raise InputError(f'Cannot write "{path}": a file is where a folder is needed. Point --out elsewhere.') from error
        if number in (errno.ENOENT, errno.ENAMETOOLONG):
            raise InputError(f'Cannot make "{path}" ({os.strerror(number)}). Point --out at a place where folders can be made.') from error
        raise


def _number(error: OSError | SafetensorError) -> int | None:
    """The system's number of an error; safetensors says it in words alone: "… (os error 28)"."""
    if isinstance(error, OSError):
        return error.errno
    said = re.search(r"os error (\d+)", str(error))
    return int(said[1]) if said else None


def _flush_folder(folder: Path) -> None:
    """A rename is only durable once the folder itself is on disk; Windows cannot open folders and needs no flush."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
