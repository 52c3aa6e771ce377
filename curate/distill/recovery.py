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
    """Adam (0.5, 0.9), rate `lr` falling to 0 by a cosine over `iterations`; rolls of up to `jitter` pixels; `r_bn` weighs statistics.

    With `crop` below 1, teachers see a random part of the images, of `crop` to all of their area, enlarged to their size; with `mirror`
    every other time the mirror image.
    """

    iterations: int
    lr: float
    r_bn: float
    jitter: int
    crop: float = 1.0
    mirror: bool = False


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
    once, but each has statistics, a view and a loss of its own, so it moves as if it were alone; `keys` (groups,) name their draws.
    With `limits`, each (c, 1, 1), pixels are held between them after every iteration. With `base`, of the images' shape, what is moved is
    added to it, and may be (groups, 1, c, h, w): the same for all classes.
    """
    moved = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], recipe.lr, BETAS)
    for done in range(recipe.iterations):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * (1 + math.cos(math.pi * done / recipe.iterations)) / 2
        images = _seen(moved if base is None else base + moved, recipe, keys, rng.child(done))
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


def _seen(images: Tensor, recipe: Recipe, keys: Sequence[int], rng: KeyedRandom) -> Tensor:
    """Every group as the teachers see it: its own part of the images, mirrored or not, and shifted around the border."""
    if not recipe.jitter and recipe.crop == 1 and not recipe.mirror:
        return images
    seen = []
    for key, group in zip(keys, images, strict=True):
        draw = torch.Generator().manual_seed(rng.child(key).torch_seed())
        down, across = (int(torch.randint(-recipe.jitter, recipe.jitter + 1, (), generator=draw)) for _ in range(2))
        if recipe.crop < 1:
            top, left, height, width = crop_box(group.shape[-2:], recipe.crop, draw)
            part = group[..., top : top + height, left : left + width]
            group = nn.functional.interpolate(part, group.shape[-2:], mode="bilinear", align_corners=False)
        if recipe.mirror and float(torch.rand((), generator=draw)) < 0.5:
            group = group.flip(-1)
        seen.append(torch.roll(group, (down, across), (-2, -1)))
    return torch.stack(seen)


def crop_box(shape: Sequence[int], share: float, draw: torch.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part with `share` … 1 of the area and sides of 3:4 … 4:3, held within the image."""
    area, ratio, y, x = (float(u) for u in torch.rand(4, generator=draw))
    area = (share + (1 - share) * area) * shape[0] * shape[1]
    ratio = math.exp((2 * ratio - 1) * math.log(4 / 3))
    height, width = (min(side, max(1, round(math.sqrt(wanted)))) for side, wanted in zip(shape, (area / ratio, area * ratio), strict=True))
    return int(y * (shape[0] - height + 1)), int(x * (shape[1] - width + 1)), height, width
