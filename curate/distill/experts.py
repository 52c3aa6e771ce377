"""Experts: many networks trained on the real images at once, with their weights after every epoch kept on disk.

Any method can take them up again. On disk they are a store: a folder for each group of experts that trained side by side, and in it a
file for each epoch, `epoch-00003.safetensors`, with `theta` (experts, size) float32 and the epoch's mean training `loss`, (experts,).
Plain experts as in Cazenavette et al. 2022; flat ones (`rho`) as in Du et al. 2023, "Minimizing the Accumulated Trajectory Error to
Improve Dataset Distillation"; smooth ones (`clip_epochs`, `penalty`) as in Shen et al. 2023 (AST).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from curate.disk import checksum
from curate.distill.augment import DSA
from curate.distill.buffers import buffers_in, trajectories
from curate.distill.networks import Network
from curate.errors import InputError, OtherDatasetError, OtherJobError
from curate.progress import Task
from curate.protocols import RealImages
from curate.rng import KeyedRandom
from curate.store import MANIFEST, Store, differences

KIND: Final = "experts"
FOLDER: Final = "experts"
# Networks side by side save the cost of launching small operations; more numbers at once than a cache holds cost more than they save.
NUMBERS_AT_ONCE: Final[Mapping[str, int]] = {"cpu": 1 << 16}
NUMBERS_ELSEWHERE: Final = 1 << 24


@dataclass(frozen=True)
class Recipe:
    """How experts are trained: SGD in batches of min(`batch`, all) over one random order of the images an epoch.

    An epoch ends after `epoch_rows` images, where that is fewer than all. `rho` above 0 makes it GSAM, which looks for flat places at twice
    the cost: the gradient is taken rho uphill, less `surrogate` times what of the plain one stands at a right angle to it. `clip_epochs`
    scales the loss by .5 … .95 over that many first epochs; `penalty` weighs AST's pull of input gradients to length 1. With a `decay`
    the rate is multiplied by it from epoch half + 3 on, where the velocity starts anew.
    """

    rate: float = 0.01
    batch: int = 256
    epoch_rows: int | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    rho: float = 0.0
    surrogate: float = 0.3
    clip_epochs: int = 0
    penalty: float = 0.0
    decay: float = 1.0
    augment: str = ""


class Experts:
    """Trained experts: `read` gives their weights after any epoch, 0 being before the first."""

    def __init__(self, store: Store, count: int, epochs: int, group: int, device: torch.device) -> None:
        self.count, self.epochs = count, epochs
        self._path, self._group, self._device = store.path, group, device
        self._open: dict[Path, Any] = {}

    def read(self, experts: Sequence[int], epochs: Sequence[int]) -> Tensor:
        """The weights of expert `experts[i]` after epoch `epochs[i]`, (k, size) float32; only these are read."""
        rows = [self._file(e // self._group, epoch).get_slice("theta")[e % self._group] for e, epoch in zip(experts, epochs, strict=True)]
        return torch.stack(rows).to(self._device)

    def final(self) -> Tensor:
        """All experts after the last epoch, (count, size)."""
        return self.read(range(self.count), [self.epochs] * self.count)

    def losses(self) -> Tensor:
        """Each expert's mean training loss in each epoch, (count, epochs)."""
        groups = range(-(-self.count // self._group))
        epochs = range(1, self.epochs + 1)
        return torch.cat([torch.stack([self._file(g, t).get_tensor("loss") for t in epochs], 1) for g in groups])[: self.count]

    def _file(self, group: int, epoch: int) -> Any:
        path = self._path / _table(group) / _file_name(epoch)
        if path not in self._open:
            self._open[path] = safe_open(str(path), framework="pt")  # memory-mapped
        return self._open[path]


def obtain(
    data: RealImages, network: Network, about: Mapping[str, Any], recipe: Recipe, count: int, epochs: int, rng: KeyedRandom
) -> Experts:
    """`count` experts of `epochs` epochs: those of `data.runs` if it holds any, else the distiller's own, trained as far as needed.

    `data.runs` may also hold the official code's replay buffers, whose experts are copied; they do not say what they were trained on.
    `about` names the architecture. Experts of another dataset, architecture, recipe or seed are refused, with the difference. Costs
    count x epochs passes over the data and 4 size count (epochs + 1) bytes of disk; killed, it goes on after the last whole epoch.
    """
    rng = KeyedRandom(rng.seed, "experts")  # the same for every method
    job = {"network": dict(about), "size": network.size, "recipe": asdict(recipe), "seed": rng.seed}
    if recipe.decay != 1:
        job["epochs"] = epochs  # when the rate falls depends on it, so a longer run is not the same run continued
    taken = data.runs / FOLDER if data.runs is not None else None
    if taken is not None and (taken / MANIFEST).is_file():
        return _take_over(Store.open(taken), data, job, count, epochs)
    path = data.folder / FOLDER
    group = _group_size(data, recipe, count)
    if data.runs is not None:
        files = buffers_in(data.runs)
        if not files:
            raise InputError(
                f'"{data.runs}" holds no experts; a folder that `curate distill` wrote with a trajectory method, or one with '
                "replay_buffer_0.pt, …, is expected. Leave out --run to train them."
            )
        job = {"network": dict(about), "size": network.size, "buffers": {file.name: checksum(file) for file in files}}
        return _copied(_opened(path, data, job, group), data, trajectories(files, network, epochs), count, epochs)
    store = _opened(path, data, job, group)
    group = int(store.settled["group"])
    groups = range(-(-count // group))
    with data.progress.task("experts", epochs * len(groups), unit="epochs") as task:
        for number in groups:
            _train_group(store, data, network, recipe, number, range(number * group, min(count, (number + 1) * group)), epochs, rng, task)
    return Experts(store, count, epochs, group, data.device)


def _opened(path: Path, data: RealImages, job: Mapping[str, Any], group: int) -> Store:
    dataset = {"fingerprint": data.fingerprint, "rows": len(data.images)}
    if not (path / MANIFEST).is_file():
        return Store.create(path, KIND, dataset=dataset, job=job, settled={"group": group})
    store = Store.open(path)
    _require_same(store, data, job)
    for fault in store.drop_damaged():
        data.progress.note(f'Expert file "{path / fault.file}" is damaged ({fault.problem}); it is made again.')
    return store


def _take_over(store: Store, data: RealImages, job: Mapping[str, Any], count: int, epochs: int) -> Experts:
    _require_same(store, data, job)
    group = int(store.settled["group"])
    finished = sum(int(store.about(table)["count"]) for number, table in enumerate(store.tables) if _done(store, number, epochs) == epochs)
    if finished < count:
        raise InputError(
            f'"{store.path}" holds {finished} experts of at least {epochs} epochs; {count} are needed. '
            "Run the command that made them to its end, ask for fewer or shorter ones, or leave out --run."
        )
    return Experts(store, count, epochs, group, data.device)


def _copied(store: Store, data: RealImages, ways: Iterable[Tensor], count: int, epochs: int) -> Experts:
    """The first `count` experts of what the official code saved, in files of our own; nothing is read where these are there."""
    group = int(store.settled["group"])
    numbers = range(-(-count // group))
    if not all(_table(number) in store.tables and _done(store, number, epochs) == epochs for number in numbers):
        data.progress.note(f'Replay buffers do not say what they were trained on: those in "{data.runs}" are taken for these images\' own.')
        each = iter(ways)
        for number in numbers:
            members = range(number * group, min(count, (number + 1) * group))
            way = [one for _, one in zip(members, each, strict=False)]  # in this order no expert is lost
            if len(way) < len(members):
                raise InputError(
                    f'"{data.runs}" holds {number * group + len(way)} experts; {count} are needed. Use experts={number * group + len(way)}.'
                )
            thetas = torch.stack(way, 1)  # (epochs + 1, g, size)
            store.describe(_table(number), {"first": members.start, "count": len(members)})
            for epoch, theta in enumerate(thetas):
                _save(store, number, epoch, {"theta": theta, "loss": torch.full((len(members),), torch.nan)}, theta, Recipe())
    return Experts(store, count, epochs, group, data.device)


def _require_same(store: Store, data: RealImages, job: Mapping[str, Any]) -> None:
    if store.kind != KIND:
        raise InputError(f'"{store.path}" is a {store.kind} store; experts were expected. `curate distill` makes them.')
    found = store.dataset
    if found["fingerprint"] != data.fingerprint:
        raise OtherDatasetError(
            f'The experts in "{store.path}" were trained on other images ({found["rows"]} rows, {found["fingerprint"][:8]}…) than those '
            f"at hand ({len(data.images)} rows, {data.fingerprint[:8]}…). Pass the dataset, seed and transform that they came from, "
            "or leave out --run."
        )
    if store.job != dict(job):
        raise OtherJobError(
            f'The experts in "{store.path}" were trained otherwise ({differences(store.job, job)}). '
            "Give the same options, or leave out --run (or use another --out) to train new ones."
        )


def _train_group(
    store: Store,
    data: RealImages,
    network: Network,
    recipe: Recipe,
    number: int,
    members: range,
    epochs: int,
    rng: KeyedRandom,
    task: Task,
) -> None:
    store.describe(_table(number), {"first": members.start, "count": len(members)})
    done = _resumable(store, number, epochs, recipe)
    task.advance(max(done, 0))
    if done == epochs:
        return
    if done < 0:
        theta = torch.stack([network.initial(rng.child("expert", e).torch_seed()) for e in members])
        velocity = torch.zeros_like(theta)
        _save(store, number, 0, {"theta": theta, "loss": torch.full((len(members),), torch.nan)}, velocity, recipe)
        done = 0
    else:
        theta = _load(store, number, done)["theta"]
        velocity = _load(store, number, done, "velocity")["velocity"] if recipe.momentum and done else torch.zeros_like(theta)
    theta, velocity = theta.to(data.device), velocity.to(data.device)
    for epoch in range(done + 1, epochs + 1):
        if recipe.decay != 1 and epoch == epochs // 2 + 3:  # the official loop counts from 0 and changes after epoch half + 1
            velocity = torch.zeros_like(velocity)
        theta, velocity, loss = _epoch(data, network, recipe, theta, velocity, epoch, epochs, members, rng)
        _require_finite(theta, members, epoch)
        _save(store, number, epoch, {"theta": theta.cpu(), "loss": loss.cpu()}, velocity.cpu(), recipe)
        task.advance()


def _epoch(
    data: RealImages,
    network: Network,
    recipe: Recipe,
    theta: Tensor,
    velocity: Tensor,
    epoch: int,
    epochs: int,
    members: range,
    rng: KeyedRandom,
) -> tuple[Tensor, Tensor, Tensor]:
    """One pass of every member over all images, each in its own order; weights, velocity and mean loss after it."""
    n = len(data.images)
    length = min(recipe.epoch_rows or n, n)
    orders = torch.stack([torch.randperm(n, generator=_generator(rng, "order", e, epoch))[:length] for e in members])  # (g, length)
    draws, dsa = _generator(rng, "augment", members.start, epoch), DSA(recipe.augment)
    rate = recipe.rate * (recipe.decay if epoch > epochs // 2 + 2 else 1.0)
    strength = 0.5 + 0.5 * (epoch - 1) / recipe.clip_epochs if epoch <= recipe.clip_epochs else 1.0
    total = torch.zeros(len(members), device=data.device)
    for rows in torch.split(orders.to(data.device), min(recipe.batch, length), dim=1):
        clean, y = data.images[rows], data.labels[rows]  # (g, b, c, h, w)
        flat = clean.flatten(0, 1)
        x = dsa.draw(len(flat), draws, device=data.device)(flat).view(clean.shape)
        slope, loss = direction(network, recipe, theta, x, y, clean, strength)
        velocity = recipe.momentum * velocity + slope + recipe.weight_decay * theta
        theta = theta - rate * velocity
        total += loss * rows.shape[1]
    return theta, velocity, total / length


def direction(
    network: Network, recipe: Recipe, theta: Tensor, x: Tensor, y: Tensor, clean: Tensor, strength: float
) -> tuple[Tensor, Tensor]:
    """What each network goes down along, (g, size), and its cross-entropy, (g,)."""
    known = functional.one_hot(y, network.classes).to(x.dtype)  # (g, b, classes)

    def slope_at(place: Tensor) -> tuple[Tensor, Tensor]:
        slope, losses = network.slopes(place, x, known)
        if not recipe.penalty:
            return strength * slope, losses
        place = place.detach().requires_grad_()
        penalty = _input_gradient_penalty(network, place, clean).sum()
        return strength * slope + recipe.penalty * torch.autograd.grad(penalty, place)[0], losses

    slope, loss = slope_at(theta)
    if not recipe.rho:
        return slope, loss
    uphill = recipe.rho * theta.square() * slope / (_length(theta.abs() * slope) + 1e-12)
    return gsam_direction(slope, slope_at(theta + uphill)[0], recipe.surrogate), loss


def gsam_direction(plain: Tensor, perturbed: Tensor, surrogate: float) -> Tensor:
    """The perturbed gradient less `surrogate` times the part of the plain one at a right angle to it; (g, size) all."""
    unit = perturbed / (_length(perturbed) + 1e-12)
    across = plain - (plain * unit).sum(1, keepdim=True) * unit
    return perturbed - surrogate * across


def _input_gradient_penalty(network: Network, theta: Tensor, x: Tensor) -> Tensor:
    """AST: mean over images and places of (length over channels of the sum of logits' gradient - 1)^2, (g,)."""
    x = x.detach().requires_grad_()
    logits = network.apply_many(theta, x)  # (g, b, classes)
    slope = torch.autograd.grad(logits.sum(), x, create_graph=True)[0]  # (g, b, c, h, w)
    length = (slope.square().sum(2) + 1e-12).sqrt()  # a dead place has slope 0, where the root has no derivative
    return (length - 1).square().mean((1, 2, 3))


def _length(vectors: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return length


def _require_finite(theta: Tensor, members: range, epoch: int) -> None:
    bad = [members[i] for i in (~torch.isfinite(theta).all(1)).nonzero().flatten().tolist()]
    if bad:
        raise InputError(
            f"Expert {bad[0]} has weights that are not numbers after epoch {epoch} ({len(bad)} of {len(members)} have). "
            "Its rate is too high: lower expert_rate."
        )


def _save(store: Store, number: int, epoch: int, tensors: Mapping[str, Tensor], velocity: Tensor, recipe: Recipe) -> None:
    # The velocity comes first: where an epoch's file is, what the next epoch needs is as well.
    table = _table(number)
    if recipe.momentum and epoch:
        store.add_file(table, _file_name(epoch, "velocity"), lambda path: save_file({"velocity": velocity.contiguous()}, str(path)))
    store.add_file(table, _file_name(epoch), lambda path: save_file({k: v.contiguous() for k, v in tensors.items()}, str(path)))
    old = [e.file for e in store.files(table) if e.file.startswith("velocity") and e.file != _file_name(epoch, "velocity")]
    if old:
        store.forget(table, old)


def _load(store: Store, number: int, epoch: int, what: str = "epoch") -> dict[str, Tensor]:
    # Copies: a tensor in a file starts anywhere, and matrix products round by how their operands are aligned.
    return {name: value.clone() for name, value in load_file(str(store.path / _table(number) / _file_name(epoch, what))).items()}


def _done(store: Store, number: int, epochs: int) -> int:
    """The last epoch from 0 on up to which every file is there; -1 where not even the start is."""
    there = {entry.file for entry in store.files(_table(number))}
    return next((t - 1 for t in range(epochs + 1) if _file_name(t) not in there), epochs)


def _resumable(store: Store, number: int, epochs: int, recipe: Recipe) -> int:
    """The epoch from which training can go on: with momentum the velocity must be there as well, which only the last one keeps."""
    done = _done(store, number, epochs)
    if not recipe.momentum or done in (-1, 0, epochs):
        return done
    there = {entry.file for entry in store.files(_table(number))}
    return done if _file_name(done, "velocity") in there else 0


def _group_size(data: RealImages, recipe: Recipe, count: int) -> int:
    limit = NUMBERS_AT_ONCE.get(data.device.type, NUMBERS_ELSEWHERE)
    return max(1, min(count, limit // (min(recipe.batch, len(data.images)) * data.images[0].numel())))


def _generator(rng: KeyedRandom, *names: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(rng.child(*names).torch_seed())


def _table(number: int) -> str:
    return f"group-{number:03d}"


def _file_name(epoch: int, what: str = "epoch") -> str:
    return f"{what}-{epoch:05d}.safetensors"
