"""Recover: images whose batch-norm statistics, in trained teachers, are those of the real data, and which the teachers classify."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from curate.progress import Task
from curate.rng import KeyedRandom

FIRST_LAYER: Final = 10.0  # the weight of the first batch norm's statistics; the others have 1 (official)
BETAS: Final = (0.5, 0.9)


@dataclass(frozen=True, eq=False)
class Voter:
    """A teacher in evaluation mode and the weight of its loss."""

    module: nn.Module
    weight: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """Adam (0.5, 0.9), rate `lr` falling to 0 by a cosine over `iterations`; rolls of up to `jitter` pixels; `r_bn` weighs statistics."""

    iterations: int
    lr: float
    r_bn: float
    jitter: int


def recover(
    start: Tensor,
    labels: Tensor,
    voters: Sequence[Voter],
    recipe: Recipe,
    keys: Sequence[int],
    rng: KeyedRandom,
    task: Task,
    limits: tuple[Tensor, Tensor] | None = None,
    base: Tensor | None = None,
) -> Tensor:
    """Moves images, (groups, bs, c, h, w), so that they fit the teachers; returns them after the last iteration.

    One group is a batch of the official code, of one image for each of `labels` (bs,). All groups go through a teacher at
    once, but each has statistics, a roll and a loss of its own, so it moves as if it were alone; `keys` (groups,) name their draws.
    With `limits`, each (c, 1, 1), pixels are held between them after every iteration. With `base`, of the images' shape, what is moved is
    added to it, and may be (groups, 1, c, h, w): the same for all classes.
    """
    moved = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], recipe.lr, BETAS)
    for done in range(recipe.iterations):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * (1 + math.cos(math.pi * done / recipe.iterations)) / 2
        images = _rolled(moved if base is None else base + moved, recipe.jitter, keys, rng.child(done))
        (moved.grad,) = torch.autograd.grad(total_loss(images, labels, voters, recipe.r_bn), moved)
        optimizer.step()
        if limits is not None:
            with torch.no_grad():
                moved.copy_(torch.minimum(torch.maximum(moved, limits[0]), limits[1]))
        task.advance(len(keys))
    return moved.detach()


def total_loss(images: Tensor, labels: Tensor, voters: Sequence[Voter], r_bn: float) -> Tensor:
    """sum over voters of w (cross entropy + r_bn x distance of the statistics), summed over the groups of (groups, bs, c, h, w)."""
    groups, bs = images.shape[:2]
    losses = []
    for voter in voters:
        with statistics(voter.module, groups) as distances:
            logits = voter.module(images.flatten(0, 1))
        entropy = nn.functional.cross_entropy(logits, labels.repeat(groups), reduction="sum") / bs
        losses.append(voter.weight * (entropy + r_bn * torch.stack(distances).sum()))
    return torch.stack(losses).sum()


@contextmanager
def statistics(module: nn.Module, groups: int) -> Iterator[list[Tensor]]:
    """Collects w (||var - running var|| + ||mean - running mean||) of the input of every batch norm gone through, summed over groups.

    Variances are biased, as in the official code.
    """
    distances: list[Tensor] = []

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None, "of the teachers"
        x = inputs[0].reshape(groups, -1, *inputs[0].shape[1:])  # (groups, bs, channels, h, w)
        var, mean = torch.var_mean(x, (1, 3, 4), correction=0)
        off = (var - norm.running_var).norm(dim=1) + (mean - norm.running_mean).norm(dim=1)
        distances.append((FIRST_LAYER if not distances else 1.0) * off.sum())

    handles = [part.register_forward_pre_hook(look) for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    try:
        yield distances
    finally:
        for handle in handles:
            handle.remove()


def _rolled(images: Tensor, jitter: int, keys: Sequence[int], rng: KeyedRandom) -> Tensor:
    """Every group shifted around the border by its own -jitter … jitter pixels down and across."""
    if not jitter:
        return images
    rolled = []
    for key, group in zip(keys, images, strict=True):
        draw = torch.Generator().manual_seed(rng.child(key).torch_seed())
        down, across = (int(torch.randint(-jitter, jitter + 1, (), generator=draw)) for _ in range(2))
        rolled.append(torch.roll(group, (down, across), (-2, -1)))
    return torch.stack(rolled)
