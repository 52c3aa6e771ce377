"""Sees to it that what scorers want of a run's checkpoints is there: one pass over the rows for all of them, a file a range of rows.

The ranges are independent of each other, so they go to the engine that scores shards too, or are shared out between the parts of a job.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from curate.data import Dataset
from curate.disk import write_whole
from curate.errors import InputError
from curate.locks import locked
from curate.plugins import Plugin, find_class, options_of
from curate.progress import Silent
from curate.protocols import Scorer, Sweeps
from curate.stages.engines import Engine, Here
from curate.stages.parts import Part
from curate.store import Entry, Store, as_arrow, entry_of, write_arrow

if TYPE_CHECKING:
    from curate.signals.inputs import Inputs
    from curate.signals.runs import Run
    from curate.stages.running import Trainer

Ranges = Sequence[tuple[int, int]]

SWEPT: Final = "swept."
OF_TARGET: Final = "target.swept."
CLAIMS: Final = "claims"  # the folder in a run where parts say which range they are at


@dataclass(frozen=True)
class Sweeper:
    """A scorer that sweeps, and the table of the run that its columns are kept in: another one for other options or another target."""

    table: str
    scorer: Sweeps
    about: Mapping[str, Any]
    plugin: Plugin | None
    prefix: str = SWEPT

    @property
    def epochs(self) -> tuple[int, ...]:
        return tuple(self.scorer.epochs or ())

    @property
    def columns(self) -> list[str]:
        """What is kept of what the scorer's `leave` gives."""
        requires = getattr(self.scorer, "requires", ())
        return [name.removeprefix(self.prefix) for name in requires if name.startswith(self.prefix)]

    def missing(self, run: "Run", ranges: Ranges) -> list[tuple[int, int]]:
        """The ranges of which not every row has been swept."""
        done = sorted((entry.first, entry.first + entry.rows) for entry in run.store.files(self.table))
        return [one for one in ranges if not _covered(one, done)]


@dataclass(frozen=True, eq=False)
class Sweep:
    """Rows to be swept, the dataset's own or those of the target, and the scorers that sweep them together."""

    sweepers: Sequence[Sweeper]
    ranges: Ranges
    of_target: bool = False

    def missing(self, run: "Run") -> list[tuple[int, int]]:
        return [span for span in self.ranges if any(span in one.missing(run, self.ranges) for one in self.sweepers)]


def sweeper_of(plugin: Plugin, scorer: Scorer, target: Dataset | None = None) -> Sweeper | None:
    """What a settled scorer wants of the checkpoints, seen by the rows, or by those of the `target`; None if it does not sweep them."""
    prefix = SWEPT if target is None else OF_TARGET
    if not isinstance(scorer, Sweeps) or not any(name.startswith(prefix) for name in scorer.requires):
        return None
    options = {name: list(v) if isinstance(v, tuple) else v for name, v in options_of(scorer).items()}
    about = {"method": plugin.method, "options": options, "version": scorer.version, "source": plugin.source_hash}
    if target is not None:
        about["target"] = target.fingerprint
    table = f"swept-{plugin.method}-{xxhash.xxh3_64_hexdigest(repr(about).encode())[:10]}"
    return Sweeper(table, scorer, about, plugin.portable(options_of(scorer)), prefix)


def weights_needed(run: "Run", sweeps: Sequence[Sweep]) -> set[str]:
    """The checkpoints that are still to be visited, as `checkpoints@EPOCH`."""
    return {f"checkpoints@{epoch}" for sweep in sweeps for one in sweep.sweepers if one.missing(run, sweep.ranges) for epoch in one.epochs}


@dataclass(frozen=True, eq=False)
class Setting:
    """What a sweep needs besides the run: enough for another process to read the rows and build the model as this one does."""

    data: Dataset
    target: Dataset | None
    model: str | None  # as the user named it
    recipe: Mapping[str, Any]
    settled: Mapping[str, Any]
    max_failures: float
    trainer: "Trainer | None" = None  # this process's own

    @property
    def is_portable(self) -> bool:
        return self.data.recipe is not None and (self.target is None or self.target.recipe is not None)

    @cached_property
    def key(self) -> str:
        return repr((self.data.fingerprint, self.target and self.target.fingerprint, self.model, self.recipe, self.settled))

    def built(self) -> "Trainer":
        from curate.signals.proxies import find
        from curate.signals.training import Recipe
        from curate.stages.running import Trainer

        if self.trainer is not None:
            return self.trainer
        proxy = find(self.model, self.data)
        return Trainer(self.data, proxy, Recipe(**self.recipe), self.settled, self.max_failures, Silent(), self.model)

    def __getstate__(self) -> dict[str, Any]:
        """The datasets cross to another process as their recipes."""
        key, target = self.key, None if self.target is None else dict(self.target.recipe or {})
        return {**self.__dict__, "key": key, "trainer": None, "data": dict(self.data.recipe or {}), "target": target}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from curate.loading import load
        from curate.stages.arms import with_classes

        data = load(**state["data"])
        target = None if state["target"] is None else with_classes(load(**state["target"]), data, "target")
        self.__dict__.update({**state, "data": data, "target": target})


@dataclass(frozen=True)
class RangeTask:
    """Everything that visiting the checkpoints with rows first … stop-1 depends on."""

    setting: Setting
    run: Path
    sweepers: tuple[Sweeper, ...]
    span: tuple[int, int]
    of_target: bool

    def __getstate__(self) -> dict[str, Any]:
        """Scorers cross to another process as their plug-ins."""
        return {**self.__dict__, "sweepers": tuple(replace(one, scorer=None) for one in self.sweepers)}  # type: ignore[arg-type]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({**state, "sweepers": tuple(replace(one, scorer=_built(one.plugin)) for one in state["sweepers"])})


def sweep(setting: Setting, run: "Run", sweeps: Sequence[Sweep], engine: Engine) -> None:
    """Visits the checkpoints for every range of rows that is missing; a kill costs the ranges in flight."""
    for one in sweeps:
        todo = one.missing(run)
        if not todo:
            continue
        for sweeper in one.sweepers:
            run.store.describe(sweeper.table, sweeper.about)
        tasks = [_task(setting, run, one, span) for span in todo]
        portable = setting.is_portable and all(sweeper.plugin is not None for sweeper in one.sweepers)
        name = f"visit checkpoints{' with the target' if one.of_target else ''} (seed {run.seed})"
        assert setting.trainer is not None, "the process that sends the work has a trainer of its own"
        with setting.trainer.progress.task(name, sum(stop - first for first, stop in todo)) as bar:
            for task, done in zip(tasks, (engine if portable else Here()).map(sweep_range, tasks), strict=True):
                _enter(run.store, done)
                bar.advance(task.span[1] - task.span[0])
    shutil.rmtree(run.store.path / CLAIMS, ignore_errors=True)  # of parts, which are done by now
    _held.let_go()


def sweep_part(setting: Setting, run: "Run", sweeps: Sequence[Sweep], part: Part, *, everything: bool) -> None:
    """This part's ranges, then, where a scorer reads `everything`, whatever no other part has begun; waits for what others are at."""
    for one in sweeps:
        own = [i for i in range(len(one.ranges)) if one.of_target or part.has(i)]
        others = [i for i in range(len(one.ranges)) if everything and i not in own]
        for index in (*own, *others):
            _sweep_alone(setting, run.store.path, one, one.ranges[index])
    _held.let_go()


def _sweep_alone(setting: Setting, path: Path, one: Sweep, span: tuple[int, int]) -> None:
    """One range, unless another process has done it or does it now: that one is waited for."""
    from curate.signals.runs import Run

    claim = f"{'target' if one.of_target else 'rows'}-{span[0]}-{span[1]}"
    with locked(path / CLAIMS / claim, wait=float("inf")):
        run = Run.open(path)
        if not any(span in sweeper.missing(run, [span]) for sweeper in one.sweepers):
            return
        done = sweep_range(_task(setting, run, one, span))
        with locked(path, wait=float("inf")):
            store = Store.open(path)
            for sweeper in one.sweepers:
                store.describe(sweeper.table, sweeper.about)
            _enter(store, done)


Done = tuple[Mapping[str, Entry], Mapping[str, Any]]


def sweep_range(task: RangeTask) -> Done:
    """Visits the checkpoints with one range of rows and writes a file a scorer; the caller enters them in the manifest."""
    from curate.signals.sweep import sweep_rows
    from curate.stages import machine

    started, cpu = time.perf_counter(), time.process_time()
    held = _held.of(task)
    rows_of = held.target if task.of_target else held.own
    first, stop = task.span
    rows = np.setdiff1d(np.arange(first, stop), np.fromiter(rows_of.failed, np.int64, len(rows_of.failed)))
    weights = held.weights(task)
    scorers = [one.scorer for one in task.sweepers]
    with machine.as_started(task.setting.settled), Silent().task("visit", len(rows)) as bar:
        found = sweep_rows(scorers, held.model, weights, held.rates(weights), rows_of.inputs, rows, rows_of.labels[rows], held.device, bar)
    entries = {}
    for one, columns in zip(task.sweepers, found, strict=True):
        _require_columns(one, columns, len(rows))
        table = pa.table({name: as_arrow(_spread(columns.get(name), rows - first, stop - first)) for name in one.columns})
        path = task.run / one.table / f"rows-{first:012d}-{stop:012d}.arrow"
        write_whole(path, partial(write_arrow, data=table))
        entries[one.table] = entry_of(path, first=first, rows=stop - first)
    seconds = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    return entries, {"first": first, "rows": stop - first, **seconds}


@dataclass(frozen=True)
class _RowsOf:
    """What a sweep reads of a dataset: the model's inputs, class codes, and the rows that cannot be visited."""

    inputs: "Inputs"
    labels: NDArray[np.int64]
    failed: Mapping[int, str]


class _Sweeping:
    """The rows, the model and the weights that a process holds while it visits the checkpoints of one run."""

    def __init__(self, task: RangeTask) -> None:
        from curate.signals.training import seeded

        self._setting, self._path = task.setting, task.run
        self.trainer = task.setting.built()
        self.device = self.trainer.device
        self.model = seeded(lambda: self.trainer.proxy.build(self.trainer.inputs.shape, self.trainer.classes), 0).to(self.device)
        self._weights: dict[int, Any] = {}

    @cached_property
    def own(self) -> _RowsOf:
        return _RowsOf(self.trainer.inputs, self.trainer.data.labels, self.trainer.failed)

    @cached_property
    def target(self) -> _RowsOf:
        data, recipe = self._setting.target, self.trainer.recipe
        assert data is not None, "only a target is swept as one"
        read = {"image_size": recipe.image_size, "augment": recipe.augment}
        inputs = self.trainer.proxy.prepare(data, self.device, Silent(), **read, like=self.trainer.inputs)
        failed = {**dict.fromkeys(np.flatnonzero(data.labels < 0).tolist(), "no_label"), **inputs.failed}
        if len(failed) == len(data):
            raise InputError(f'No row of the target "{data.source}" has a label and can be read. Name another with --target.')
        return _RowsOf(inputs, data.labels, failed)

    def weights(self, task: RangeTask) -> dict[int, Any]:
        from safetensors.torch import load_file

        from curate.signals.runs import Run

        epochs = sorted({epoch for one in task.sweepers for epoch in one.epochs})
        for epoch in epochs:
            if epoch not in self._weights:
                self._weights[epoch] = load_file(str(Run.open(self._path).checkpoint(epoch)), device=str(self.device))
        return {epoch: self._weights[epoch] for epoch in epochs}

    def rates(self, epochs: Mapping[int, Any]) -> dict[int, float]:
        """The learning rates of the middle of the epochs."""
        from curate.signals.training import rate_at

        return {epoch: rate_at(self.trainer.recipe, (epoch - 0.5) / self.trainer.recipe.epochs) for epoch in epochs}


class _Held:
    """What this process visits checkpoints with, one run at a time."""

    sweeping: _Sweeping | None = None
    key: object = None

    def of(self, task: RangeTask) -> _Sweeping:
        key = (task.setting.key, task.run)
        if self.sweeping is None or key != self.key:
            self.sweeping, self.key = _Sweeping(task), key
        return self.sweeping

    def let_go(self) -> None:
        self.sweeping = self.key = None


_held = _Held()


def _task(setting: Setting, run: "Run", one: Sweep, span: tuple[int, int]) -> RangeTask:
    wanted = tuple(sweeper for sweeper in one.sweepers if sweeper.missing(run, [span]))
    return RangeTask(setting, run.store.path, wanted, span, one.of_target)


def _enter(store: Store, done: Done) -> None:
    entries, spent = done
    for table, entry in entries.items():
        store.enter(table, entry)
    store.log("sweep", **spent)


def _built(plugin: Plugin | None) -> Any:
    assert plugin is not None and plugin.where is not None, "only what can be found by name crosses to another process"
    return find_class("scorers", plugin.where)(**plugin.options)


def _require_columns(one: Sweeper, columns: Mapping[str, Any], n: int) -> None:
    """A third party's scorer is told what it owes."""
    lacking = set(one.columns) - set(columns)
    extra = set(columns) - set(one.columns) if one.prefix == SWEPT else set()
    if n and (lacking or extra):
        raise InputError(
            f'Scorer "{one.about["method"]}" requires {", ".join(one.prefix + name for name in one.columns)}, but its `leave` gave '
            f"{', '.join(columns) or 'nothing'}. The names must be the same."
        )


def _spread(values: Any, at: Any, n: int) -> Any:
    """The values at their rows, NaN elsewhere."""
    values = np.empty((0,), np.float32) if values is None else values
    whole = np.full((n, *values.shape[1:]), np.nan, np.float32)
    whole[at] = values
    return whole


def _covered(span: tuple[int, int], done: Sequence[tuple[int, int]]) -> bool:
    reached, stop = span
    for first, end in done:
        if first <= reached < end:
            reached = end
    return reached >= stop
