"""Trains a fresh model on some rows for a fixed number of steps, keeps nothing of the way, and says how good it is on a test set."""

from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from curate.comparison import calibration_error, worst_class
from curate.progress import Task
from curate.rng import KeyedRandom
from curate.signals.inputs import Inputs, channels_last
from curate.signals.training import Recipe, optimizer_of, set_rate

BATCH: Final = 512


class Feed(Protocol):
    """What a training is fed with: batches of positions in its rows, each with the share of the run that lies before it, 0 … 1."""

    def batches(self) -> Iterator[tuple[Tensor, float]]: ...

    def weight(self, picked: Tensor) -> Tensor:
        """What the losses of a batch are multiplied by, (b,) float32."""
        ...

    def update(self, picked: Tensor, losses: Tensor) -> None:
        """Is told the losses of a batch, (b,), before any weight."""
        ...


class Fixed:
    """The same rows all along: `steps` full batches out of one random order after another; weights (k,) scaled to a mean of 1."""

    def __init__(self, weights: NDArray[np.float64], size: int, steps: int, draw: torch.Generator) -> None:
        self._weights = torch.from_numpy((weights / weights.mean()).astype(np.float32))
        self._size, self._steps, self._draw = size, steps, draw

    def batches(self) -> Iterator[tuple[Tensor, float]]:
        for step, picked in enumerate(batches(len(self._weights), self._size, self._steps, self._draw)):
            yield picked, step / self._steps

    def weight(self, picked: Tensor) -> Tensor:
        return self._weights[picked]

    def update(self, picked: Tensor, losses: Tensor) -> None:
        return None


class Online:
    """The rows that an online sampler chooses, epoch by epoch; after `steps` batches, where they are given, it ends."""

    def __init__(self, sampler: Any, size: int, steps: int | None) -> None:
        self._sampler, self._size, self._steps = sampler, size, steps

    def batches(self) -> Iterator[tuple[Tensor, float]]:
        done = 0
        for epoch in range(self._sampler.epochs):
            parts = torch.split(torch.tensor(list(self._sampler)), self._size)
            for step, picked in enumerate(parts):
                if done == self._steps:
                    return
                share = done / self._steps if self._steps else (epoch + step / len(parts)) / self._sampler.epochs
                done += 1
                yield picked, share

    def weight(self, picked: Tensor) -> Tensor:
        found: Tensor = self._sampler.weight(picked)
        return found

    def update(self, picked: Tensor, losses: Tensor) -> None:
        self._sampler.update(picked, losses)


def fit(
    model: nn.Module,
    inputs: Inputs,
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    feed: Feed,
    recipe: Recipe,
    *,
    draw: torch.Generator,
    device: torch.device,
    task: Task,
    watch: Callable[[float], None] | None = None,
) -> int:
    """Trains `model` in place on what the feed picks of `rows` (k,); returns how many steps that were.

    Order, augmentation and dropout depend on `draw` alone (`generator`), initial weights on how the model was built. `watch` is told
    before each step how much of the run is done, 0 … 1, and may put the model into another mode. Cost: a training step a batch.
    """
    chosen = torch.from_numpy(rows.copy())
    y = torch.from_numpy(labels[rows]).to(device)
    optimizer = optimizer_of(model, recipe)
    steps = 0
    for picked, share in feed.batches():
        if watch is not None:
            watch(share)
        model.train()
        set_rate(optimizer, recipe, min(share, 1.0))
        there = picked.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            logits = model(*inputs.batch(chosen[picked].to(device), draw))
        losses = nn.functional.cross_entropy(logits.float(), y[there], reduction="none")  # (b,)
        feed.update(picked, losses)
        optimizer.zero_grad(set_to_none=True)
        (losses * feed.weight(picked).to(device)).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        task.advance()
        steps += 1
    return steps


def generator(seed: int) -> torch.Generator:
    """The random numbers of one training: its own generator, and torch's, from which dropout draws."""
    keyed = KeyedRandom(seed, "fit").torch_seed()
    torch.manual_seed(keyed)
    return torch.Generator().manual_seed(keyed)


def batches(n: int, size: int, steps: int, draw: torch.Generator) -> Iterator[Tensor]:
    """`steps` batches of min(size, n) positions in 0 … n-1, out of one random order after another; a batch may span two.

    So every step sees `size` rows, and equal steps are equal presentations however many rows there are.
    """
    size = min(size, n)
    rest = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(rest) < size:
            rest = torch.cat((rest, torch.randperm(n, generator=draw)))
        yield rest[:size]
        rest = rest[size:]


def quality(model: nn.Module, inputs: Inputs, labels: NDArray[np.int64], rows: NDArray[np.int64], device: torch.device) -> dict[str, float]:
    """How good a model is on the test rows: accuracy, worst_class (the least of the classes' accuracies), ece, and the mean loss in nats.

    The loss is not finite where training diverged, and then none of the four means anything.
    """
    log_p = log_probabilities(model, inputs, rows, device).double().numpy()  # (k, classes)
    y = labels[rows]
    correct = log_p.argmax(axis=1) == y
    loss = float(-log_p[np.arange(len(y)), y].mean())
    if not np.isfinite(loss):
        return dict.fromkeys(("accuracy", "worst_class", "ece", "loss"), float("nan"))
    confidence = np.exp(log_p.max(axis=1))
    return {
        "accuracy": float(correct.mean()),
        "worst_class": worst_class(y, correct),
        "ece": calibration_error(confidence, correct),
        "loss": loss,
    }


def log_probabilities(model: nn.Module, inputs: Inputs, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """What a model in eval mode makes of these rows without augmentation, (k, classes) float32 on the CPU."""
    model.eval()
    with torch.inference_mode():
        batches = (inputs.batch(some.to(device)) for some in torch.split(torch.from_numpy(rows.copy()), BATCH))
        parts = [model(*channels_last(batch)).float().cpu() for batch in batches]
    return torch.log_softmax(torch.cat(parts), dim=1)
