"""What a server was paid to say, kept so that nothing is ever asked twice: a journal while a shard is in work, a sorted file afterwards."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO, Any

import xxhash

from curate.disk import write_whole

Answer = dict[str, float]


class Answers:
    """Answers by the hash of the request's payload, in a folder of JSON lines.

    Each is on disk before it is used. When a shard is done, its answers are written to `answers-ROW.jsonl`, sorted, and the journal
    goes: so the folder of a job that was killed and resumed ends as that of an undisturbed one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Answer] = {}
        self._lock = Lock()
        self._journal: IO[str] | None = None
        for file in sorted(folder.glob("*.jsonl")):
            self._known.update(_read(file))

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Answer:
        return self._known[key]

    def __len__(self) -> int:
        return len(self._known)

    @contextmanager
    def shard(self, first: int, keys: Iterable[str]) -> Iterator[None]:
        """Answers that are added belong to the shard that begins at row `first`, whose requests are `keys`."""
        path = self._folder / f"journal-{first:012d}.jsonl"
        self._folder.mkdir(parents=True, exist_ok=True)
        _end_torn_line(path)
        with open(path, "a", encoding="utf-8") as self._journal:
            yield
        self._journal = None
        lines = [_line(key, self._known[key]) for key in sorted(set(keys)) if key in self._known]
        write_whole(self._folder / f"answers-{first:012d}.jsonl", lambda temporary: temporary.write_text("".join(lines), encoding="utf-8"))
        path.unlink()

    def add(self, key: str, answer: Answer) -> None:
        """Keeps an answer; it is on disk when this returns. Any thread may call it."""
        with self._lock:
            assert self._journal is not None, "only while a shard is in work"
            self._journal.write(_line(key, answer))
            self._journal.flush()
            os.fsync(self._journal.fileno())
            self._known[key] = answer


def key_of(payload: Mapping[str, Any]) -> str:
    """The hash by which a request is known: of all that it says, not of where it was sent."""
    return xxhash.xxh3_128_hexdigest(json.dumps(payload, sort_keys=True, ensure_ascii=True).encode())


def _line(key: str, answer: Answer) -> str:
    return json.dumps({"key": key, "answer": answer}, sort_keys=True) + "\n"


def _end_torn_line(path: Path) -> None:
    """A kill in the middle of a line must not spoil the next one."""
    if path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        with open(path, "ab") as file:
            file.write(b"\n")


def _read(file: Path) -> Iterator[tuple[str, Answer]]:
    with open(file, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                found = json.loads(line)
                yield str(found["key"]), {str(token): float(p) for token, p in found["answer"].items()}
            except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError):
                continue  # cut short by a kill: that request is asked again
