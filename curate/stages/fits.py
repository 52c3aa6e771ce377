"""One training of a comparison, and where it is done: in this process, or in processes beside it."""

import json
import pickle
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from curate.comparison import METRICS
from curate.progress import Progress, Silent, Task
from curate.stages import engines, machine
from curate.stages.arms import Arm, Rows
from curate.stages.room import physical_memory
from curate.stages.trainers import FitFailed, Trainer

WORKER_BYTES: Final = 1 << 29  # what a process that trains holds, its inputs aside
PAYS_FROM: Final = 60.0  # seconds of training left, from which it pays to start processes: each imports torch first


@dataclass(frozen=True)
class Fit:
    """What a training came to: its line of the table, and the wall and CPU seconds that it is charged, None where nothing came of it."""

    line: Mapping[str, Any]
    seconds: tuple[float, float] | None


@dataclass(frozen=True)
class Beside:
    """How many trainings go on beside each other at `most`: so many where that is `sure`, else only where it pays."""

    most: int = 1
    sure: bool = True


@dataclass(frozen=True, eq=False)
class Fits:
    """What all trainings of a comparison have in common. A training is a function of this, an arm and a seed, wherever it is done."""

    trainer: Trainer
    available: Rows
    labels: Rows | None
    settled: Mapping[str, Any]

    def fit(self, arm: Arm, seed: int, task: Task) -> Fit:
        rows, weights = arm.draw(seed, self.available, self.labels)
        steps = self.trainer.steps(len(rows), len(self.available))
        line: dict[str, Any] = {"arm": arm.name, "seed": seed, "rows": len(rows), "steps": steps}
        started = _clocks()
        try:
            fitted = self.trainer.run(arm, rows, weights, seed, steps, task)
        except FitFailed as error:
            return Fit({**line, "status": str(error)}, None)
        finally:
            if steps is None:
                task.advance()
        wall, used = (now - then - aside for now, then, aside in zip(_clocks(), started, fitted.aside, strict=True))
        more = {name: value for name, value in fitted.metrics.items() if name not in METRICS}
        line |= {name: fitted.metrics.get(name) for name in METRICS}
        line |= {"steps": fitted.steps, "more": json.dumps(more, sort_keys=True) if more else None}
        line["curve"] = [{"step": step, "accuracy": accuracy} for step, accuracy in fitted.curve] or None
        return Fit(line, (wall, used))

    def each(self, asked: Sequence[tuple[Arm, int]], beside: Beside, task: Task, progress: Progress) -> Iterator[Fit]:
        """The trainings in their order. Whether processes pay is known once the first is done, here."""
        started = time.perf_counter()
        for done, one in enumerate(asked):
            left = asked[done:]
            workers = min(beside.most, len(left))
            pays = beside.sure or len(left) * (time.perf_counter() - started) >= PAYS_FROM
            if done == (0 if beside.sure else 1) and workers > 1 and pays:
                held = self._portable()
                if held is not None:
                    yield from _in_processes(held, left, _affordable(workers, len(held)), task, progress)
                    return
                progress.note("All is trained in this process: the model or the data cannot go to another one.")
            yield self.fit(*one, task)

    def _portable(self) -> bytes | None:
        """What another process makes the same of; None for a model or data that cannot go there."""
        try:
            return pickle.dumps(self)
        except (pickle.PicklingError, AttributeError, TypeError):
            return None


def _in_processes(held: bytes, asked: Sequence[tuple[Arm, int]], workers: int, task: Task, progress: Progress) -> Iterator[Fit]:
    with engines.holding(held, workers, progress) as processes:
        for fit in processes.map(_fit_there, asked):
            task.advance(fit.line["steps"] or 1)
            yield fit


def _fit_there(asked: tuple[Arm, int]) -> Fit:
    fits: Fits = engines.held()
    with machine.as_started(fits.settled), Silent().task("train", 1) as task:
        return fits.fit(*asked, task)


def _affordable(workers: int, size: int) -> int:
    """No more of them than half of the memory has room for."""
    memory = physical_memory()
    return workers if memory is None else max(1, min(workers, memory // 2 // (WORKER_BYTES + 2 * size)))


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
