"""What trains and tests one arm of a comparison: a proxy model of ours, or a function of the user's own."""

import inspect
import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from curate.data import Dataset
from curate.errors import InputError, UsageError
from curate.plugins import parse
from curate.progress import Progress, Silent, Task
from curate.stages import running
from curate.stages.arms import Arm, Held, Rows, Weights, held_rows
from curate.stages.running import RunOptions

if TYPE_CHECKING:
    from curate.signals.inputs import Inputs
    from curate.signals.proxies import Proxy
    from curate.signals.training import Recipe

# No score is read from these runs, so the rate may fall, which makes the last step less a matter of luck.
SCHEDULE: Final = "onecycle"
WATCHED: Final = 10  # so often the accuracy is looked at on the way
WATCHED_ROWS: Final = 2_000  # on so many test rows


def plan(data: Dataset, options: RunOptions) -> "tuple[Proxy, Recipe]":
    """The model and recipe of every training; ColumnError where the labels cannot train a classifier."""
    running.require_labels(data, "compare")
    proxy, recipe = running.plan_recipe(replace(options, schedule=options.schedule or SCHEDULE), data, None)
    if proxy.loss_only:
        raise UsageError(f'compare trains classifiers, and "{options.model}" is none. Use hf:NAME, or a training of your own with --train.')
    return proxy, recipe


class FitFailed(Exception):
    """One training came to nothing; the text goes into the table, and the other arms go on."""


@dataclass(frozen=True)
class Fitted:
    """What one training came to: its metrics, how many steps it made, how many rows it visited, and its accuracy on the way, by step.

    `aside` are the wall and CPU seconds that looking on the way took, which the training is not charged.
    """

    metrics: Mapping[str, float]
    steps: int | None = None
    curve: tuple[tuple[int, float], ...] = ()
    aside: tuple[float, float] = (0.0, 0.0)


class Trainer(Protocol):
    """Trains arms. `held` are the rows that test, `failed` the rows that cannot be trained on, `about` goes into the manifest."""

    @property
    def held(self) -> Held | None: ...

    @property
    def failed(self) -> Mapping[int, str]: ...

    @property
    def about(self) -> Mapping[str, Any]: ...

    def steps(self, rows: int, everything: int) -> int | None:
        """How many steps an arm of `rows` rows makes where there are `everything` in all; None where that is not ours to say."""
        ...

    def run(self, arm: Arm, rows: Rows, weights: Weights, seed: int, steps: int | None, task: Task) -> "Fitted":
        """One model trained on these rows; FitFailed where nothing came of it."""
        ...


class ProxyTrainer:
    """Trains the proxy model from weights that depend on the seed alone. The inputs of both sets are read at once, here."""

    def __init__(
        self,
        data: Dataset,
        held: Held,
        proxy: "Proxy",
        recipe: "Recipe",
        budget: str,
        steps: int | None,
        device: str,
        progress: Progress,
    ) -> None:
        import torch

        from curate.signals.proxies import check_width

        self.proxy, self.recipe = proxy, recipe
        self.held, self.budget, self._asked = held, budget, steps
        self.device = torch.device(device)
        self.labels, self.test_labels, self.classes = data.labels, held.data.labels, len(data.label_names)
        read = {"image_size": self.recipe.image_size, "augment": self.recipe.augment}
        self.inputs: Inputs = self.proxy.prepare(data, self.device, progress, **read)
        self.test: Inputs = self.proxy.prepare(held.data, self.device, progress, **read, like=self.inputs)
        self.test_rows = np.setdiff1d(np.flatnonzero(self.test_labels >= 0), list(self.test.failed)).astype(np.int64)
        if not len(self.test_rows):
            raise InputError(f'No row of the test set "{held.data.source}" has a label and can be read. Name another with --test.')
        self.failed = {**dict.fromkeys(np.flatnonzero(self.labels < 0).tolist(), "no_label"), **self.inputs.failed}
        check_width(self._model(0), self.test, torch.from_numpy(self.test_rows[:2]).to(self.device), self.classes)
        self._warm_up()
        trained = {name: value for name, value in running.as_json(recipe).items() if name != "checkpoints"}
        self.about = {"model": proxy.name, **trained, "budget": budget, "test": about_test(held, len(self.test_rows))}

    def __getstate__(self) -> dict[str, Any]:
        """What crosses to another process: the inputs as they were read, without the dataset of the test rows."""
        return {**self.__dict__, "held": None}

    def steps(self, rows: int, everything: int) -> int:
        counted = rows if self.budget == "epochs" else everything
        return self._asked or self.recipe.epochs * math.ceil(counted / self.recipe.batch_size)

    def run(self, arm: Arm, rows: Rows, weights: Weights, seed: int, steps: int | None, task: Task) -> Fitted:
        from curate.signals.fitting import Feed, Fixed, Online, fit, generator, quality

        assert steps is not None, "this trainer says itself how many steps there are"
        model, draw = self._model(seed), generator(seed)
        size = self.recipe.batch_size
        feed: Feed
        if arm.sampler is None:
            feed = Fixed(weights, size, steps, draw)
        else:
            sampler = online_sampler(arm.sampler, len(rows), self.recipe.epochs, size, steps, seed, by_steps=self.budget == "steps")
            feed = Online(sampler, size, steps if self.budget == "steps" else None)
        watch = _Watch(lambda: self._accuracy(model), steps)
        made = fit(model, self.inputs, self.labels, rows, feed, self.recipe, draw=draw, device=self.device, task=task, watch=watch)
        found = quality(model, self.test, self.test_labels, self.test_rows, self.device)
        if math.isnan(found["loss"]):
            raise FitFailed(f"training diverged (lr {self.recipe.lr}, {self.recipe.optimizer}); use a lower --lr")
        curve = tuple((round(share * made), accuracy) for share, accuracy in watch.seen)
        return Fitted(found, made, (*curve, (made, found["accuracy"])), watch.aside)

    def _accuracy(self, model: Any) -> float:
        """On the way a part of the test rows will do."""
        from curate.signals.fitting import quality

        return quality(model, self.test, self.test_labels, self.test_rows[:WATCHED_ROWS], self.device)["accuracy"]

    def _warm_up(self) -> None:
        """One step for nothing: what a process loads for its first would else be charged to the first arm."""
        from curate.signals.fitting import Fixed, fit, generator

        rows = np.setdiff1d(np.arange(min(len(self.labels), 4096)), list(self.failed))[:2]
        if len(rows) == 2:
            with Silent().task("warm up", 1) as task:
                draw = generator(0)
                feed = Fixed(np.ones(2), self.recipe.batch_size, 1, draw)
                fit(self._model(0), self.inputs, self.labels, rows, feed, self.recipe, draw=draw, device=self.device, task=task)

    def _model(self, seed: int) -> Any:
        from curate.signals.training import seeded

        return seeded(lambda: self.proxy.build(self.inputs.shape, self.classes), seed).to(self.device)


class FunctionTrainer:
    """Trains by the user's `train(dataset, seed) -> metrics`: of a `datasets.Dataset` it makes numbers by name, "accuracy" among them.

    Where it has a parameter `test` it is handed the test rows, and where it has `weight` the rows' weights, (k,) float64. A function
    without `test` tests itself, so rows are held out from it only where the user names a test set.
    """

    def __init__(self, data: Dataset, spec: str, test: Any, seed: int, weighted: bool, progress: Progress) -> None:
        from curate.signals.proxies import load_function

        if ".py:" not in spec:
            raise UsageError(f'--train takes FILE.py:FUNCTION; got "{spec}".')
        name, self._train = load_function(spec, "Training", '(dataset, seed): return {"accuracy": …}')
        self._takes = _parameters(self._train, spec)
        self.data = data
        self.held = held_rows(data, test, seed) if "test" in self._takes or test is not None else None
        self.failed: Mapping[int, str] = {}
        self.about = {"train": name, "test": None if self.held is None else about_test(self.held, len(self.held.data))}
        if weighted and "weight" not in self._takes:
            progress.note(f'A selection has weights, and the function in "{spec}" has no parameter `weight`: it trains without them.')

    def steps(self, rows: int, everything: int) -> None:
        return None

    def run(self, arm: Arm, rows: Rows, weights: Weights, seed: int, steps: int | None, task: Task) -> Fitted:
        extra: dict[str, Any] = {}
        if "test" in self._takes and self.held is not None:
            extra["test"] = self.held.data.table
        if "weight" in self._takes:
            extra["weight"] = weights
        try:
            found = self._train(self.data.table.select(rows), seed, **extra)
        except Exception as error:  # the user's own code may raise anything, and costs its arm alone
            raise FitFailed(_said(error)) from error
        return Fitted(_checked(found))


class _Watch:
    """Looks at the accuracy at ten places of the run, evenly spaced, before its end."""

    def __init__(self, accuracy: Callable[[], float], steps: int) -> None:
        self._accuracy = accuracy
        self._next = 1 / WATCHED if steps >= 2 * WATCHED else math.inf
        self.seen: list[tuple[float, float]] = []
        self.aside = (0.0, 0.0)

    def __call__(self, share: float) -> None:
        if share < self._next:
            return
        wall, cpu = time.perf_counter(), time.process_time()
        self.seen.append((share, self._accuracy()))
        self._next = (math.floor(share * WATCHED + 1e-9) + 1) / WATCHED
        self.aside = (self.aside[0] + time.perf_counter() - wall, self.aside[1] + time.process_time() - cpu)


def online_sampler(spec: str, n: int, epochs: int, batch_size: int, steps: int, seed: int, *, by_steps: bool) -> Any:
    """An online sampler over `n` rows. Where steps are held equal, one whose epochs have a known size makes as many epochs as they take.

    One that reads losses (`infobatch`, `seta`) makes `epochs` epochs whatever the budget, so that what it saves is seen.
    """
    plugin = parse("online_samplers", spec)
    built = plugin.cls(n, epochs, **plugin.options, seed=seed, rank=0, world=1)
    if by_steps and not plugin.cls.reads_losses:
        a_epoch = math.ceil(built.expected_rows(0) / batch_size)
        built = plugin.cls(n, max(1, math.ceil(steps / a_epoch)), **plugin.options, seed=seed, rank=0, world=1)
    return built


def about_test(held: Held, rows: int) -> dict[str, Any]:
    """What the manifest says of the test set; `rows` are those that count."""
    return {"rows": rows, "of": len(held.data), "from": held.origin, "fingerprint": held.data.fingerprint}


def _parameters(function: Callable[..., Any], spec: str) -> frozenset[str]:
    names = list(inspect.signature(function).parameters)
    odd = [name for name in names[2:] if name not in ("test", "weight")]
    if len(names) < 2 or odd:
        raise UsageError(
            f'The function in "{spec}" takes ({", ".join(names)}); `train(dataset, seed)` is expected, '
            "and behind them `test` or `weight`, if wanted."
        )
    return frozenset(names[2:])


def _said(error: Exception) -> str:
    """One line: the error, and where the last of its frames is, without the path."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300] + place


def _checked(found: object) -> dict[str, float]:
    if not isinstance(found, Mapping) or "accuracy" not in found:
        raise FitFailed(f'the function returned {type(found).__name__} without "accuracy"; a dict of numbers with it is expected')
    odd = {name: value for name, value in found.items() if not isinstance(value, int | float | np.number) or not np.isfinite(value)}
    if odd:
        raise FitFailed(
            f"the function returned {', '.join(f'{name}={value!r}' for name, value in odd.items())[:200]}; finite numbers are expected"
        )
    return {str(name): float(value) for name, value in found.items()}
