"""Trains fresh networks on a small set and tests them: what a distilled set, and every set that it is held against, is worth."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from curate.distill.augment import DSA, OPERATIONS
from curate.distill.networks import Network, build
from curate.progress import Task
from curate.protocols import Training
from curate.rng import KeyedRandom
from curate.signals.fitting import batches
from curate.signals.training import seeded

STACKED: Final = ("convnet", "mlp")  # pure functions of their weights, so several are trained in one go
TEST_ROWS: Final = 512
CPU_VALUES: Final = 1 << 23  # activations of one layer that are worth stacking: beyond, the caches are too small


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Images (m, c, h, w) as networks read them, and what they are to say: probabilities of every class, (m, classes).

    With `sets` k there are k sets of m/k rows, one after another, and the i-th network trains on the i-th of them.
    """

    images: Tensor
    targets: Tensor
    sets: int = 1

    @property
    def size(self) -> int:
        """How many rows one network sees."""
        return len(self.images) // self.sets

    @classmethod
    def hard(cls, images: Tensor, labels: Tensor, classes: int, sets: int = 1) -> "TrainingSet":
        return cls(images, nn.functional.one_hot(labels, classes).float(), sets)


@dataclass(frozen=True)
class Ensemble:
    """Trained networks of one kind; `logits` of images (n, c, h, w) are (networks, n, classes)."""

    logits: Callable[[Tensor], Tensor]

    def accuracies(self, images: Tensor, labels: Tensor) -> list[float]:
        """The share of test images that each network gets right; a network that diverged is right by chance alone."""
        right = torch.zeros(0)
        for part, known in zip(torch.split(images, TEST_ROWS), torch.split(labels, TEST_ROWS), strict=True):
            hits = (self.logits(part).argmax(2) == known).sum(1).cpu()  # (networks,)
            right = hits if not len(right) else right + hits
        return [float(share) for share in right.double() / len(labels)]

    def probabilities(self, images: Tensor) -> Tensor:
        """The softmax of the networks' mean logits, (n, classes): a soft label an image."""
        return torch.cat([self.logits(part).mean(0).softmax(1) for part in torch.split(images, TEST_ROWS)])


def train(known: TrainingSet, training: Training, network: str, seeds: Sequence[int], task: Task) -> Ensemble:
    """A fresh network a seed, trained as `training` says; seed s gives the same initial weights and batches whatever the set.

    Batches are min(batch, size) rows out of one random order after another. The loss is the cross entropy against the targets. Several
    small networks are trained in one go, under `vmap`; those with batch norm one after another.
    """
    shape, classes = tuple(known.images.shape[1:]), known.targets.shape[1]
    if network not in STACKED:
        modules = [_train_one(known, training, network, seeds, which, task) for which in range(len(seeds))]
        return Ensemble(lambda images: torch.stack([_quiet(module, images) for module in modules]))
    made = Network(lambda: build(network, shape, classes, training.width))
    group = max(1, CPU_VALUES // (min(training.batch, known.size) * training.width * shape[1] * shape[2]))
    group = group if known.images.device.type == "cpu" else len(seeds)
    each = range(len(seeds))
    thetas = torch.cat([_train_stacked(known, training, made, seeds, each[i : i + group], task) for i in range(0, len(seeds), group)])
    return Ensemble(lambda images: made.apply_many(thetas, images))


def training_on(device: str, network: str, width: int) -> Training:
    """The usual training on a distilled set: the published 1001 epochs are for a GPU, and 200 steps already level off on small sets."""
    steps, batch = (200, 128) if device == "cpu" else (1000, 256)
    return Training(lr=0.01, steps=steps, batch=batch, network=network, width=width)


def initial_seed(seed: int) -> int:
    """What the global generator is seeded with for a network's initial weights; the card of a set names it."""
    return KeyedRandom(seed, "weights").torch_seed()


def _train_stacked(
    known: TrainingSet, training: Training, network: Network, seeds: Sequence[int], which: Sequence[int], task: Task
) -> Tensor:
    theta = torch.stack([network.initial(seeds[i]) for i in which]).to(known.images.device)  # (k, size)
    speed = torch.zeros_like(theta)

    for step, (rows, u, operation) in enumerate(_steps(known, training, seeds, which)):
        images = known.images[rows]  # (k, b, c, h, w)
        if operation is not None and u is not None:
            images = OPERATIONS[operation](images.flatten(0, 1), u.flatten(0, 1)).view(images.shape)
        slope, _ = network.slopes(theta, images, known.targets[rows])
        speed = training.momentum * speed + slope + training.weight_decay * theta
        theta = theta - _rate(training, step) * speed
        task.advance(len(which))
    return theta


def _train_one(known: TrainingSet, training: Training, network: str, seeds: Sequence[int], which: int, task: Task) -> nn.Module:
    shape, classes = tuple(known.images.shape[1:]), known.targets.shape[1]
    module = seeded(lambda: build(network, shape, classes, training.width), seeds[which]).to(known.images.device).train()
    optimizer = torch.optim.SGD(module.parameters(), training.lr, training.momentum, weight_decay=training.weight_decay)
    for step, (rows, u, operation) in enumerate(_steps(known, training, seeds, [which])):
        images, targets = known.images[rows[0]], known.targets[rows[0]]
        seen = images if operation is None or u is None else OPERATIONS[operation](images, u[0])
        for group in optimizer.param_groups:
            group["lr"] = _rate(training, step)
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(module(seen), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        task.advance()
    return module


def _steps(
    known: TrainingSet, training: Training, seeds: Sequence[int], which: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor | None, str | None]]:
    """For every step the rows of each network of `which`, (k, b), and the augmentation's, (k, b, 3), with the operation they share."""
    device = known.images.device
    draws = [torch.Generator().manual_seed(KeyedRandom(seed, "batches").torch_seed()) for seed in (seeds[i] for i in which)]
    feeds = [batches(known.size, training.batch, training.steps, draw) for draw in draws]
    first = torch.tensor([known.size * (i if known.sets > 1 else 0) for i in which])[:, None]  # (k, 1)
    augmentation = DSA(training.augment)
    group = torch.Generator().manual_seed(KeyedRandom(0, "augment").torch_seed())
    for picked in zip(*feeds, strict=True):
        rows = (torch.stack(picked) + first).to(device)
        shared = augmentation.draw(1, group).operation
        u = None if shared is None else torch.stack([augmentation.draw(rows.shape[1], draw).u for draw in draws]).to(device)
        yield rows, u, shared


def _rate(training: Training, step: int) -> float:
    return training.lr * (0.1 if step >= training.steps // 2 else 1.0)


def _quiet(module: nn.Module, images: Tensor) -> Tensor:
    module.eval()
    with torch.no_grad():
        logits: Tensor = module(images)
    return logits
