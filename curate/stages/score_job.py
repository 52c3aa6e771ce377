"""The work of `curate score`: opens or goes on with a store, has runs trained and swept, and writes every scorer's missing shards."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curate.data import Dataset
from curate.embeddings import Embeddings
from curate.errors import OtherDatasetError, OtherJobError, UsageError
from curate.locks import locked
from curate.plugins import options_of
from curate.progress import Progress, Task
from curate.protocols import Concludes, DependsOnMachine, Opens, Pays, ReadsTarget, Scorer, State
from curate.scores import ROWS, Scores, describe_dataset, require_same_dataset
from curate.stages import asked_signals, engines, estimates, machine, parts, running, shards, sweeping, targeting
from curate.stages.asking import Asked, describe_scorer
from curate.stages.engines import Engine
from curate.stages.parts import Part
from curate.stages.room import require_room
from curate.stages.running import RunOptions
from curate.stages.shards import ShardTask
from curate.stages.sweeping import Sweep, Sweeper
from curate.store import RESULT, Entry, Fault, Store, default_shard_rows, shard_name, shard_ranges

if TYPE_CHECKING:
    from curate.signals.runs import Run


class Job:
    """One call of `score`: what the store says and what was asked for, brought together, then done."""

    max_failures = 0.01
    max_requests: int | None = None
    engine: Engine = engines.Here()
    embeddings: Embeddings | None = None
    model_spec: str | None = None  # the model as the user named it
    target_embeddings: Embeddings | None = None

    def __init__(
        self,
        data: Dataset,
        folder: Path,
        asked: Sequence[Asked],
        target: Dataset | None,
        seed: int,
        seeds: int | None,
        run: str | Path | None,
        options: RunOptions,
        device: str,
        shard_rows: int | None,
        progress: Progress,
    ) -> None:
        self.data, self.folder, self.progress, self.wanted = data, folder, progress, asked
        self.needs_run = any(one.reads_run for one in asked)
        self.given_runs = running.reuse(run, data) if run is not None else []
        self.borrowed: Scores | None = None
        self.store = self._open(seed, seeds, device, shard_rows)
        self.seeds: list[int] = list(self.store.job["seeds"])
        self._settle_run(options, device)
        self.asked = [Asked(one.name, one.plugin, self._settled(one)) for one in asked]
        self.ranges = shard_ranges(len(data), int(self.store.settled["shard_rows"]))
        self.target = target
        self.sweepers = self._sweepers(None)
        self.target_sweepers = {} if target is None else self._sweepers(target)
        if self.needs_run and not self.given_runs:
            swept = (f"checkpoints@{epoch}" for one in self.sweepers.values() for epoch in one.epochs)
            requires = [name for one in self.asked for name in one.scorer.requires]
            running.require_checkpoints(self.recipe, (*requires, *swept))
            running.require_told_by_a_loss(self.proxy, requires)

    def _settled(self, one: Asked) -> Scorer:
        """The scorer with everything decided that was left to the run's length or to what is installed here."""
        if isinstance(one.scorer, DependsOnMachine):
            return one.scorer.on_machine(self.store.about(one.name)["options"] if one.name in self.store.tables else None)
        return one.scorer.settle(self.epochs) if one.reads_run else one.scorer

    def _sweepers(self, target: Dataset | None) -> dict[str, Sweeper]:
        found = {one.name: sweeping.sweeper_of(one.plugin, one.scorer, target) for one in self.asked}
        return {name: sweeper for name, sweeper in found.items() if sweeper is not None}

    @property
    def _sweeps(self) -> list[Sweep]:
        """What is to be visited: the rows, then the target's."""
        sweeps = [Sweep(list(self.sweepers.values()), self.ranges)] if self.sweepers else []
        if self.target is not None and self.target_sweepers:
            sweeps.append(Sweep(list(self.target_sweepers.values()), self._target_ranges(self.target), of_target=True))
        return sweeps

    def _target_ranges(self, target: Dataset) -> list[tuple[int, int]]:
        return shard_ranges(len(target), default_shard_rows(len(target)))

    def _open(self, seed: int, seeds: int | None, device: str, shard_rows: int | None) -> Store:
        found = [run.seed for run in self.given_runs] or [seed + i for i in range(seeds or 1)]
        if not (self.folder / "manifest.json").is_file() or _is_blank(Store.open(self.folder)):
            opens = any(isinstance(one.scorer, Opens) for one in self.wanted)
            settled = machine.settle(device) if self.needs_run or opens else {}
            if opens:
                settled["scoring_threads"] = machine.threads_now()
            settled["shard_rows"] = shard_rows or default_shard_rows(len(self.data))
            return Store.create(
                self.folder, "scores", dataset=describe_dataset(self.data), job={"seeds": found, "run": None}, settled=settled
            )
        store = Scores.open(self.folder).store
        try:
            require_same_dataset(store, self.data)
        except OtherDatasetError as error:
            raise OtherJobError(str(error)) from None
        described = describe_dataset(self.data)
        for role in ("inputs", "label", "id"):
            if store.dataset.get(role) != described.get(role):
                there, here = store.dataset.get(role), described.get(role)
                raise OtherJobError(f'Store "{self.folder}" was made with {role} {there}, here it is {here}. Use another --out.')
        if (seeds is not None or seed or self.given_runs) and store.job["seeds"] != found:
            raise OtherJobError(
                f'Store "{self.folder}" was made with seeds {store.job["seeds"]}, here they are {found}. Use another --out.'
            )
        if shard_rows not in (None, store.settled["shard_rows"]):
            raise OtherJobError(
                f'Store "{self.folder}" has {store.settled["shard_rows"]} rows a shard, not {shard_rows}. Use another --out.'
            )
        opens = any(isinstance(one.scorer, Opens) for one in self.wanted)
        if (self.needs_run or opens) and "device" not in store.settled:
            store.update(settled=machine.settle(device))
        if opens:
            machine.require_device(store.settled, device)
            if "scoring_threads" not in store.settled:
                store.update(settled={"scoring_threads": machine.threads_now()})
        return store

    def _settle_run(self, options: RunOptions, device: str) -> None:
        if not self.needs_run:
            if options != RunOptions() or self.given_runs:
                raise UsageError("None of the scorers reads a training run, so --model, --epochs, --run and the like have no use here.")
            return
        known = self.store.job["run"]
        if self.given_runs:
            given = _recipe_of(self.given_runs)
            if known not in (None, given):
                raise OtherJobError(f'Store "{self.folder}" was made from another run than --run names. Use another --out.')
            known = given
            if options != RunOptions():
                running.require_same_recipe(options, self.data, given, self.given_runs[0].store.path)
            self.epochs = self.given_runs[0].epochs
        else:
            machine.require_device(self.store.settled, device)
            self.proxy, self.recipe = running.plan_recipe(options, self.data, known)
            self.model_spec = options.model or (known or {}).get("model_spec")
            self.epochs = self.recipe.epochs
            if "threads" not in self.store.settled:
                self.store.update(settled={"threads": machine.choose_threads(self.data, self.proxy, self.recipe)})
            known = {"model": self.proxy.name, "model_spec": _portable(options.model, known), **running.as_json(self.recipe)}
        self._known = known

    epochs = 0

    def borrow(self, path: str | Path | None) -> None:
        """Opens the store that unchanged rows take their row-local scores from."""
        if path is not None:
            self.borrowed = Scores.open(path)
            self.borrowed.store.require_whole(self.borrowed.store.tables)

    def announce(self) -> None:
        """Writes down which run the scores are of, and what this machine decided, before another one can decide otherwise."""
        for one in self.asked:
            if isinstance(one.scorer, DependsOnMachine):
                self.store.describe(one.name, self._about(one, ()))
        self.store.update(job={"run": self._known} if self.needs_run else None)

    def do(self) -> None:
        self._require_room()
        self.announce()
        joined = parts.join(self.store)
        if joined:
            self.progress.note(f"Joined the parts {', '.join(joined)}.")
        self._report(self.store.drop_damaged())
        self._note_overlap()
        self._write_rows()
        self._score_all(self._runs(None), self.store, None)

    def do_part(self, part: Part) -> None:
        """This process's shards. The run is trained by whoever comes first; the others wait for it."""
        self._require_room()
        if self.needs_run and part.of > 1:
            self.progress.note("The run is trained by the part that comes first, or was already; the others wait for it.")
        runs = self._runs(part)
        with parts.part_store(self.store, part) as own:
            self._score_all(runs, own, part)

    def _require_room(self) -> None:
        require_room(self.folder, 36.0 * len(self.data) * (self.epochs * len(self.seeds) + len(self.asked)))

    def _report(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            self.progress.note(f'Shard "{fault.file}" is damaged ({fault.problem}); it is made again.')

    def _note_overlap(self) -> None:
        """A target row among the rows is closest to the target and proves nothing; whoever trains on it should know."""
        if self.target is None or all(one.plugin.method == "contamination" for one in self.asked):  # which tells it row by row
            return
        count = int(np.isin(self.data.input_hashes, self.target.input_hashes).sum())
        if count:
            self.progress.note(
                f'Leak: {count:,} of the {len(self.data):,} rows are also in the target "{self.target.source}", word for word. They are '
                "the closest to it and teach nothing new; nor may what is trained on them be measured on it. Leave them out: "
                'score `contamination` too, and select with --where "contamination.hits == 0" (`retrieval` does so by itself).'
            )

    def _write_rows(self) -> None:
        """The content hash of each row, by which a later store knows which rows are unchanged."""
        self.store.describe(ROWS, {"hash": "xxh3-64 of a row's values"})
        done = {entry.file for entry in self.store.files(ROWS)}
        for index, (first, stop) in enumerate(self.ranges):
            if shard_name(index) not in done:
                table = pa.table({"row": np.arange(first, stop), "hash": self.data.row_hashes[first:stop]})
                self.store.add_shard(ROWS, shard_name(index), table, first=first)

    def _runs(self, part: Part | None) -> "list[Run]":
        """The runs with all that is read of them; of a part, what its own shards read."""
        if not self.needs_run:
            return []
        requires = {name for one in self.asked for name in one.scorer.requires}
        if self.given_runs:
            return self._complete(requires, part)
        spec = self.model_spec
        trainer = running.Trainer(self.data, self.proxy, self.recipe, self.store.settled, self.max_failures, self.progress, spec)
        trainer.wait = 0.0 if part is None else float("inf")
        with machine.as_started(self.store.settled):
            runs = [trainer.run(self.folder / "runs", seed, requires, self._sweeps) for seed in self.seeds]
            return [self._swept(trainer, run, part) for run in runs]

    def _swept(self, trainer: running.Trainer, run: "Run", part: Part | None) -> "Run":
        """The run with the checkpoints visited."""
        setting = trainer.setting(self.target)
        if part is None:
            sweeping.sweep(setting, run, self._sweeps, self.engine)
            return run
        everything = any(one.scorer.passes for one in self.asked if one.name in self.sweepers)
        sweeping.sweep_part(setting, run, self._sweeps, part, everything=everything)
        return type(run).open(run.store.path)

    def _complete(self, requires: set[str], part: Part | None) -> "list[Run]":
        """Adds the clean passes and sweeps that a given run lacks, from its checkpoints, in its own folder."""
        from curate.signals.folds import FOLDS

        if not any(
            any(run.missing_evaluations(requires)) or run.missing_folds(requires, FOLDS) or any(one.missing(run) for one in self._sweeps)
            for run in self.given_runs
        ):
            return self.given_runs
        found = []
        for given in self.given_runs:
            trainer = running.trainer_of(given, self.data, self.max_failures, self.progress)
            with machine.as_started(given.store.settled):
                with locked(given.store.path, wait=0.0 if part is None else float("inf")):
                    run = type(given).open(given.store.path)  # another part may have been at it
                    for table in running.RUN_TABLES:
                        run.store.describe(table, {})
                    trainer.evaluate(run, requires)
                    if part is None:
                        found.append(self._swept(trainer, run, None))
                if part is not None:
                    found.append(self._swept(trainer, run, part))
        return found

    def _score_all(self, runs: "Sequence[Run]", target: Store, part: Part | None) -> None:
        """Scores what is missing into `target`, the store itself or a part of it."""
        failed = _failed(runs, self.data, self.asked)
        if isinstance(self.engine, engines.Here):
            missing = [one for one in self.asked if self._missing(one, target, part)]
            estimates.models_fit(missing, str(self.store.settled.get("device", "cpu")))
        self._find_neighbours()
        running.require_few_failures(failed, len(self.data), self.max_failures)
        with self.progress.task("score", len(self.asked) * len(self.data)) as task:
            for one in self.asked:
                started, cpu = time.perf_counter(), _cpu_seconds()
                self.store.describe(one.name, self._about(one, runs))
                target.describe(one.name, self._about(one, runs))
                if self._score_one(one, runs, failed, target, part, task):
                    target.log("score", scorer=one.name, wall=time.perf_counter() - started, cpu=_cpu_seconds() - cpu)
                if part is None:
                    self._conclude(one, runs)

    def _find_neighbours(self) -> None:
        """Makes the graph once, as wide as the widest scorer needs it, before shards read it."""
        k = max(asked_signals.neighbours_read(one.scorer.requires) for one in self.asked)
        if k and self.embeddings is not None:
            from curate.index.graph import shared_graph

            with self.progress.task("neighbours", len(self.data)) as bar:
                shared_graph(self.embeddings, k)
                bar.advance(len(self.data))

    def _score_one(self, one: Asked, runs: "Sequence[Run]", failed: Mapping[int, str], target: Store, part: Part | None, bar: Task) -> bool:
        todo = self._missing(one, target, part)
        bar.advance(len(self.data) - sum(stop - first for first, stop in (self.ranges[i] for i in todo)))
        if not todo:
            return False
        tasks = [self._task(one, runs, failed, index) for index in range(len(self.ranges))]
        pays = isinstance(one.scorer, Pays) and one.scorer.server is not None
        if pays:
            estimates.announce_requests(one.name, one.scorer, [tasks[i] for i in todo], self.progress)
        runner = self.engine if tasks[0].is_portable and not pays else engines.Here()
        if runner is not self.engine and self.engine.is_remote and not pays:
            self.progress.note(f"{one.name} is scored here: data or a scorer that is held in memory cannot go to another process.")
        states = self._states(one, tasks, runner)
        if part is None:
            self._note_facts(one, states)
        try:
            for entry in runner.map(shards.write_shard, [tasks[index].with_states(states) for index in todo]):
                self._require_few(one, entry, target)
                target.enter(one.name, entry)
                bar.advance(entry.rows)
        finally:
            shards.held.let_go()
        return True

    def _missing(self, one: Asked, target: Store, part: Part | None) -> list[int]:
        """The shards that are still to be scored."""
        done = {entry.file for store in (self.store, target) for entry in store.files(one.name)}
        return [i for i in range(len(self.ranges)) if shard_name(i) not in done and (part is None or part.has(i))]

    def _require_few(self, one: Asked, entry: Entry, target: Store) -> None:
        """TooManyFailuresError before a shard is entered that holds one failed row too many, so that the same command tries it again."""
        failed = dict(entry.failed)
        for why, count in target.failed(one.name).items():
            failed[why] = failed.get(why, 0) + count
        failed = {why: count for why, count in failed.items() if why not in shards.FINE}
        if sum(failed.values()) > self.max_failures * len(self.data):
            running.refuse_failures(failed, len(self.data), self.max_failures, f'scored by "{one.name}"')

    def _states(self, one: Asked, tasks: Sequence[ShardTask], runner: Engine) -> list[State | None]:
        return shards.fit_states(one.scorer, tasks, runner.map, self._target_states(one, tasks[0], runner))

    def _target_states(self, one: Asked, like: ShardTask, runner: Engine) -> list[State] | None:
        """What the scorer makes of the target, shard by shard as it does of the rows; one for each seed whose run it reads."""
        if not isinstance(one.scorer, ReadsTarget) or not one.reads_target or self.target is None:
            return None
        swept = self.target_sweepers[one.name].table if one.name in self.target_sweepers else None
        common = replace(like, data=self.target, swept=swept, failed={}, target_vectors=self._target_vectors(one))
        tasks = [replace(common, first=first, stop=stop) for first, stop in self._target_ranges(self.target)]
        here = one.reads_target_labels or not tasks[0].is_portable  # the classes are the training set's, which another process has not
        return shards.fit_target(one.scorer, tasks, engines.Here().map if here else runner.map)

    def _target_vectors(self, one: Asked) -> Any:
        """Where the target's rows lie among the embedded ones; None where the scorer does not ask or they are vectors themselves."""
        if self.target is None or f"{asked_signals.TARGET}embedding" not in one.scorer.requires:
            return None
        return targeting.vectors(self.target, self.embeddings, self.target_embeddings, str(self.store.settled.get("device", "auto")))

    def _note_facts(self, one: Asked, states: Sequence[State | None]) -> None:
        """Writes down what the state of the first seed says of the whole set."""
        if isinstance(one.scorer, Concludes):
            self.store.conclude(one.name, {"facts": dict(one.scorer.conclude(states[0] or {}))})

    def _conclude(self, one: Asked, runs: "Sequence[Run]") -> None:
        there = self.store.about(one.name).get(RESULT, {})
        if isinstance(one.scorer, Concludes) and "facts" not in there:  # the shards are of parts, which write none
            self._note_facts(
                one, self._states(one, [self._task(one, runs, {}, index) for index in range(len(self.ranges))], engines.Here())
            )
            there = self.store.about(one.name)[RESULT]
        result = {name: there[name] for name in ("facts",) if name in there} | {"unscored": Scores(self.store).failed(one.name)}
        if len(self.seeds) > 1:
            result["stability"] = shards.stability(self.store, one.name, self.seeds)
        if there != result:
            self.store.conclude(one.name, result)

    def _task(self, one: Asked, runs: "Sequence[Run]", failed: Mapping[int, str], index: int) -> ShardTask:
        first, stop = self.ranges[index]
        return ShardTask(
            path=self.folder / one.name / shard_name(index),
            name=one.name,
            plugin=one.plugin.portable(options_of(one.scorer)),
            scorer=one.scorer,
            first=first,
            stop=stop,
            seeds=tuple(self.seeds),
            runs=tuple(run.store.path for run in runs),
            data=self.data,
            failed={row: why for row, why in failed.items() if first <= row < stop},
            device=str(self.store.settled.get("device", "cpu")),
            swept=self.sweepers[one.name].table if one.name in self.sweepers else None,
            embeddings=self.embeddings.path if self.embeddings is not None and one.reads_embeddings else None,
            threads=self.store.settled.get("scoring_threads"),
            max_requests=self.max_requests,
            borrowed=self.borrowed.path if self.borrowed and self._lends(one, self.borrowed) else None,
        )

    def _about(self, one: Asked, runs: "Sequence[Run]") -> dict[str, Any]:
        about = describe_scorer(one, self.seeds)
        if one.reads_target and self.target is not None:
            about["target"] = {"fingerprint": self.target.fingerprint, "rows": len(self.target), "inputs": list(self.target.inputs)}
        if one.reads_embeddings and self.embeddings is not None:
            about["embeddings"] = self.embeddings.about()
        if self.target_embeddings is not None and f"{asked_signals.TARGET}embedding" in one.scorer.requires:
            about["target_embeddings"] = self.target_embeddings.about()
        if one.reads_run:
            about |= {"runs": [run.store.path.name for run in runs], "epochs": self.epochs}
        return about

    def _lends(self, one: Asked, other: Scores) -> bool:
        """Whether another store's scores of that name hold here for every row that is unchanged."""
        placed = self.embeddings is not None and one.reads_embeddings  # by axes that depend on the whole dataset
        if one.name not in other.names or placed or not asked_signals.is_row_local(one.scorer):
            return False
        about, own = other.about(one.name), self._about(one, ())
        return all(about.get(key) == own.get(key) for key in ("method", "options", "version", "requires", "source", "target"))


def _failed(runs: "Sequence[Run]", data: Dataset, asked: Sequence[Asked]) -> dict[int, str]:
    failed: dict[int, str] = {}
    for run in runs:
        failed |= run.failed()
    if any("text" in one.scorer.requires for one in asked):
        failed |= shards.empty_texts(data)
    return failed


def _is_blank(store: Store) -> bool:
    """Whether a call left nothing but a manifest, having been refused for an option: such a folder is free for any job."""
    return store.kind == "scores" and not store.tables and store.job["run"] is None and not (store.path / "runs").exists()


def _recipe_of(runs: "Sequence[Run]") -> dict[str, Any]:
    return {key: value for key, value in runs[0].store.job.items() if key != "seed"}


def _portable(model: str | None, known: Mapping[str, Any] | None) -> str | None:
    """The model as the user named it, so that a later call may leave it out; not kept where it is a path on this machine."""
    if known is not None:
        return known.get("model_spec")
    return model if model is None or not (".py:" in model or model.startswith(("hf:/", "hf:.", "hf:~"))) else None


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
