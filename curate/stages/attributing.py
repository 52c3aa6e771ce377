"""`curate lds`: retrains on random subsets, and says how well tables of influence foresaw what came of it. `curate influence` reads one."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.attribution import Attribution, as_json, lds, noise_ceiling, require_shape, with_influence
from curate.data import Dataset
from curate.errors import InputError, OptionError, OtherJobError, UnknownNameError, UsageError
from curate.loading import load
from curate.progress import Progress, Silent
from curate.rng import KeyedRandom
from curate.scores import Scores, describe_dataset
from curate.stages import machine, running
from curate.stages.arms import with_classes
from curate.stages.running import RunOptions
from curate.store import Store, as_arrow, differences, writing

if TYPE_CHECKING:
    from curate.signals.inputs import Inputs

OUTPUTS: Final = "outputs"
RANDOM: Final = "random"
LEAST: Final = 10  # subsets, of which a rank correlation says something


def influence(source: str | Path, *, by: str | None = None, top: int = 5, out: str | Path | None = None) -> dict[str, Any]:
    """Each target row's `top` proponents and opponents, from a score store or a file of influence, written to `out` where it is named.

    The table has columns target, rank (from 1), proponent, influence, opponent, opponent_influence. Returns its first targets and counts.
    """
    one = Attribution.open(source, by)
    (rows, high), (worst, low) = one.top(top), one.top(top, opponents=True)
    targets, k = rows.shape
    columns = {
        "target": np.repeat(np.arange(targets), k), "rank": np.tile(np.arange(1, k + 1), targets),
        "proponent": rows.ravel(), "influence": high.ravel(), "opponent": worst.ravel(), "opponent_influence": low.ravel(),
    }  # fmt: skip
    if out is not None:
        _write_table(Path(out), pa.table({name: as_arrow(values) for name, values in columns.items()}))
    shown = [
        {
            "target": t,
            "proponents": rows[t].tolist(),
            "influence": _rounded(high[t]),
            "opponents": worst[t].tolist(),
            "least": _rounded(low[t]),
        }
        for t in range(min(targets, 10))
    ]
    return {"name": one.name, "rows": one.shape[0], "targets": targets, "top": shown}


def evaluate(
    data: Any,
    *,
    target: Any,
    out: str | Path,
    scores: Scores | str | Path | None = None,
    by: Sequence[str] = (),
    tables: Sequence[str | Path] = (),
    subsets: int = 50,
    share: float = 0.5,
    repeats: int = 1,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The linear datamodelling score of tables of influence, each with a 95 % interval; of a random one, too, and the noise ceiling.

    Trains on `subsets` random subsets, `share` of the rows each, `repeats` times with other seeds, notes the target rows' log-odds, and
    correlates them by rank with the sums of the subsets' influences. Tables are those of the store `scores` (named in `by`, or all that it
    keeps) and files in `tables`. The model is trained as the store's run was, but for what `options` (`model`, `epochs`, …) say. What was
    trained is kept in `out`: the same call goes on after a kill, and another table costs no training. Two repeats or more give a ceiling.
    """
    progress, folder = progress or Silent(), Path(out)
    if subsets < LEAST or repeats < 1 or not 0 < share < 1:
        raise OptionError(
            f"lds takes {LEAST} subsets or more, 1 repeat or more and a share between 0 and 1; got {subsets}, {repeats} and {share:g}."
        )
    data = load(data)
    opened = load(target)
    goal = with_classes(load(opened, input=list(opened.inputs), label=data.label), data, "target")
    running.require_labels(data, "lds")
    store = None if scores is None else scores if isinstance(scores, Scores) else Scores.open(scores)
    found = _open(store, by, tables)
    for one in found:
        require_shape(one, len(data), len(goal))
    if store is not None:
        store.require_dataset(data)
    with writing(folder, overwrite=overwrite):
        work = _Retraining(data, goal, folder, RunOptions.of(options), None if store is None else store.store.job["run"], device, progress)
        work.open(share, seed)
        outputs = work.outputs(subsets, repeats)  # (repeats, subsets, targets)
    return _judged(found, outputs, work.masks(subsets), seed)


def _judged(found: Sequence[Attribution], outputs: NDArray[np.float32], masks: NDArray[np.bool_], seed: int) -> dict[str, Any]:
    known: NDArray[np.bool_] = np.asarray(np.isfinite(outputs).all(axis=(0, 1)))
    if not known.any():
        raise InputError("No target row has a finite output after every training. A lower --lr may mend it, or another --target.")
    kept = outputs[:, :, known].astype(np.float64)
    mean = kept.mean(axis=0)
    chance = KeyedRandom(seed, "lds", RANDOM).uniform(np.arange(masks.shape[1] * len(known))).reshape(-1, len(known)).astype(np.float32)
    judged = {one.name: lds(one.predicted(masks)[:, known], mean, seed) for one in (*found, Attribution(RANDOM, chance - 0.5))}
    return {
        "lds": as_json(judged),
        "ceiling": noise_ceiling(kept),
        "subsets": len(mean),
        "repeats": len(kept),
        "targets": int(known.sum()),
    }


def _open(store: Scores | None, by: Sequence[str], tables: Sequence[str | Path]) -> list[Attribution]:
    if store is None and by:
        raise UsageError("--by names scores of a store, and none is given. Add --scores DIR.")
    names = list(by) or ([] if store is None else with_influence(store))
    found = [Attribution.open(store.path, name) for name in names] if store is not None else []
    found += [Attribution.open(path) for path in tables]
    if not found:
        raise UsageError(
            "No influence is given. Score with pairs kept, --scorer trak:pairs=true --target DATA, and name the store with --scores; "
            "or name a file of another tool with --table."
        )
    labels = [one.name for one in found]
    for name in labels:
        if labels.count(name) > 1 or name == RANDOM:
            raise UnknownNameError(f'Two tables are called "{name}" (the random one has that name, too). Rename the file.')
    return found


class _Retraining:
    """The trainings on subsets: which are there, which are to be made, and what the target rows' log-odds were after each."""

    def __init__(
        self,
        data: Dataset,
        target: Dataset,
        folder: Path,
        options: RunOptions,
        known: Mapping[str, Any] | None,
        device: str,
        progress: Progress,
    ) -> None:
        self.data, self.target, self.folder, self.progress = data, target, folder, progress
        self.proxy, self.recipe = running.plan_recipe(_over(options, known), data, None)
        if self.proxy.loss_only:
            raise UsageError(f'lds trains classifiers, and "{self.proxy.name}" is none. Leave --model out, or name one that gives logits.')
        self._asked = device

    def open(self, share: float, seed: int) -> None:
        """The store, new or gone on with; OtherJobError where it is of other data, another model or other subsets."""
        trained = {name: value for name, value in running.as_json(self.recipe).items() if name != "checkpoints"}
        job = {"model": self.proxy.name, **trained, "share": share, "seed": seed, "target": self.target.fingerprint}
        if (self.folder / "manifest.json").is_file():
            self.store = Store.open(self.folder)
            there = {"kind": self.store.kind, "dataset": self.store.dataset.get("fingerprint"), **self.store.job}
            if there != {"kind": "lds", "dataset": self.data.fingerprint, **job}:
                difference = differences(there, {"kind": "lds", "dataset": self.data.fingerprint, **job})
                raise OtherJobError(f'"{self.folder}" holds another job ({difference}). Use another --out, or --overwrite.')
            machine.require_device(self.store.settled, self._asked)
            self.store.drop_damaged()
        else:
            settled = {**machine.settle(self._asked), "threads": machine.choose_threads(self.data, self.proxy, self.recipe)}
            self.store = Store.create(self.folder, "lds", dataset=describe_dataset(self.data), job=job, settled=settled)
        self.store.describe(OUTPUTS, {"output": "log p / (1 - p) of the target rows' labels"})
        self.share, self.seed = share, seed

    def masks(self, subsets: int) -> NDArray[np.bool_]:
        from curate.signals.subsets import subset_masks

        return subset_masks(np.arange(len(self.data)), subsets, self.share, self.seed)

    def outputs(self, subsets: int, repeats: int) -> NDArray[np.float32]:
        """(repeats, subsets, targets), trained where it is not there yet, a file a training."""
        done = {entry.file for entry in self.store.files(OUTPUTS)}
        todo = [(s, r) for r in range(repeats) for s in range(subsets) if _name(s, r) not in done]
        if todo:
            self._train(todo, self.masks(subsets))
        every = [self._read(s, r) for r in range(repeats) for s in range(subsets)]
        return np.stack(every).reshape(repeats, subsets, -1)

    def _read(self, subset: int, repeat: int) -> NDArray[np.float32]:
        from curate.store import as_numpy, read_arrow

        column = read_arrow(self.folder / OUTPUTS / _name(subset, repeat)).column("log_odds")
        return np.asarray(as_numpy(column.combine_chunks()), np.float32)

    def _train(self, todo: Sequence[tuple[int, int]], masks: NDArray[np.bool_]) -> None:
        import torch

        device = torch.device(self.store.settled["device"])
        read = {"image_size": self.recipe.image_size, "augment": self.recipe.augment}
        inputs = self.proxy.prepare(self.data, device, self.progress, **read)
        goal = self.proxy.prepare(self.target, device, self.progress, **read, like=inputs)
        usable = np.setdiff1d(np.flatnonzero(self.data.labels >= 0), list(inputs.failed))
        targets = np.setdiff1d(np.flatnonzero(self.target.labels >= 0), list(goal.failed))
        with machine.as_started(self.store.settled), self.progress.task("retrain on subsets", len(todo), "models") as task:
            for subset, repeat in todo:
                started, cpu = time.perf_counter(), time.process_time()
                rows = np.intersect1d(np.flatnonzero(masks[subset]), usable)
                found = np.full(len(self.target), np.nan, np.float32)
                found[targets] = self._one(rows, inputs, goal, targets, KeyedRandom(self.seed, "lds", subset, repeat), device)
                self.store.add_shard(OUTPUTS, _name(subset, repeat), pa.table({"log_odds": as_arrow(found)}))
                self.store.log("retrain", subset=subset, repeat=repeat, wall=time.perf_counter() - started, cpu=time.process_time() - cpu)
                task.advance()

    def _one(
        self, rows: NDArray[np.int64], inputs: "Inputs", goal: "Inputs", targets: NDArray[np.int64], rng: KeyedRandom, device: Any
    ) -> NDArray[np.float32]:
        """The log-odds of the targets' labels after one training from scratch on some rows."""
        import torch

        from curate.signals.fitting import Fixed, fit, generator, log_probabilities
        from curate.signals.training import seeded

        key = rng.torch_seed() % 2**31
        model = seeded(lambda: self.proxy.build(inputs.shape, len(self.data.label_names)), key).to(device)
        steps = self.recipe.epochs * -(-len(rows) // self.recipe.batch_size)
        draw = generator(key)
        feed = Fixed(np.ones(len(rows)), self.recipe.batch_size, steps, draw)
        with Silent().task("fit", steps) as task:
            fit(model, inputs, self.data.labels, rows, feed, self.recipe, draw=draw, device=device, task=task)
        log_p = log_probabilities(model, goal, targets, device).double()  # (targets, classes)
        y = torch.from_numpy(self.target.labels[targets])[:, None]
        others = log_p.scatter(1, y, -torch.inf).logsumexp(dim=1)
        found: NDArray[np.float32] = (log_p.gather(1, y)[:, 0] - others).float().cpu().numpy()
        return found


def _over(options: RunOptions, known: Mapping[str, Any] | None) -> RunOptions:
    """The options over those of a store's run."""
    there = (
        {}
        if known is None
        else {one.name: known.get(one.name) for one in fields(RunOptions)} | {"model": known.get("model_spec", known["model"])}
    )
    given = options.given() | ({} if options.model is None else {"model": options.model})
    return RunOptions(**there | given)


def _name(subset: int, repeat: int) -> str:
    return f"subset-{subset:05d}-{repeat:03d}.arrow"


def _rounded(values: NDArray[np.float32]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _write_table(path: Path, table: pa.Table) -> None:
    import pyarrow.csv
    import pyarrow.feather
    import pyarrow.parquet

    from curate.disk import write_whole

    writers: Mapping[str, Any] = {
        ".parquet": lambda place: pyarrow.parquet.write_table(table, place),
        ".arrow": lambda place: pyarrow.feather.write_feather(table, str(place), compression="uncompressed"),
        ".csv": lambda place: pyarrow.csv.write_csv(table, place),
    }
    if path.suffix not in writers:
        raise OptionError(f'-o takes a .parquet, .arrow or .csv file; got "{path}".')
    write_whole(path, writers[path.suffix])
