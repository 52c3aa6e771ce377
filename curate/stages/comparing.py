"""`curate compare`: trains on selections, on random rows and on everything, over several seeds, and says whether a selection paid."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa

from curate.comparison import ARMS, SCHEMA, Comparison
from curate.data import Dataset
from curate.errors import ColumnError, InputError, OptionError, OtherJobError, UsageError, did_you_mean
from curate.loading import load
from curate.progress import Progress, Silent
from curate.scores import Scores, describe_dataset
from curate.selection import HERE, Selection
from curate.stages import machine, showing
from curate.stages.arms import Rows, excluded_rows, held_rows, make_arms, open_selections
from curate.stages.curves import draw_curve
from curate.stages.fits import Beside, Fit, Fits
from curate.stages.running import RunOptions
from curate.stages.trainers import FunctionTrainer, ProxyTrainer, Trainer, plan
from curate.store import Store, differences, writing

if TYPE_CHECKING:
    from curate.signals.proxies import Proxy
    from curate.signals.training import Recipe

EXCLUDED: Final = "excluded"
CURVE: Final = "curve.png"
NAMED: Final = 10  # so many excluded rows are named in the summary; the store has them all
Budget = Literal["steps", "epochs"]


def compare(
    data: Any,
    selections: Any,
    *,
    out: str | Path,
    test: Any = None,
    seeds: int = 5,
    seed: int = 0,
    budget: str | None = None,
    steps: int | None = None,
    train: str | None = None,
    scores: Scores | str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Comparison:
    """Trains fresh models on each selection, on as many random rows and on everything; the store in `out` says what came of it.

    `selections` are folders or `Selection`s of `data` (whatever `curate.load` takes), or a mapping of names to them. `test` is data with
    the same columns; without it the source's own test split tests, else a seeded fifth of `data`, stratified and taken out of every
    arm. Rows of `data` with the same input as a test row are taken out of every arm too, and counted. Each of `seeds` seeds (seed,
    seed+1, …) trains every arm once, from the same initial weights; random arms draw anew. Selections whose sizes differ by
    less than 1 % share one random arm, as large as the largest of them.

    `budget="steps"` (the default): every arm makes `steps` steps, by default as many as everything does in `epochs` epochs.
    "epochs": each makes `epochs` epochs of its own rows. `options` are those of the training run (`model`, `epochs`, `lr`, …: the fields
    of `RunOptions`), and the schedule is onecycle unless named. A selection's weights weigh the loss. `train="FILE.py:FUNCTION"` trains
    by the user's own `train(dataset, seed) -> metrics` instead. `scores` is the score store whose cost is charged.

    `selections` may also name online samplers, "rs2:share=0.3", which choose among all rows in every epoch.

    `workers` models are trained beside each other, in processes of this machine; None for as many as its cores have room for, once the
    first training has shown that it pays. What comes out is the same. A script needs `if __name__ == "__main__":` for more than one.

    The same call after a kill goes on where it stopped, and tries again what failed; with more seeds it trains those that are new.
    Cost: for every seed one training on everything, one on each selection, two on each size. Raises, before any training,
    OtherDatasetError for a selection of other data, ColumnError for a test set of other columns or classes, OtherJobError where
    `out` holds another job; InputError where every training failed.
    """
    progress = progress or Silent()
    data = load(data)
    _check(seeds, budget, steps, train, device, workers, RunOptions.of(options))
    chosen = open_selections(selections, data)
    cost = None if scores is None else _scoring_seconds(scores, data)
    with writing(out, overwrite=overwrite) as folder:
        known = _known(folder, data)
        each = [seed + i for i in range(seeds)]
        if train is not None:
            _require_selections(chosen)
            weighted = any((one.weight != 1).any() for one in chosen.values() if isinstance(one, Selection))
            own = FunctionTrainer(data, train, test, seed, weighted, progress)
            store = _do(_Job(data, own, chosen, each, progress), folder, known, {}, cost, Beside())
        else:
            proxy, recipe = plan(data, RunOptions.of(options))
            held = held_rows(data, test, seed)
            cores = machine.threads_now()
            settled = _settled(known, device, lambda: _threads(data, proxy, recipe, workers, cores))
            free = cores // settled["threads"] if settled["device"] == "cpu" else 1
            beside = Beside(workers or free, sure=workers is not None)
            with machine.as_started(settled):
                trainer = ProxyTrainer(data, held, proxy, recipe, budget or "steps", steps, settled["device"], progress)
                store = _do(_Job(data, trainer, chosen, each, progress), folder, known, settled, cost, beside)
    return Comparison(store)


def _settled(known: Store | None, device: str, threads: Callable[[], int]) -> dict[str, Any]:
    """What moves rounding: as the job was started, else as it is chosen now."""
    if known is None:
        return {**machine.settle(device), "threads": threads()}
    if "device" not in known.settled:
        raise OtherJobError(f'"{known.path}" holds a comparison by a training function of one\'s own. Use another --out, or --overwrite.')
    machine.require_device(known.settled, device)
    return known.settled


def _threads(data: Dataset, proxy: "Proxy", recipe: "Recipe", workers: int | None, cores: int) -> int:
    """Threads of a training: one for the networks that go to other processes, since two trainings make more of two cores than one does."""
    from curate.signals.proxies import BUILT_IN

    if workers is None and proxy.name in BUILT_IN:
        return 1
    return min(machine.choose_threads(data, proxy, recipe), max(1, cores // (workers or 1)))


def _do(job: "_Job", folder: Path, known: Store | None, settled: Mapping[str, Any], cost: float | None, beside: Beside) -> Store:
    store = job.open(folder, known, settled)
    if cost is not None:
        store.log("scoring", seconds=cost)
    job.do(store, beside)
    return store


def _check(
    seeds: int, budget: str | None, steps: int | None, train: str | None, device: str, workers: int | None, options: RunOptions
) -> None:
    """Everything that can be known to be wrong before anything is read."""
    if seeds < 1:
        raise OptionError(f"seeds must be 1 or more, got {seeds}; an interval needs 2, and 3 or more are advised.")
    if workers is not None and workers < 1:
        raise OptionError(f"workers must be 1 or more, got {workers}.")
    if train is not None and workers is not None and workers > 1:
        raise UsageError("--train trains by your own function, in this process, so --workers has no use.")
    if budget is not None and budget not in get_args(Budget):
        raise OptionError(f'budget must be steps or epochs, got "{budget}".{did_you_mean(budget, get_args(Budget))}')
    if steps is not None and (steps < 1 or budget == "epochs"):
        raise OptionError(f"steps must be 1 or more and goes with --budget steps; got {steps} with --budget {budget or 'steps'}.")
    if options.checkpoints is not None:
        raise OptionError("compare keeps no weights, so --checkpoints has no use here. Leave it out.")
    if train is not None and (options != RunOptions() or budget is not None or steps is not None or device != "auto"):
        raise UsageError("--train trains by your own function, so --model, --epochs, --budget, --steps, --device and the like have no use.")


def _require_selections(chosen: Mapping[str, Selection | str]) -> None:
    online = [name for name, one in chosen.items() if isinstance(one, str)]
    if online:
        raise UsageError(f'"{online[0]}" chooses while training, and a training function of your own is given its rows beforehand.')


def _known(folder: Path, data: Dataset) -> Store | None:
    """The comparison that is in the folder already, if any; OtherJobError for a store of another kind or of other data."""
    if not (folder / "manifest.json").is_file():
        return None
    store = Store.open(folder)
    if store.kind != "comparison" or store.dataset != _as_json(describe_dataset(data)):
        kind = "a comparison of other data or columns" if store.kind == "comparison" else f"a {store.kind}, no comparison"
        raise OtherJobError(f'"{folder}" holds {kind}. Use another --out, or --overwrite.')
    return store


def _as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """A value as it is read back from a manifest, tuples become lists."""
    found: dict[str, Any] = json.loads(json.dumps(value))
    return found


def _grown(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The job with further seeds, where that is all that differs: a finished comparison may be given more."""
    there, asked = known.get("seeds", []), wanted["seeds"]
    same = {**known, "seeds": None} == {**wanted, "seeds": None}
    return {"seeds": asked} if same and len(asked) > len(there) and asked[: len(there)] == there else None


def _scoring_seconds(scores: Scores | str | Path, data: Dataset) -> float:
    """What scoring took by the store's log, its training runs included."""
    opened = scores if isinstance(scores, Scores) else Scores.open(scores)
    opened.require_dataset(data)
    return float(showing.describe(opened.path)["seconds"])


class _Job:
    """One call of `compare`: the arms, and which of them are trained already."""

    def __init__(
        self, data: Dataset, trainer: Trainer, chosen: Mapping[str, Selection | str], seeds: list[int], progress: Progress
    ) -> None:
        self.data, self.trainer, self.seeds, self.progress = data, trainer, seeds, progress
        self.labels = data.labels if data.label is not None else None
        self.excluded = excluded_rows(data, trainer.held, trainer.failed)
        available = np.setdiff1d(np.arange(len(data)), np.fromiter(self.excluded, np.int64, len(self.excluded)))
        if self.labels is not None and len(np.unique(self.labels[available])) < 2:
            raise ColumnError(
                f'"{data.source}" has {len(available):,} rows of fewer than two classes that are not in the test set as well. '
                "Name another test set with --test."
            )
        self.available: Rows = available
        self.arms = make_arms(chosen, available, labelled=self.labels is not None)

    def open(self, folder: Path, known: Store | None, settled: Mapping[str, Any]) -> Store:
        """The store of this very job, new or gone on with; OtherJobError for any other."""
        job = {**self.trainer.about, "seeds": self.seeds, "excluded": self._excluded(), "arms": [arm.about() for arm in self.arms]}
        if job.get("budget") == "steps":
            job["steps"] = self.trainer.steps(len(self.available), len(self.available))
        job = _as_json(job)
        if known is None:
            return Store.create(folder, "comparison", dataset=describe_dataset(self.data), job=job, settled=settled)
        grown = _grown(known.job, job)
        if grown is not None:
            known.forget(HERE, [entry.file for entry in known.files(HERE)])  # the picture of fewer seeds
            known.update(job=grown)
        elif known.job != job:
            raise OtherJobError(f'"{folder}" holds another comparison ({differences(known.job, job)}). Use another --out, or --overwrite.')
        return known

    def do(self, store: Store, beside: Beside) -> None:
        """Trains what is missing, seed by seed, so that what a killed job leaves is a whole table of fewer seeds."""
        for fault in store.drop_damaged():
            self.progress.note(f'File "{fault.file}" is damaged ({fault.problem}); it is made again.')
        for table in (ARMS, EXCLUDED, HERE):
            store.describe(table, {})
        if not store.files(EXCLUDED):
            rows = sorted(self.excluded)
            store.add_shard(
                EXCLUDED, "part-00000.arrow", pa.table({"row": rows, "reason": [self.excluded[row] for row in rows]}, _EXCLUDED)
            )
        self._forget_failures(store)
        self._train(store, beside)
        self._require_one(store)
        self._draw(store)

    def _train(self, store: Store, beside: Beside) -> None:
        done = {entry.file for entry in store.files(ARMS)}
        todo = [(i, arm, seed) for seed in self.seeds for i, arm in enumerate(self.arms) if _file(i, seed) not in done]
        everything = len(self.available)
        work = sum(self.trainer.steps(arm.size, everything) or 1 for _, arm, _ in todo)
        unit = "steps" if self.trainer.steps(everything, everything) else "trainings"
        fits = Fits(self.trainer, self.available, self.labels, store.settled)
        with self.progress.task(f"train {len(todo)} models", work, unit) as task:
            made = fits.each([(arm, seed) for _, arm, seed in todo], beside, task, self.progress)
            for (i, _, seed), fit in zip(todo, made, strict=True):
                self._enter(store, _file(i, seed), fit)

    def _enter(self, store: Store, file: str, fit: Fit) -> None:
        arm, seed = fit.line["arm"], fit.line["seed"]
        if fit.seconds is None:
            self.progress.note(f'"{arm}" with seed {seed} came to nothing: {fit.line["status"]}')
        else:
            store.log("fit", arm=arm, seed=seed, wall=fit.seconds[0], cpu=fit.seconds[1])
        store.add_shard(ARMS, file, pa.Table.from_pylist([fit.line], SCHEMA))

    def _forget_failures(self, store: Store) -> None:
        """What failed is tried again: its cause may be mended."""
        if store.files(ARMS):
            entries = store.files(ARMS)
            statuses = store.read(ARMS, ["status"]).column(0).to_pylist()
            failed = [entry.file for entry, status in zip(entries, statuses, strict=True) if status is not None]
            store.forget(ARMS, failed)
            if failed:
                store.forget(HERE, [entry.file for entry in store.files(HERE)])

    def _require_one(self, store: Store) -> None:
        statuses = store.read(ARMS, ["status"]).column(0).to_pylist()
        if all(status is not None for status in statuses):
            raise InputError(
                f"Every one of {len(statuses)} trainings came to nothing; the first: {statuses[0]}. Mend it and run this again."
            )

    def _draw(self, store: Store) -> None:
        sizes = {arm.size for arm in self.arms if arm.kind == "random"}
        if len(sizes) > 1 and not store.files(HERE):
            summary = Comparison(store).summary()
            store.add_file(HERE, CURVE, lambda path: draw_curve(summary, path))

    def _excluded(self) -> dict[str, Any]:
        """How many rows no arm trains on, by reason, and the first of those that are in the test set."""
        counts: dict[str, int] = {}
        for reason in self.excluded.values():
            counts[reason] = counts.get(reason, 0) + 1
        overlap = sorted(row for row, reason in self.excluded.items() if reason == "in_test")
        return {"counts": dict(sorted(counts.items())), "in_test": overlap[:NAMED]}


_EXCLUDED: Final = pa.schema({"row": pa.int64(), "reason": pa.string()})


def _file(arm: int, seed: int) -> str:
    return f"arm-{arm:03d}-seed-{seed}.arrow"
