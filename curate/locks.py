"""One writer a folder: an operating-system lock, so that a killed process leaves none behind."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from curate.disk import plain_os_errors
from curate.errors import OtherJobError

LOCK = ".lock"
LOOK_AGAIN = 0.2  # seconds


@contextmanager
def locked(folder: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Holds the folder's lock; OtherJobError where another process has it for longer than `wait` seconds. Readers need no lock."""
    path = folder / LOCK
    with plain_os_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")
    with file:
        until = time.monotonic() + wait
        while not (taken := _take(file)) and time.monotonic() < until:
            time.sleep(LOOK_AGAIN)
        if not taken:
            raise OtherJobError(f'Another process is writing in "{folder}". Wait for it to end, or choose another --out.')
        yield


def _take(file: IO[bytes]) -> bool:
    """Closing the file, or the death of the process, lets go again."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]  # exists on Windows only
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
