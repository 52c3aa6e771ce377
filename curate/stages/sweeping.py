"""Sees to it that what scorers want of a run's checkpoints is there: one pass over the rows for all of them, a file a range of rows."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from curate.errors import InputError
from curate.plugins import Plugin, options_of
from curate.protocols import Scorer, Sweeps
from curate.store import as_arrow

if TYPE_CHECKING:
    from curate.signals.runs import Run
    from curate.stages.running import Trainer

Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Sweeper:
    """A scorer that sweeps, and the table of the run that its columns are kept in: another one for other options."""

    table: str
    scorer: Sweeps
    about: Mapping[str, Any]

    @property
    def epochs(self) -> tuple[int, ...]:
        return tuple(self.scorer.epochs or ())

    def missing(self, run: "Run", ranges: Ranges) -> list[tuple[int, int]]:
        """The ranges of which not every row has been swept."""
        done = sorted((entry.first, entry.first + entry.rows) for entry in run.store.files(self.table)) if self._is_there(run) else []
        return [one for one in ranges if not _covered(one, done)]

    def _is_there(self, run: "Run") -> bool:
        return self.table in run.store.tables


def sweeper_of(plugin: Plugin, scorer: Scorer) -> Sweeper | None:
    """What a settled scorer wants of the checkpoints; None if it does not sweep."""
    if not isinstance(scorer, Sweeps):
        return None
    options = {name: list(v) if isinstance(v, tuple) else v for name, v in options_of(scorer).items()}
    about = {"method": plugin.method, "options": options, "version": scorer.version, "source": plugin.source_hash}
    return Sweeper(f"swept-{plugin.method}-{xxhash.xxh3_64_hexdigest(repr(about).encode())[:10]}", scorer, about)


def weights_needed(run: "Run", sweepers: Sequence[Sweeper], ranges: Ranges) -> set[str]:
    """The checkpoints that are still to be visited, as `checkpoints@EPOCH`."""
    return {f"checkpoints@{epoch}" for one in sweepers if one.missing(run, ranges) for epoch in one.epochs}


def sweep(trainer: "Trainer", run: "Run", sweepers: Sequence[Sweeper], ranges: Ranges) -> None:
    """Visits the checkpoints for every range of rows that is missing; a kill costs one range."""
    wanted = {one.table: set(one.missing(run, ranges)) for one in sweepers}
    todo = [one for one in ranges if any(one in missing for missing in wanted.values())]
    if not todo:
        return
    from curate.signals.training import seeded

    for one in sweepers:
        run.store.describe(one.table, one.about)
    weights = _weights(trainer, run, sweepers)
    model = seeded(lambda: trainer.proxy.build(trainer.inputs.shape, trainer.classes), run.seed).to(trainer.device)
    with trainer.progress.task(f"visit checkpoints (seed {run.seed})", sum(stop - first for first, stop in todo)) as task:
        for span in todo:
            _sweep_range(trainer, run, [one for one in sweepers if span in wanted[one.table]], span, model, weights, task)


def _sweep_range(
    trainer: "Trainer", run: "Run", sweepers: Sequence[Sweeper], span: tuple[int, int], model: Any, weights: Mapping[int, Any], task: Any
) -> None:
    from curate.signals.sweep import sweep_rows
    from curate.signals.training import rate_at

    started, cpu = time.perf_counter(), time.process_time()
    first, stop = span
    rows = np.setdiff1d(np.arange(first, stop), np.fromiter(trainer.failed, np.int64, len(trainer.failed)))
    epochs = sorted({epoch for one in sweepers for epoch in one.epochs})
    rates = {epoch: rate_at(trainer.recipe, (epoch - 0.5) / trainer.recipe.epochs) for epoch in epochs}  # of the middle of the epoch
    chosen = {epoch: weights[epoch] for epoch in epochs}
    scorers = [one.scorer for one in sweepers]
    found = sweep_rows(scorers, model, chosen, rates, trainer.inputs, rows, trainer.data.labels[rows], trainer.device, task)
    task.advance(stop - first - len(rows))
    for one, columns in zip(sweepers, found, strict=True):
        named = {name.removeprefix("swept."): name for name in getattr(one.scorer, "requires", ()) if name.startswith("swept.")}
        _require_columns(one, columns, named, len(rows))
        table = {name: as_arrow(_spread(columns.get(name), rows - first, stop - first)) for name in named}
        run.store.add_shard(one.table, f"rows-{first:012d}-{stop:012d}.arrow", pa.table(table), first=first)
    run.store.log("sweep", first=first, rows=stop - first, wall=time.perf_counter() - started, cpu=time.process_time() - cpu)


def _require_columns(one: Sweeper, columns: Mapping[str, Any], wanted: Mapping[str, str], n: int) -> None:
    """A third party's scorer is told what it owes."""
    if n and set(columns) != set(wanted):
        raise InputError(
            f'Scorer "{one.about["method"]}" requires {", ".join(wanted.values())}, but its `leave` gave '
            f"{', '.join(columns) or 'nothing'}. The names must be the same."
        )


def _spread(values: Any, at: Any, n: int) -> Any:
    """The values at their rows, NaN elsewhere."""
    values = np.empty((0,), np.float32) if values is None else values
    whole = np.full((n, *values.shape[1:]), np.nan, np.float32)
    whole[at] = values
    return whole


def _weights(trainer: "Trainer", run: "Run", sweepers: Sequence[Sweeper]) -> dict[int, Any]:
    from safetensors.torch import load_file

    epochs = sorted({epoch for one in sweepers for epoch in one.epochs})
    return {epoch: load_file(str(run.checkpoint(epoch)), device=str(trainer.device)) for epoch in epochs}


def _covered(span: tuple[int, int], done: Sequence[tuple[int, int]]) -> bool:
    reached, stop = span
    for first, end in done:
        if first <= reached < end:
            reached = end
    return reached >= stop
