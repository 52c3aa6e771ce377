"""What every sampler for a training loop shares: epochs, ranks, losses that come back, and going on where a killed run stopped."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from curate.errors import InputError, OptionError
from curate.rng import KeyedRandom
from curate.signals.sums import row_numbers

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Plan:
    """The rows of one epoch, (m,) int64 in the order of presentation, and what each one's loss is multiplied by, (m,) float32."""

    rows: Rows
    weights: Floats


class AbstractOnline(Sampler[int]):
    """A `torch.utils.data.Sampler` that chooses anew for every epoch; a subclass says which rows (`plan`).

        sampler = curate.samplers.InfoBatch(len(train), epochs=30)
        loader = DataLoader(train, batch_size=128, sampler=sampler)      # train[i] gives (i, x, y)
        for epoch in range(30):
            for rows, x, y in loader:
                losses = cross_entropy(model(x), y, reduction="none")
                sampler.update(rows, losses)
                (losses * sampler.weight(rows)).mean().backward()

    Each new iteration is the next epoch; loops that call `set_epoch` (counted from 0) decide for themselves. An epoch's rows follow
    from (seed, epoch) and the losses known when it began, so every rank draws the same and takes its stride of it, padded to
    equal lengths with the epoch's first rows. `rank` and `world` are torch.distributed's unless given; where something else splits the
    batches between processes (accelerate and so transformers.Trainer do), pass rank=0, world=1. Memory: 8 bytes a row for losses, 4 for
    weights, 8 for the order.
    """

    name: ClassVar[str]
    reads_losses: ClassVar[bool]  # whether an epoch's rows follow from the losses before it

    def __init__(self, n: int, epochs: int, seed: int, rank: int | None, world: int | None) -> None:
        if not isinstance(n, int | np.integer):
            raise OptionError(f"{self.name}: the first argument is the number of rows, len(train), got a {type(n).__name__}.")
        if n < 1 or epochs < 1:
            raise OptionError(f"{self.name}: rows and epochs must be 1 or more, got {n} rows and {epochs} epochs.")
        if (rank is None) != (world is None) or (rank is not None and world is not None and not 0 <= rank < world):
            raise OptionError(f"{self.name}: rank and world go together, with rank in 0 … world-1; got rank={rank}, world={world}.")
        self.n, self.epochs, self.seed = n, epochs, seed
        self.rank, self.world = rank, world
        self.epoch = 0
        self._losses = np.full(n, np.nan, np.float32)  # as they were when the epoch began: its plan follows from these
        self._fresh = np.full(n, np.nan, np.float32)  # what this rank has reported since
        self._began: int | None = None
        self._plan: Plan | None = None
        self._dense: Floats | None = None
        self._position = 0
        self._go_on_at = 0
        self._is_over = False
        self._lengths: dict[int, int] = {}

    @abstractmethod
    def plan(self, epoch: int, losses: Floats, rng: KeyedRandom) -> Plan:
        """The rows of an epoch (from 0). `losses`, (n,), are each row's last, NaN where there is none; `rng` is the epoch's own."""

    @abstractmethod
    def expected_rows(self, epoch: int) -> float:
        """How many rows an epoch to come is going to have, as far as can be known now."""

    def __iter__(self) -> Iterator[int]:
        if self._is_over:
            self.epoch += 1
            self._is_over = False
        mine = self._share_of_this_rank(self._begin().rows)
        self._position, self._go_on_at = self._go_on_at, 0
        for row in mine[self._position :].tolist():
            self._position += 1
            yield row
        self._is_over = True

    def __len__(self) -> int:
        """The rows of the current epoch on this rank. Before the epoch has begun, by the losses that this rank knows."""
        return self._on_this_rank(len(self._planned().rows))

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the next iteration is, from 0."""
        if epoch < 0:
            raise OptionError(f"{self.name}: epochs count from 0, got {epoch}.")
        self.epoch, self._is_over = epoch, False

    def update(self, rows: Tensor | Rows | Sequence[int], losses: Tensor | Floats) -> None:
        """Reports the losses of a batch, (b,), one a row, before any weight. Ranks exchange theirs when the next epoch begins."""
        where = self._checked(rows)
        values = torch.as_tensor(losses).detach().float().cpu().reshape(-1).numpy()
        if len(values) != len(where):
            raise InputError(
                f'{len(values)} losses came with {len(where)} rows; one a row is expected: compute the loss with reduction="none".'
            )
        known = np.isfinite(values)
        self._fresh[where[known]] = values[known]

    def weight(self, rows: Tensor | Rows | Sequence[int]) -> Tensor:
        """What the losses of these rows are multiplied by in this epoch, (b,) float32 on the device of `rows`."""
        device = rows.device if isinstance(rows, Tensor) else torch.device("cpu")
        if self._dense is None:
            plan = self._planned()
            self._dense = np.ones(self.n, np.float32)
            self._dense[plan.rows] = plan.weights
        return torch.from_numpy(self._dense[self._checked(rows)]).to(device)

    @property
    def visits(self) -> int:
        """Rows handed out so far by all ranks, the running epoch counted whole."""
        return sum(self._lengths.values())

    @property
    def saved(self) -> float:
        """The share of visits saved so far, against epochs on every row: 0 … 1."""
        return 1 - self.visits / (self.n * len(self._lengths)) if self._lengths else 0.0

    def total_steps(self, batch_size: int) -> int:
        """Optimiser steps of the whole run on each rank, for a scheduler that counts them.

        Epochs to come are estimated where their size depends on losses (`infobatch`, `seta`): ask again each epoch.
        """
        sizes = [self._lengths.get(epoch, round(self.expected_rows(epoch))) for epoch in range(self.epochs)]
        return sum(-(-self._on_this_rank(size) // batch_size) for size in sizes)

    def state_dict(self, seen: int | None = None) -> dict[str, Any]:
        """Everything that a resumed run needs.

        A loader with workers runs ahead of the training: pass as `seen` how many rows of the epoch this rank has trained on.
        """
        return {
            "name": self.name,
            "n": self.n,
            "seed": self.seed,
            "epoch": self.epoch,
            "began": self._began,
            "position": self._position if seen is None else seen,
            "losses": torch.from_numpy(self._losses.copy()),
            "fresh": torch.from_numpy(self._fresh.copy()),
            "lengths": dict(self._lengths),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken; InputError for the state of another sampler, another seed or a dataset of another length."""
        told = {"name": "the sampler {}", "n": "{} rows", "seed": "seed {}"}
        if missing := told.keys() - state.keys():
            raise InputError(f"This is no sampler's state: it has no {', '.join(sorted(missing))}. Pass what state_dict() gave.")
        for (key, words), own in zip(told.items(), (self.name, self.n, self.seed), strict=True):
            if state[key] != own:
                theirs, ours = words.format(state[key]), words.format(own)
                raise InputError(f"The state is of {theirs}, but this one is of {ours}. Resume with the data and options it began with.")
        self.epoch, self._began = state["epoch"], state["began"]
        self._losses = state["losses"].numpy().copy()
        self._fresh = state["fresh"].numpy().copy()
        self._lengths = {int(epoch): int(size) for epoch, size in state["lengths"].items()}
        self._plan, self._dense = None, None
        self._go_on_at = self._position = state["position"]
        self._is_over = self._began == self.epoch and self._position >= self._on_this_rank(self._lengths[self.epoch])
        if self._is_over:
            self._go_on_at = 0

    def _begin(self) -> Plan:
        """The plan of the epoch that starts now, after all ranks have told each other what they saw; a started one stays as it is."""
        if self._began != self.epoch:
            self._exchange()
            self._require_losses()
            self._began, self._plan, self._dense = self.epoch, None, None
        plan = self._planned()
        self._lengths[self.epoch] = len(plan.rows)
        return plan

    def _planned(self) -> Plan:
        if self._began != self.epoch:  # asked ahead of the epoch: nothing is kept, since losses may still come in
            return self.plan(self.epoch, self._known_losses(), self._rng())
        if self._plan is None:
            self._plan = self.plan(self.epoch, self._losses, self._rng())
        return self._plan

    def _known_losses(self) -> Floats:
        """Each row's newest loss that this rank knows, (n,), NaN where there is none."""
        return np.where(np.isnan(self._fresh), self._losses, self._fresh)

    def _require_losses(self) -> None:
        """InputError where an epoch is behind us and nobody reported a loss: the loop would train on everything and save nothing."""
        if self.reads_losses and self._lengths and np.isnan(self._losses).all():
            raise InputError(
                f"{self.name} chooses rows by their losses, and after {len(self._lengths)} epoch{'s' if len(self._lengths) != 1 else ''} "
                "no finite one is known. Call sampler.update(rows, losses) once a batch."
            )

    def _rng(self) -> KeyedRandom:
        return KeyedRandom(self.seed, self.name, self.epoch)

    def _exchange(self) -> None:
        """Takes the reported losses over, those of every rank; of two reports of a row the higher rank's holds everywhere."""
        self._require_agreement()
        for fresh in _gathered(self._fresh):
            known = ~np.isnan(fresh)
            self._losses[known] = fresh[known]
        self._fresh.fill(np.nan)

    def _require_agreement(self) -> None:
        """InputError on every rank where their samplers differ: they would wait for each other, or draw rows that do not fit together."""
        own = np.array([self.n, self.seed, self.epoch], np.int64)
        for rank, other in enumerate(_gathered(own)):
            for what, ours, theirs in zip(("rows", "seed", "epoch"), own.tolist(), other.tolist(), strict=True):
                if ours != theirs:
                    raise InputError(f"{self.name}: {what} {ours} here, but {theirs} on rank {rank}. Make the same sampler on every rank.")

    def _place(self) -> tuple[int, int]:
        if self.rank is not None and self.world is not None:
            return self.rank, self.world
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def _on_this_rank(self, size: int) -> int:
        return -(-size // self._place()[1])

    def _share_of_this_rank(self, rows: Rows) -> Rows:
        rank, world = self._place()
        total = -(-len(rows) // world) * world
        return np.resize(rows, total)[rank::world]

    def _checked(self, rows: Any) -> Rows:
        return row_numbers(rows.cpu() if isinstance(rows, Tensor) else rows, self.n, "sampler").numpy()


def shuffled(rows: Rows, rng: KeyedRandom) -> Rows:
    """The rows in a random order that depends on the key alone."""
    return rows[np.argsort(rng.child("order").uniform(rows), kind="stable")]


def check_share(name: str, what: str, value: float) -> None:
    """OptionError unless 0 < value ≤ 1."""
    if not 0 < value <= 1:
        raise OptionError(f"{name}: {what} must be above 0 and at most 1, got {value}.")


def chooses(epoch: int, epochs: int, delta: float) -> bool:
    """Whether a sampler that anneals leaves rows out in this epoch: neither in the first nor beyond ⌊delta·epochs⌋."""
    return 0 < epoch < math.floor(delta * epochs)


def check_annealing(name: str, share: float, delta: float) -> None:
    """OptionError unless 0 ≤ share < 1, which is dropped at random, and 0 ≤ delta ≤ 1."""
    if not 0 <= share < 1:
        raise OptionError(f"{name}: share, which is dropped at random, must be 0 or more and below 1, got {share}.")
    if not 0 <= delta <= 1:
        raise OptionError(f"{name}: delta must be 0 … 1, got {delta}.")


def _gathered(values: NDArray[Any]) -> list[NDArray[Any]]:
    """Every rank's values, in the order of the ranks; one's own alone without torch.distributed."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [values]
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    own = torch.from_numpy(values).to(device)
    parts = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, own)
    return [part.cpu().numpy() for part in parts]
