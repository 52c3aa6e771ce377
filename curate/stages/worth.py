"""What a distilled set is worth: fresh networks trained on it, on real rows of as many bytes, and on everything, in equal steps."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa

from curate.plugins import parse, part
from curate.pool import ArrayPool
from curate.progress import Progress, Task
from curate.protocols import Rows, Training
from curate.rng import KeyedRandom
from curate.synthetic import (
    DISTILLED,
    DISTILLED_SWITCHED,
    EQUAL_COUNT,
    EVALUATION,
    EVERYTHING,
    RANDOM,
    RANDOM_SWITCHED,
    SCHEMA,
    SOFT_RANDOM,
    Synthetic,
    stored,
)

if TYPE_CHECKING:
    from torch import Tensor

SELECTED: Final = ("k_center", "herding")
SWITCHED: Final = (DISTILLED_SWITCHED, RANDOM_SWITCHED)
LABEL_BYTES: Final = 8
RATES: Final = (0.01, 0.05)  # what a real set is tried at besides a learned rate, which was learned for other images
JUDGES: Final = 2000  # real rows, at most, that say which of these is best
HELD: Final = 0.1  # share of a set that holds nearly all rows itself


class Asked(Protocol):
    """What of a request the evaluation reads."""

    @property
    def seeds(self) -> int: ...

    @property
    def seed(self) -> int: ...

    @property
    def ipc(self) -> int: ...

    @property
    def networks(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, eq=False)
class Set:
    """A set to train on: what it is called, its labels, its bytes, and how to make it when its turn comes."""

    name: str
    labels: str
    size: int
    bytes: int


def worth_of(made: Synthetic, images: Any, test: "tuple[Tensor, Tensor]", asked: Asked, progress: Progress) -> None:
    """Fills the store's table `evaluation`, a file a set and network, each whole once it is there.

    Real rows are drawn class by class; random ones anew for every seed. "random" has as many stored bytes as the distilled set: pixels of
    real rows are a byte each, those of synthetic ones four. "taught" rows bear the mean prediction of the networks trained on everything,
    so that what soft labels alone bring is seen. "switched" sets are trained with augmentation where the others are not, or without.
    Where a rate was learned, real sets are also tried at 0.01 and 0.05 with one seed, and the one is used that is best on training rows
    which the trial did not see. The test set is asked once.
    """
    training = made.training
    networks = tuple(dict.fromkeys((training.network, *asked.networks)))
    bench = _Bench(made, images, test, asked)
    todo = [(network, one) for network in networks for one in bench.sets(extra=network != training.network)]
    done = {entry.file for entry in made.store.files(EVALUATION)}
    todo = [(network, one) for network, one in todo if _file(network, one) not in done]
    with progress.task(f"test {len(todo)} sets", len(todo) * training.steps * asked.seeds, "steps") as task:
        for network, one in todo:
            started, cpu = time.perf_counter(), time.process_time()
            rows = bench.test(one, network, task)
            made.store.add_shard(EVALUATION, _file(network, one), pa.Table.from_pylist(rows, SCHEMA))
            made.store.log("test", set=one.name, network=network, wall=time.perf_counter() - started, cpu=time.process_time() - cpu)


def initial_seeds(asked: Asked) -> list[int]:
    """What the global generator is seeded with for each network's first weights; the card names them."""
    initial = part("distillers", "evaluation").initial_seed
    return [initial(asked.seed + i) for i in range(asked.seeds)]


def _file(network: str, one: Set) -> str:
    order = (DISTILLED, EQUAL_COUNT, RANDOM, SOFT_RANDOM, *SELECTED, EVERYTHING, *SWITCHED).index(one.name)
    return f"{network}-{order}-{one.name.replace(', ', '-').replace(' ', '-')}-{one.labels}.arrow"


class _Bench:
    def __init__(self, made: Synthetic, images: Any, test: "tuple[Tensor, Tensor]", asked: Asked) -> None:
        self.evaluation = part("distillers", "evaluation")
        self.distilled, self.images, self.test_set = made.read(), images, test
        self.training = made.training
        self.seeds = [asked.seed + i for i in range(asked.seeds)]
        self.rng = KeyedRandom(asked.seed, "worth")
        labels = images.labels.cpu().numpy()
        self.members = [np.flatnonzero(labels == code) for code in range(images.classes)]
        self.rows = len(self.distilled.images)
        values = self.distilled.images[0].size
        self.bytes = stored(self.distilled)["bytes"]
        self.real_bytes = values + LABEL_BYTES
        self.few = [min(asked.ipc, len(rows)) for rows in self.members]
        self.many = [min(max(asked.ipc, self.bytes // self.real_bytes // images.classes), len(rows)) for rows in self.members]
        self.teacher: Any = None
        self.strategy = part("distillers", "augment").strategy_for(None, images.images.shape[1])

    def sets(self, *, extra: bool) -> Iterator[Set]:
        """What is trained on; on further architectures only what the question is about."""
        soft = self.distilled.soft_labels is not None
        yield Set(DISTILLED, "soft" if soft else "hard", self.rows, self.bytes)
        if soft:
            yield Set(DISTILLED, "hard", self.rows, self.bytes - 4 * self.rows * self.images.classes)
        yield self._real(EQUAL_COUNT, self.few)
        yield self._real(RANDOM, self.many)
        if not extra:
            yield Set(SOFT_RANDOM, "soft", sum(self.few), sum(self.few) * (self.real_bytes + 4 * self.images.classes))
            for name in SELECTED:
                yield self._real(name, self.many)
        yield self._real(EVERYTHING, [len(rows) for rows in self.members])
        if not extra:
            labels = "soft" if soft else "hard"
            yield Set(DISTILLED_SWITCHED, labels, self.rows, self.bytes)
            yield Set(RANDOM_SWITCHED, labels, sum(self.few), sum(self.few) * (self.real_bytes + (4 * self.images.classes if soft else 0)))

    def test(self, one: Set, network: str, task: Task) -> list[dict[str, Any]]:
        """A line a seed."""
        training = self.training
        if one.name in SWITCHED:
            training = replace(training, augment="" if training.augment else self.strategy)
        if one.name in (DISTILLED, DISTILLED_SWITCHED):
            known = self._synthetic(one.labels)
        else:
            rows = self._rows(one.name)  # (sets x size,)
            if self.distilled.rate is not None:
                training = self._best_rate(rows[: one.size], one.labels, network, training)
            known = self._known(rows, one.labels, network, len(rows) // one.size)
        found = self.evaluation.train(known, training, network, self.seeds, task).accuracies(*self.test_set)
        about = {"set": one.name, "labels": one.labels, "network": network, "rows": one.size, "bytes": one.bytes, "lr": training.lr}
        return [{**about, "seed": seed, "accuracy": accuracy} for seed, accuracy in zip(self.seeds, found, strict=True)]

    def _best_rate(self, rows: "Tensor", labels: str, network: str, training: Training) -> Training:
        rows, judges = self._apart(rows)
        known = self._known(rows, labels, network)
        tried = [replace(training, lr=lr) for lr in (training.lr, *RATES)]
        accuracies = [
            self.evaluation.train(known, training, network, self.seeds[:1], _Unwatched()).accuracies(
                self.images.images[judges], self.images.labels[judges]
            )[0]
            for training in tried
        ]
        return tried[int(np.argmax(accuracies))]

    def _apart(self, rows: "Tensor") -> "tuple[Tensor, Tensor]":
        """What a trial trains on, and what judges it: other rows, or a share of its own where it holds nearly all.

        A set of all rows with fewer than ten in every class has none to spare, and is judged by itself.
        """
        import torch

        order = torch.from_numpy(np.argsort(self.rng.child("judges").uniform(np.arange(len(self.images.labels))), kind="stable"))
        others = order[~torch.isin(order, rows)]
        if len(others) >= HELD * len(order):
            return rows, others[:JUDGES]
        held = []
        for members in self.members:
            own = order[torch.isin(order, torch.from_numpy(members)) & torch.isin(order, rows)]
            held.append(own[: int(HELD * len(own))])
        judges = torch.cat(held)
        return (rows[~torch.isin(rows, judges)], judges[:JUDGES]) if len(judges) else (rows, rows)

    def _real(self, name: str, sizes: list[int]) -> Set:
        return Set(name, "hard", sum(sizes), sum(sizes) * self.real_bytes)

    def _synthetic(self, labels: str) -> Any:
        import torch

        device = self.images.images.device
        x = self.images.transform.apply(torch.from_numpy(self.distilled.images).to(device))
        if labels == "soft":
            return self.evaluation.TrainingSet(x, torch.from_numpy(self.distilled.soft_labels).to(device))
        return self.evaluation.TrainingSet.hard(x, torch.from_numpy(self.distilled.labels).to(device), self.images.classes)

    def _rows(self, name: str) -> "Tensor":
        """Of the real images; where they are drawn, a set for every seed, one after another."""
        import torch

        if name == EVERYTHING:
            return torch.arange(len(self.images.labels))
        if name in SELECTED:
            return torch.from_numpy(self._selected(name))
        sizes = self.many if name == RANDOM else self.few
        return torch.from_numpy(np.concatenate([self._drawn(sizes, seed) for seed in self.seeds]))

    def _known(self, rows: "Tensor", labels: str, network: str, sets: int = 1) -> Any:
        import torch

        whole = torch.equal(rows, torch.arange(len(self.images.labels)))
        x = self.images.images if whole else self.images.images[rows]  # all of them are not copied
        if labels == "soft":
            return self.evaluation.TrainingSet(x, self._teacher(network).probabilities(x), sets)
        return self.evaluation.TrainingSet.hard(x, self.images.labels[rows], self.images.classes, sets)

    def _teacher(self, network: str) -> Any:
        """A network trained on everything, once."""
        if self.teacher is None:
            everything = self.evaluation.TrainingSet.hard(self.images.images, self.images.labels, self.images.classes)
            self.teacher = self.evaluation.train(everything, self.training, network, self.seeds[:1], _Unwatched())
        return self.teacher

    def _drawn(self, sizes: list[int], seed: int) -> Rows:
        keys = KeyedRandom(seed, "worth", RANDOM)
        picked = [rows[np.argsort(keys.uniform(rows), kind="stable")[:size]] for rows, size in zip(self.members, sizes, strict=True)]
        return np.concatenate(picked)

    def _selected(self, name: str) -> Rows:
        """As many rows of every class, by a sampler of ours on the pixels as networks read them."""
        sampler = parse("samplers", name).build()
        picked = []
        for code, (rows, size) in enumerate(zip(self.members, self.many, strict=True)):
            vectors = self.images.images[rows].flatten(1).cpu().numpy()
            index, _ = sampler.select(ArrayPool({"embedding": vectors}, rows=rows), size, self.rng.child(name, code))
            picked.append(rows[index])
        return np.concatenate(picked)


class _Unwatched:
    def advance(self, amount: int = 1) -> None:
        """A trial beside the work that was announced."""
