"""Sees to it that the training runs a command needs are there and whole: reuses, resumes or trains them."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from curate.data import Dataset
from curate.errors import ColumnError, OptionError, OtherJobError, TooManyFailuresError, UnknownNameError, UsageError, did_you_mean
from curate.locks import locked
from curate.progress import Progress
from curate.scores import describe_dataset, require_same_dataset
from curate.stages.sweeping import Setting, Sweep, weights_needed
from curate.store import Store, differences

if TYPE_CHECKING:
    import torch

    from curate.signals.inputs import Inputs
    from curate.signals.proxies import Proxy
    from curate.signals.runs import Run
    from curate.signals.training import Recipe

RUN_TABLES = ("dynamics", "eval", "probs", "checkpoints", "state", "status")


@dataclass(frozen=True)
class RunOptions:
    """What the user said of the training run; None follows the store, else the default for this kind of data."""

    model: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    schedule: str | None = None
    augment: str | None = None
    image_size: int | None = None
    precision: str | None = None
    checkpoints: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "RunOptions":
        """The options by name; UnknownNameError with a did-you-mean for a name that is none."""
        names = [f.name for f in fields(cls)]
        for name in options:
            if name not in names:
                raise UnknownNameError(f'No option "{name}".{did_you_mean(name, names)} Those of a training run are: {", ".join(names)}.')
        return cls(**options)

    def given(self) -> dict[str, Any]:
        """The options that the user set, without the model."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "model" and getattr(self, f.name) is not None}


def plan_recipe(options: RunOptions, data: Dataset, known: Mapping[str, Any] | None) -> "tuple[Proxy, Recipe]":
    """The model and recipe of a run: as the store has them, else the options over the defaults. OtherJobError where the two disagree."""
    proxy, recipe, unlike = _planned(options, data, known)
    if unlike:
        raise OtherJobError(f"The out folder holds another job ({unlike}). Use another --out, or --overwrite.")
    return proxy, recipe


def require_same_recipe(options: RunOptions, data: Dataset, known: Mapping[str, Any], run: Path) -> None:
    """UsageError where the options say otherwise than the run that was named, which is read as it is."""
    *_, unlike = _planned(options, data, known)
    if unlike:
        raise UsageError(
            f'Run "{run}" was trained otherwise than the options say ({unlike}). '
            "Leave them out to read it as it is, or --run to train anew."
        )


def _planned(options: RunOptions, data: Dataset, known: Mapping[str, Any] | None) -> "tuple[Proxy, Recipe, str]":
    """Model and recipe, and in words what the options say otherwise than what is known already; "" where they agree."""
    from curate.signals.proxies import find
    from curate.signals.training import Recipe, default_recipe

    proxy = find(options.model or (known or {}).get("model_spec"), data)
    _refuse_image_options(options, data)
    if known is None:
        return proxy, Recipe(**default_recipe(data.modality, proxy.name, len(data)) | options.given()), ""
    stored = {key: value for key, value in known.items() if key in {f.name for f in fields(Recipe)}}
    recipe = Recipe(**stored | options.given())
    wanted = {"model": proxy.name, **as_json(recipe)}
    there = {"model": known["model"], **stored}
    return proxy, recipe, differences(there, wanted) if wanted != there else ""


def _refuse_image_options(options: RunOptions, data: Dataset) -> None:
    given = {"--augment": options.augment in ("crop", "flip_crop"), "--image-size": options.image_size is not None}
    for name in [name for name, is_given in given.items() if is_given and data.modality != "image"]:
        raise OptionError(f'{name} is for images, and "{data.source}" is {data.modality} data. Leave it out.')


def require_labels(data: Dataset, needed_by: str) -> None:
    """ColumnError before any work where the labels cannot train a classifier."""
    labels = data.labels
    classes = np.unique(labels[labels >= 0])
    if len(classes) == 0:
        raise ColumnError(f'Every label of "{data.source}" (column "{data.label}") is missing, but "{needed_by}" trains on labels.')
    if len(classes) == 1:
        raise ColumnError(
            f'Column "{data.label}" of "{data.source}" has one class only ({data.label_names[classes[0]]}); '
            f'"{needed_by}" needs two or more.'
        )


def require_checkpoints(recipe: "Recipe", requires: Iterable[str]) -> None:
    """OptionError before the run is trained where it would keep no weights for a clean pass that is asked for."""
    if recipe.checkpoints == "all":
        return
    last = {"probs.final", "probs.oos"} if recipe.checkpoints == "last" else {"probs.oos"}  # which needs no weights
    for name in requires:
        made = name in last or (recipe.checkpoints == "last" and name.endswith(f"@{recipe.epochs}"))
        if name.startswith(("eval.", "probs.", "checkpoints@")) and not made:
            what = name.replace("checkpoints@", "epoch ")
            raise OptionError(f'"{what}" needs checkpoints that --checkpoints {recipe.checkpoints} does not keep. Leave that option out.')


def require_told_by_a_loss(proxy: "Proxy", requires: Iterable[str]) -> None:
    """OptionError before the run is trained where the model gives a loss a row and a scorer needs more."""
    if not proxy.loss_only:
        return
    for name in requires:
        if name.startswith(("eval.", "probs.", "dynamics.", "checkpoints")) and name not in ("dynamics.loss", "dynamics.correct"):
            raise OptionError(
                f'A scorer needs "{name}", and "{proxy.name.partition("#")[0]}" tells no more than a loss a row. Choose scorers '
                "that read it, such as datamap, loss:over=mean, forgetting, dyn_unc, dual; or a classifier, --model hf:NAME."
            )


class Trainer:
    """Runs for one dataset and recipe. The inputs are read once, when the first run needs them."""

    def __init__(
        self,
        data: Dataset,
        proxy: "Proxy",
        recipe: "Recipe",
        settled: Mapping[str, Any],
        max_failures: float,
        progress: Progress,
        spec: str | None,
    ) -> None:
        import torch

        self.data, self.proxy, self.recipe, self.settled, self._spec = data, proxy, recipe, settled, spec
        self.max_failures, self.progress = max_failures, progress
        self.device = torch.device(settled["device"])
        self.wait = 0.0  # seconds for another process to finish the run
        self._inputs: Inputs | None = None
        self._failed: dict[int, str] = {}

    @property
    def inputs(self) -> "Inputs":
        if self._inputs is None:
            sizes = {"image_size": self.recipe.image_size, "augment": self.recipe.augment}
            self._inputs = self.proxy.prepare(self.data, self.device, self.progress, **sizes)
            unlabelled = np.flatnonzero(self.labels < 0).tolist()
            self._failed = {**dict.fromkeys(unlabelled, "no_label"), **self._inputs.failed}
            require_few_failures(self._failed, len(self.data), self.max_failures)
        return self._inputs

    @property
    def failed(self) -> Mapping[int, str]:
        """Rows that cannot be trained on, and why: unreadable inputs and missing labels."""
        assert self.inputs is not None, "reading the inputs finds the failures"
        return self._failed

    def setting(self, target: Dataset | None) -> Setting:
        """What a sweep needs, so that another process could do it as well."""
        return Setting(self.data, target, self._spec, as_json(self.recipe), self.settled, self.max_failures, self)

    def run(self, folder: Path, seed: int, requires: Iterable[str], sweeps: Sequence[Sweep] = ()) -> "Run":
        """The finished run of one seed in `folder/<key>`, with the signals named, and the weights that the sweeps still need."""
        from curate.signals.ghost import require_eval
        from curate.signals.runs import STATUS, Run, run_key, status_table
        from curate.signals.training import STATE, seeded, train

        job = {"model": self.proxy.name, "seed": seed, **as_json(self.recipe)}
        path = folder / run_key({**job, "label": self.data.label, "inputs": self.data.inputs})
        with locked(path, wait=self.wait):
            if (path / "manifest.json").is_file():
                store = Store.open(path)
                for fault in store.drop_damaged():
                    when = " once a scorer needs it" if fault.file.startswith("checkpoints/") else ""
                    self.progress.note(f"{path.name}/{fault.file} is damaged ({fault.problem}); it is made again{when}.")
                _cut_after_gap(store, self.recipe.epochs)
                if _lacks_weights(Run(store), {*requires, *weights_needed(Run(store), sweeps)}):
                    self.progress.note(f"{path.name} is trained again: weights that a scorer needs are gone.")
                    _keep_epochs(store, 0)
            else:
                store = Store.create(path, "run", dataset=describe_dataset(self.data), job=job, settled=self.settled)
            for table in RUN_TABLES:
                store.describe(table, {})
            run = Run(store)
            if not store.files(STATUS):
                store.add_shard(STATUS, "part-00000.arrow", status_table(self.failed))
            if not run.is_finished or store.files(STATE):
                model = self._checked(seeded(lambda: self.proxy.build(self.inputs.shape, self.classes), seed))
                if sweeps:
                    require_eval(model.eval())
                train(run, model, self.inputs, self.labels, self.recipe, classes=self.classes, device=self.device, progress=self.progress)
            self.evaluate(run, requires)
        return run

    def evaluate(self, run: "Run", requires: Iterable[str]) -> None:
        """Makes the clean passes that are asked for and missing, from the run's checkpoints."""
        from curate.signals.evaluation import evaluate_checkpoint
        from curate.signals.runs import EVAL, PROBS, epoch_columns, probs_table
        from curate.signals.training import seeded

        requires = set(requires)
        self._predict_folds(run, requires)
        epochs, needs_probs = run.missing_evaluations(requires)
        wanted = sorted({*epochs, *([run.epochs] if needs_probs else [])})
        if not wanted:
            return
        model = seeded(lambda: self.proxy.build(self.inputs.shape, self.classes), run.seed).to(self.device)
        with self.progress.task(f"clean passes (seed {run.seed})", len(wanted) * len(self.data)) as task:
            for epoch in wanted:
                started, cpu = time.perf_counter(), time.process_time()
                means, probs = evaluate_checkpoint(run.checkpoint(epoch), model, self.inputs, self.data.labels, self.device, task)
                if epoch in epochs:
                    run.write_epoch(EVAL, epoch, epoch_columns(means))
                if needs_probs and epoch == run.epochs:
                    run.store.add_shard(PROBS, "final.arrow", probs_table(probs))
                run.store.log("evaluation", epoch=epoch, wall=time.perf_counter() - started, cpu=time.process_time() - cpu)

    def _predict_folds(self, run: "Run", requires: Iterable[str]) -> None:
        """Makes the out-of-fold probabilities that are asked for and missing, a file a fold, so that a kill costs one."""
        from curate.signals.folds import FOLDS, folds_of, probabilities_of_fold
        from curate.signals.runs import PROBS, fold_name, fold_table
        from curate.signals.training import seeded

        missing = run.missing_folds(requires, FOLDS)
        if not missing:
            return
        labels = self.data.labels
        usable = np.setdiff1d(np.flatnonzero(labels >= 0), np.fromiter(self.failed, np.int64, len(self.failed)))
        fold = folds_of(labels, usable, run.seed)
        steps = sum(self.recipe.epochs * -(-int(((fold >= 0) & (fold != i)).sum()) // self.recipe.batch_size) for i in missing)
        with self.progress.task(f"out-of-fold probabilities (seed {run.seed})", steps, "steps") as task:
            for which in missing:
                started, cpu = time.perf_counter(), time.process_time()
                model = seeded(lambda: self.proxy.build(self.inputs.shape, self.classes), run.seed).to(self.device)
                p = probabilities_of_fold(
                    model, self.inputs, labels, fold, which, self.recipe, seed=run.seed, device=self.device, task=task
                )
                run.store.add_shard(PROBS, fold_name(which), fold_table(np.flatnonzero(fold == which), p))
                run.store.log("fold", fold=which, wall=time.perf_counter() - started, cpu=time.process_time() - cpu)

    @property
    def classes(self) -> int:
        """How wide the model's output is; 0 where it is a loss."""
        return 0 if self.proxy.loss_only else len(self.data.label_names)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class codes; of a model that reads none, 0 throughout."""
        return np.zeros(len(self.data), np.int64) if self.proxy.loss_only else self.data.labels

    def _checked(self, model: "torch.nn.Module") -> "torch.nn.Module":
        import torch

        from curate.signals.proxies import check_width

        if self.proxy.loss_only:
            return model.to(self.device)
        usable = np.setdiff1d(np.arange(min(len(self.data), 4096)), list(self.inputs.failed))[:2]
        check_width(model.to(self.device), self.inputs, torch.from_numpy(usable).to(self.device), self.classes)
        return model


def trainer_of(run: "Run", data: Dataset, max_failures: float, progress: Progress) -> Trainer:
    """A trainer that can make a given run's clean passes; OptionError where its model is not known by name (a recorded loop)."""
    from curate.signals.proxies import find
    from curate.signals.training import Recipe

    job = run.store.job
    if job.get("model_spec", job.get("model")) is None:
        raise OptionError(
            f'Run "{run.store.path}" was recorded in a loop of your own, so its model cannot be built here: no clean passes, no gradients. '
            "Choose scorers that read `dynamics.*` (of el2n and loss: el2n:mode=online, loss:over=mean), or train here: leave --run out, "
            "and name the same model with --model ./FILE.py:FUNCTION."
        )
    recipe = Recipe(**{key: value for key, value in job.items() if key in {f.name for f in fields(Recipe)}})
    return Trainer(data, find(job["model"], data), recipe, run.store.settled, max_failures, progress, job["model"])


def as_json(recipe: "Recipe") -> dict[str, Any]:
    """A recipe as the manifest has it."""
    return asdict(recipe)


def reuse(path: str | Path, data: Dataset) -> "list[Run]":
    """The finished runs in `--run DIR`, refused where they are of another dataset or not finished."""
    from curate.signals.runs import find_runs

    store = Store.open(path)
    if store.kind == "scores":
        require_same_dataset(store, data)  # which knows how many rows differ; a run does not
    runs = list(find_runs(path))
    if not runs:
        raise OptionError(f'"{path}" holds no training run. A score store with `runs/` is expected, or a folder that a Recorder wrote.')
    for run in runs:
        require_same_dataset(run.store, data)
        if not run.is_finished:
            raise OptionError(
                f'Run "{run.store.path}" is not finished ({run.epochs_done} of {run.epochs} epochs). Run its own command again first.'
            )
        run.store.require_whole(t for t in run.store.tables if t != "checkpoints")
    return runs


def require_few_failures(failed: Mapping[int, str], n: int, max_failures: float) -> None:
    """TooManyFailuresError, by reason, where more rows failed than the share tolerated."""
    if len(failed) > max_failures * n:
        refuse_failures(Counter(failed.values()), n, max_failures, "scored", f"; the first is row {min(failed)}")


def refuse_failures(reasons: Mapping[str, int], n: int, max_failures: float, what: str, more: str = "") -> NoReturn:
    """The TooManyFailuresError of rows that failed for these reasons."""
    count = sum(reasons.values())
    named = ", ".join(f"{times:,} {reason}" for reason, times in sorted(reasons.items()))
    raise TooManyFailuresError(
        f"{count:,} of {n:,} rows cannot be {what} ({named}{more}); {max_failures:.1%} are tolerated. "
        f"Mend them, or allow more with --max-failures {min(100, int(np.ceil(count / n * 100)))}%."
    )


def _cut_after_gap(store: Store, epochs: int) -> None:
    """A run continues from its last whole epoch; what follows a damaged one, or has no state to go on from, is made again."""
    from curate.signals.runs import epoch_name

    done = {entry.file for entry in store.files("dynamics")}
    whole = next((e for e in range(epochs) if epoch_name(e + 1, "arrow") not in done), epochs)
    if whole == epochs:
        return
    resumable = epoch_name(whole, "safetensors") in {entry.file for entry in store.files("state")}
    _keep_epochs(store, whole if resumable else 0)


def _lacks_weights(run: "Run", requires: Iterable[str]) -> bool:
    """Whether a finished run's checkpoint, of which a clean pass is still to be made, is no longer there."""
    from curate.signals.runs import CHECKPOINTS, epoch_name

    epochs, needs_probs = run.missing_evaluations(requires)
    there = {entry.file for entry in run.store.files(CHECKPOINTS)}
    swept = {int(name.partition("@")[2]) for name in requires if name.startswith("checkpoints@")}
    wanted = {*epochs, *swept, *([run.epochs] if needs_probs else [])}
    return run.is_finished and any(epoch_name(epoch, "safetensors") not in there for epoch in wanted)


def _keep_epochs(store: Store, keep: int) -> None:
    """Strikes every epoch after the first `keep` from a run."""
    from curate.signals.runs import epoch_name

    for table, suffix in (("dynamics", "arrow"), ("eval", "arrow"), ("checkpoints", "safetensors")):
        kept = {epoch_name(e, suffix) for e in range(1, keep + 1)}
        store.forget(table, [entry.file for entry in store.files(table) if entry.file not in kept])
    store.forget("probs", [entry.file for entry in store.files("probs")])
