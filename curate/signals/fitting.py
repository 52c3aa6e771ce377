"""Trains a fresh model on some rows for a fixed number of steps, keeps nothing of the way, and says how good it is on a test set."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from curate.comparison import calibration_error, worst_class
from curate.progress import Task
from curate.rng import KeyedRandom
from curate.signals.inputs import Inputs
from curate.signals.training import Recipe, optimizer_of, set_rate

BATCH: Final = 512


def fit(
    model: nn.Module,
    inputs: Inputs,
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    weights: NDArray[np.float64],
    recipe: Recipe,
    *,
    steps: int,
    seed: int,
    device: torch.device,
    task: Task,
) -> None:
    """Trains `model` in place on `rows` (k,), each row's loss times its weight (k,), which are scaled to a mean of 1.

    Every step sees `batch_size` rows (all of them where there are fewer), so that equal steps are equal presentations whatever k is.
    Order, augmentation and dropout depend on the seed alone, initial weights on how the model was built. Cost: `steps` training steps.
    """
    keyed = KeyedRandom(seed, "fit").torch_seed()
    torch.manual_seed(keyed)
    draw = torch.Generator().manual_seed(keyed)
    chosen = torch.from_numpy(rows.copy())
    y = torch.from_numpy(labels[rows]).to(device)
    scaled = torch.from_numpy((weights / weights.mean()).astype(np.float32)).to(device)
    optimizer = optimizer_of(model, recipe)
    model.train()
    for step, picked in enumerate(batches(len(rows), recipe.batch_size, steps, draw)):
        set_rate(optimizer, recipe, step / steps)
        there = picked.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            logits = model(*inputs.batch(chosen[picked].to(device), draw))
        losses = nn.functional.cross_entropy(logits.float(), y[there], reduction="none")  # (b,)
        optimizer.zero_grad(set_to_none=True)
        (losses * scaled[there]).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        task.advance()


def batches(n: int, size: int, steps: int, draw: torch.Generator) -> Iterator[Tensor]:
    """`steps` batches of min(size, n) positions in 0 … n-1, out of one random order after another; a batch may span two."""
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
    model.eval()
    with torch.inference_mode():
        parts = [model(*inputs.batch(batch.to(device))).float().cpu() for batch in torch.split(torch.from_numpy(rows.copy()), BATCH)]
    log_p = torch.log_softmax(torch.cat(parts), dim=1).double().numpy()  # (k, classes)
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
