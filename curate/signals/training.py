"""Trains a proxy model over all rows, records every presentation, and can be killed at any instant."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from curate.errors import OptionError, did_you_mean
from curate.progress import Progress
from curate.rng import KeyedRandom
from curate.signals.inputs import Inputs
from curate.signals.runs import CHECKPOINTS, DYNAMICS, Run, epoch_columns, epoch_name
from curate.signals.sums import RowSums

STATE = "state"
LARGEST_RATE: Final = 1000  # far above what any network bears, and far below where float32 steps overflow


@dataclass(frozen=True)
class Recipe:
    """How a proxy is trained. `schedule` is constant by default: AUM's authors stop before the first drop of the rate."""

    epochs: int = 8
    batch_size: int = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    augment: Literal["auto", "none", "crop", "flip_crop"] = "auto"
    image_size: int | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoints: Literal["all", "last", "none"] = "all"

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(Recipe).items():
            choices, value = get_args(kind), getattr(self, name)
            if get_origin(kind) is Literal and value not in choices:
                raise OptionError(f'{name} must be one of {", ".join(choices)}; got "{value}".{did_you_mean(str(value), choices)}')
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if not 0 < self.lr <= LARGEST_RATE:
            raise OptionError(f"lr must be above 0 and at most {LARGEST_RATE}, got {self.lr}.")
        if not 0 <= self.momentum < 1:
            raise OptionError(f"momentum must be 0 or more and below 1, got {self.momentum}.")
        if not 0 <= self.weight_decay < np.inf:
            raise OptionError(f"weight_decay must be 0 or more, got {self.weight_decay}.")
        if self.image_size is not None and not 4 <= self.image_size <= 1024:
            raise OptionError(f"image_size must be 4 … 1024 pixels, got {self.image_size}.")


def default_recipe(modality: str, model: str, n: int) -> dict[str, Any]:
    """What differs from `Recipe`'s own defaults: text and tables train with AdamW, a pretrained transformer gently and shortly, a language
    model as Alpaca and QLoRA have it (3 epochs at 2e-5, adapters at 2e-4).

    Below 10,000 rows the batch is 64, below 2,000 it is 32, so that a small set still makes enough steps to be learned.
    """
    small = {"batch_size": 32 if n < 2_000 else 64} if n < 10_000 else {}
    if model.startswith("hf-causal"):
        rate = 2e-4 if model.startswith("hf-causal-lora") else 2e-5
        return {"optimizer": "adamw", "lr": rate, "weight_decay": 0.0, "batch_size": 16, "epochs": 3}
    if model.startswith("hf:"):
        return {"optimizer": "adamw", "lr": 3e-5, "weight_decay": 0.01, "batch_size": 32, "epochs": 6}
    return small if modality == "image" else {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.01, **small}


def train(
    run: Run,
    model: nn.Module,
    inputs: Inputs,
    labels: NDArray[np.int64],
    recipe: Recipe,
    *,
    classes: int,
    device: torch.device,
    progress: Progress,
) -> None:
    """Brings a run to its last epoch, from wherever it stands. On the CPU the bytes equal those of an undisturbed run.

    `classes` is the width of the model's output, which may have classes of which no row at hand is; 0 of a model whose output is a loss.

    Order, shifts and dropout are drawn anew each epoch from (seed, epoch), so a resumed process needs the weights, the optimiser's
    moments and the recorder's memory, and nothing else. Each epoch's files become part of the run in one manifest write.
    """
    y = torch.from_numpy(labels).to(device)
    usable = np.setdiff1d(np.flatnonzero(labels >= 0), np.fromiter(inputs.failed, np.int64, len(inputs.failed)))
    rows = torch.from_numpy(usable)
    sums = RowSums(len(labels), classes or None, device=device, with_kappa=True)
    optimizer = optimizer_of(model, recipe)
    _restore(run, model, optimizer, sums)
    remaining = recipe.epochs - run.epochs_done
    with progress.task(f"train (seed {run.seed})", remaining * len(rows), "rows") as task:
        for epoch in range(run.epochs_done + 1, recipe.epochs + 1):
            started, cpu = time.perf_counter(), time.process_time()
            rng = KeyedRandom(run.seed, "train", epoch).torch_seed()
            torch.manual_seed(rng)
            draw = torch.Generator().manual_seed(rng)
            model.train()
            order = rows[torch.randperm(len(rows), generator=draw)].to(device)
            for step, batch in enumerate(torch.split(order, recipe.batch_size)):
                if len(batch) == 1 and len(order) > 1:
                    # One row has no variance for batch norm: the epoch's first row comes, and counts, twice.
                    batch = torch.cat((batch, order[:1]))
                set_rate(optimizer, recipe, (epoch - 1 + step * recipe.batch_size / len(order)) / recipe.epochs)
                _step(model, optimizer, sums, inputs.batch(batch, draw), batch, y[batch], recipe)
                task.advance(len(batch))
            _check_finite(sums, run, epoch, recipe, len(rows))
            _save_epoch(run, model, optimizer, sums, recipe, epoch)
            run.store.log("epoch", run=run.store.path.name, epoch=epoch, wall=time.perf_counter() - started, cpu=time.process_time() - cpu)
    if run.store.files(STATE):
        run.store.forget(STATE, [entry.file for entry in run.store.files(STATE)])


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A model whose initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(KeyedRandom(seed, "weights").torch_seed())
        return build()


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    sums: RowSums,
    arguments: tuple[Tensor, ...],
    rows: Tensor,
    y: Tensor,
    recipe: Recipe,
) -> None:
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        output = model(*arguments)
    loss = output.mean() if sums.classes is None else nn.functional.cross_entropy(output.float(), y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if sums.classes is None:
        sums.add_loss(rows, output)
    else:
        sums.add_logits(rows, output, y)


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser that a recipe names, over all of a model's parameters."""
    if recipe.optimizer == "sgd":
        nesterov = recipe.momentum > 0
        return torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=nesterov)
    return torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, share: float) -> None:
    """Sets the rate for the share of the run that is done."""
    for group in optimizer.param_groups:
        group["lr"] = rate_at(recipe, share)


def rate_at(recipe: Recipe, share: float) -> float:
    """The learning rate where a share of the run is done, on which alone it depends; the one cycle rises over the first third."""
    factor: float = {
        "constant": 1.0,
        "cosine": 0.5 * (1 + np.cos(np.pi * share)),
        "onecycle": min(0.04 + 0.96 * share * 3, 1.5 * (1 - share) + 1e-3),
    }[recipe.schedule]
    return recipe.lr * factor


def _check_finite(sums: RowSums, run: Run, epoch: int, recipe: Recipe, n: int) -> None:
    if int(sums.skipped) > n // 2:
        raise OptionError(
            f"Training diverged: {int(sums.skipped):,} of {n:,} losses of epoch {epoch} are not finite "
            f"(lr {recipe.lr}, {recipe.optimizer}). "
            f"Use a lower rate, --lr {recipe.lr / 10:g}, and another --out."
        )


def _save_epoch(run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, sums: RowSums, recipe: Recipe, epoch: int) -> None:
    """Everything is on disk before the manifest names any of it; then the state of the epoch before is let go."""
    store = run.store
    columns = epoch_columns(sums.means() if sums.classes else sums.loss_means())
    sums.clear()
    before = [entry.file for entry in store.files(STATE)]
    if recipe.checkpoints == "all" or (recipe.checkpoints == "last" and epoch == recipe.epochs):
        store.add_file(CHECKPOINTS, epoch_name(epoch, "safetensors"), lambda path: _save(model.state_dict(), path))
    state = _flatten(model, optimizer) | {f"sums.{name}": value for name, value in sums.state_dict().items()}
    store.add_file(STATE, epoch_name(epoch, "safetensors"), lambda path: _save(state, path))
    run.write_epoch(DYNAMICS, epoch, columns)  # last: a run is as long as its dynamics
    store.forget(STATE, before)


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: value.detach().contiguous().cpu().clone() for name, value in tensors.items()}, str(path))


def _flatten(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in slots.items() if value is not None}
    return state


def _restore(run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, sums: RowSums) -> None:
    """Takes up the state of the last whole epoch; a newer one, saved just before a kill, is left to be overwritten."""
    if run.epochs_done == 0:
        return
    if run.is_finished:
        return
    saved = load_file(str(run.store.path / STATE / epoch_name(run.epochs_done, "safetensors")))
    device = next(model.parameters()).device
    model.load_state_dict({name.removeprefix("model."): value.to(device) for name, value in saved.items() if name.startswith("model.")})
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in saved.items():
        if name.startswith("optimizer."):
            _, index, slot = name.split(".", 2)
            slots.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    sums.load_state_dict({name.removeprefix("sums."): value for name, value in saved.items() if name.startswith("sums.")})
