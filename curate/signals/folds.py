"""Out-of-fold probabilities: each row's by a model that was trained without it."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from curate.errors import OptionError
from curate.progress import Task
from curate.rng import KeyedRandom
from curate.signals.fitting import Fixed, fit, generator, log_probabilities
from curate.signals.inputs import Inputs
from curate.signals.training import Recipe

FOLDS: Final = 5


def folds_of(labels: NDArray[np.int64], usable: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Each row's fold, (n,), 0 … 4 and -1 where it is not usable: drawn by key, each class dealt out in turn, so that folds have its share.

    A class's deal goes on where the one before ended, so that folds are equally large too. OptionError for fewer rows than folds.
    """
    if len(usable) < FOLDS:
        raise OptionError(f"{len(usable)} rows can be trained on, fewer than the {FOLDS} folds of out-of-fold probabilities. Add rows.")
    luck = KeyedRandom(seed, "folds").uniform(usable)
    order = usable[np.lexsort((luck, labels[usable]))]
    fold = np.full(len(labels), -1, np.int64)
    fold[order] = np.arange(len(order)) % FOLDS
    return fold


def probabilities_of_fold(
    model: nn.Module,
    inputs: Inputs,
    labels: NDArray[np.int64],
    fold: NDArray[np.int64],
    which: int,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    task: Task,
) -> NDArray[np.float32]:
    """Trains `model` in place on the other folds for as many epochs as the recipe has, and gives this one's probabilities, (k, classes)."""
    rest, own = np.flatnonzero((fold >= 0) & (fold != which)), np.flatnonzero(fold == which)
    steps = recipe.epochs * -(-len(rest) // recipe.batch_size)
    draw = generator(FOLDS * seed + which)
    feed = Fixed(np.ones(len(rest)), recipe.batch_size, steps, draw)
    fit(model, inputs, labels, rest, feed, recipe, draw=draw, device=device, task=task)
    p = log_probabilities(model, inputs, own, device).exp()
    if not bool(p.isfinite().all()):
        raise OptionError(
            f"Training diverged in fold {which + 1} (lr {recipe.lr}). Use a lower rate, --lr {recipe.lr / 10:g}, and another --out."
        )
    return p.numpy()
