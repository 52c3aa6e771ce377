"""`curate select --dry-run`: what a selection is going to take, told before it starts."""

import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from curate.data import Dataset
from curate.embeddings import Embeddings
from curate.loading import load
from curate.pool import ArrayPool
from curate.progress import Progress, Silent
from curate.protocols import CountsWork, Keep, Sampler
from curate.rng import KeyedRandom
from curate.scores import Scores
from curate.selection import Selection
from curate.stages import narrowing
from curate.stages.room import require_room
from curate.stages.selecting import Prepared, Request, candidates_of, choose, prepare, turns

WARM: Final = 64  # rows of a trial that is not counted: it imports what is imported late
FEWEST: Final = 500  # rows of the first trial
MOST: Final = 16_000  # and of the last
LONG_ENOUGH: Final = 0.25  # seconds, below which a trial says more of the machine than of the method


def plan(
    data: Any,
    scores: Scores | str | Path | None = None,
    *,
    embeddings: Embeddings | str | Path | None = None,
    sampler: str | Sampler | None = None,
    by: str | None = None,
    keep: Keep | None = None,
    budget: str | int | float | None = None,
    where: str | None = None,
    within: Selection | str | Path | None = None,
    per_class: bool | str = False,
    narrow: str | float | None = None,
    narrow_with: str = "top",
    nan: str | None = None,
    seed: int = 0,
    out: str | Path = ".",
    rows_only: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What `select` with the same arguments would do: what it reads, how many rows it keeps, and about how many seconds and bytes it takes.

    Raises what `select` raises before its work, DoesNotFitError where memory or disk would not do; writes nothing. A sampler that reads
    vectors is tried on some of the rows, and the time scaled by the sampler's own count of its work; any other is quick enough to be run,
    and `report` is that of the rows which it would keep.
    """
    data = load(data)
    request = Request(sampler, by, keep, budget, where, within, per_class, nan, seed, Embeddings.of(embeddings, data), narrow, narrow_with)
    columns = candidates_of(data, scores)
    ready = prepare(data, columns, request, progress or Silent())
    about = describe(ready, data, request)
    require_disk(data, ready.k, Path(out), rows_only=rows_only)
    if "embedding" not in ready.columns:
        about["report"] = choose(ready, data, columns, request).report
    return about


def describe(ready: Prepared, data: Dataset, request: Request) -> dict[str, Any]:
    """What is read, kept and needed. `seconds` is None for a sampler that reads no vectors, and for a filter."""
    vectors = ready.columns.get("embedding")
    return {
        "sampler": ready.plugin.name if ready.plugin else None,
        "reads": list(ready.sampler.requires) if ready.sampler else [],
        "of": len(data),
        "candidates": len(ready.pool) + len(ready.last),
        "keeps": ready.k,
        "dimensions": vectors.shape[1] if vectors is not None else None,
        "memory": ready.needed,
        "seconds": None if ready.sampler is None or vectors is None else _seconds(ready, data, request),
        "disk": bytes_written(data, ready.k),
    }


def bytes_written(data: Dataset, k: int) -> int:
    """About what k rows of the data take, and which they are."""
    return int(k * (data.table.data.nbytes / max(1, data.table.data.num_rows) + 24))


def require_disk(data: Dataset, k: int, out: Path, *, rows_only: bool) -> None:
    require_room(out, 24 * k if rows_only else bytes_written(data, k))


def _seconds(ready: Prepared, data: Dataset, request: Request) -> float:
    """A trial on some candidates, or on all where they are few, and from there by the sampler's count of its work."""
    sampler, asked = ready.sampler, turns(ready, data, request)
    assert sampler is not None, "a filter is not timed"
    if isinstance(sampler, narrowing.Narrowed):
        asked = [(max(k, sampler.candidates(n)), k) for n, k in asked]
        sampler = sampler.then
    share = sum(k for _, k in asked) / sum(n for n, _ in asked)
    size, d = FEWEST, ready.columns["embedding"].shape[1]
    _time(sampler, ready.pool, WARM, share)
    always, _ = _time(sampler, ready.pool, WARM, share)  # what does not grow with the rows
    while True:
        size = min(size, len(ready.pool))
        taken, k = _time(sampler, ready.pool, size, share)
        if taken - always >= LONG_ENOUGH or size >= min(MOST, len(ready.pool)):
            whole = sum(work_of(sampler, n, d, k) for n, k in asked)
            return always + max(taken - always, 0.05 * taken) * whole / work_of(sampler, size, d, k)
        size *= 2


def _time(sampler: Sampler, pool: ArrayPool, size: int, share: float) -> tuple[float, int]:
    """Seconds to choose that share of so many candidates, spread over all, and how many those are."""
    rows = np.unique(np.linspace(0, len(pool) - 1, min(size, len(pool))).astype(np.int64))
    few, k = pool.subset(rows), max(1, round(share * len(rows)))
    started = time.perf_counter()
    sampler.select(few, k, KeyedRandom(0, "trial"))
    return time.perf_counter() - started, k


def work_of(sampler: Sampler, n: int, d: int, k: int) -> float:
    """Its own count of its steps, up to a constant; in proportion to the candidates where it has none."""
    return sampler.work(n, d, k) if isinstance(sampler, CountsWork) else float(n)
