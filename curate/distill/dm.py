"""DM: images whose features, in any random network, have the mean of the real ones.

Zhao & Bilen 2023, "Dataset Condensation with Distribution Matching"; official code VICO-UoE/DatasetCondensation.
"""

import json
import time
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.disk import write_whole
from curate.distill.augment import DSA, strategy_for
from curate.distill.evaluation import training_on
from curate.distill.networks import NETWORKS, Network, build
from curate.errors import InputError, OptionError, did_you_mean
from curate.protocols import Distilled, RealImages
from curate.rng import KeyedRandom

STATE = "dm.safetensors"
SAVE_SECONDS = 20.0
SMALL_SIDE = 16


class DM:
    """Distribution matching: the cheap one, which trains no network and learns no labels.

    In every iteration a fresh random network embeds `batch` real rows of each class and the class's synthetic images, under one
    augmentation that both share, and the images move to bring the class means together:
    sum over classes of ||mean embed(real) - mean embed(synthetic)||^2, by SGD with momentum 0.5 and step `lr_img`. Images start as
    random real ones. All classes go through the network in one batch; the official code takes them one by one, which is the same.

    The paper's 20,000 iterations at width 128 and batch 256 are for a GPU; unless named, on a CPU they are 600, 32 (16 below 16
    pixels) and 64. `lr_img` is the official 1 (times ipc beyond 100), on standardised pixels. `augment` is a DSA strategy, "none" for
    none. Memory: classes x (batch + ipc) images in one network.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        *,
        iterations: int | None = None,
        lr_img: float | None = None,
        batch: int | None = None,
        network: str = "convnet",
        width: int | None = None,
        augment: str | None = None,
        zca: bool | None = None,
    ) -> None:
        for name, value in (("iterations", iterations), ("lr_img", lr_img), ("batch", batch), ("width", width)):
            if value is not None and not 0 < value < float("inf"):
                raise OptionError(f"dm: {name} must be above 0, got {value}.")
        if network not in ("convnet", "mlp"):
            raise OptionError(f'dm: network must be convnet or mlp, got "{network}".{did_you_mean(network, NETWORKS)}')
        DSA(strategy_for(augment, 1))
        self.iterations, self.lr_img, self.batch = iterations, lr_img, batch
        self.network, self.width, self.augment, self.zca = network, width, augment, zca

    @property
    def whiten(self) -> bool | None:
        return self.zca

    def settle(self, data: RealImages, ipc: int, minutes: float | None) -> Self:
        small = min(data.images.shape[2:]) < SMALL_SIDE
        cpu = data.device.type == "cpu"
        settled = type(self)(
            iterations=self.iterations or (600 if cpu else 20_000),
            lr_img=self.lr_img or (1.0 if ipc < 100 else ipc / 10),
            batch=self.batch or (64 if cpu else 256),
            network=self.network,
            width=self.width or ((16 if small else 32) if cpu else 128),
            augment=strategy_for(self.augment, data.images.shape[1]) or "none",
            zca=self.zca,
        )
        if minutes is None:
            return settled
        seconds = settled._seconds_an_iteration(data, ipc)
        fitting = max(1, int(60 * minutes / seconds))
        asked = settled._iterations
        if fitting < asked:
            data.progress.note(f"dm: {fitting:,} of {asked:,} iterations fit into {minutes:g} minutes.")
        settled.iterations = min(fitting, asked)
        return settled

    def cost(self, data: RealImages, ipc: int) -> tuple[float, int]:
        seconds = self._iterations * self._seconds_an_iteration(data, ipc)
        values = data.images[0].numel() * (self.width or 1) * 8  # what a network keeps of an image for the way back, in its first blocks
        return seconds, 4 * values * data.classes * (ipc + (self.batch or 1))

    def distill(self, data: RealImages, ipc: int, rng: KeyedRandom) -> Distilled:
        matcher = _Matcher(self, data, ipc, rng)
        state = _State.load(data.folder / STATE) or matcher.start()
        saved = time.monotonic()
        with data.progress.task("match distributions", self._iterations, "iterations") as task:
            task.advance(state.done)
            while state.done < self._iterations:
                loss = matcher.step(state)
                if not np.isfinite(loss):
                    raise InputError(
                        f"dm: the matching loss is {loss} after {state.done} iterations: the images ran away. "
                        f"Use a smaller step, such as lr_img={(self.lr_img or 1) / 10:g}, and --overwrite."
                    )
                task.advance()
                if time.monotonic() - saved > SAVE_SECONDS:
                    state.save(data.folder / STATE)
                    saved = time.monotonic()
        state.save(data.folder / STATE)
        pixels = data.transform.invert(state.images)
        return Distilled(
            images=pixels.cpu().numpy(),
            labels=np.repeat(np.arange(data.classes), ipc),
            training=training_on(data.device.type, self.network, self.width or 128),
            history={"loss": state.losses},
        )

    @property
    def _iterations(self) -> int:
        assert self.iterations is not None, "settled"
        return self.iterations

    def _seconds_an_iteration(self, data: RealImages, ipc: int) -> float:
        matcher = _Matcher(self, data, ipc, KeyedRandom(0, "time"))
        state = matcher.start()
        matcher.step(state)
        started = time.perf_counter()
        for _ in range(2):
            matcher.step(state)
        return (time.perf_counter() - started) / 2


class _State:
    """Where the matching stands: images, their momentum, iterations done, losses."""

    def __init__(self, images: Tensor, momentum: Tensor, losses: list[float]) -> None:
        self.images, self.momentum, self.losses = images, momentum, losses

    @property
    def done(self) -> int:
        return len(self.losses)

    @classmethod
    def load(cls, path: Path) -> "_State | None":
        from safetensors import safe_open

        if not path.is_file():
            return None
        with safe_open(str(path), "pt") as file:
            losses = json.loads(file.metadata()["losses"])
            return cls(file.get_tensor("images"), file.get_tensor("momentum"), losses)

    def save(self, path: Path) -> None:
        from safetensors.torch import save_file

        tensors = {"images": self.images.cpu(), "momentum": self.momentum.cpu()}
        write_whole(path, lambda place: save_file(tensors, str(place), {"losses": json.dumps(self.losses)}))


class _Matcher:
    """One iteration, whose draws depend on its number alone, so that a resumed job draws what an undisturbed one would."""

    def __init__(self, method: DM, data: RealImages, ipc: int, rng: KeyedRandom) -> None:
        self.data, self.ipc, self.rng = data, ipc, rng
        self.lr, self.batch = method.lr_img or 1.0, method.batch or 256
        shape = tuple(data.images.shape[1:])
        self.network = Network(lambda: build(method.network, shape, data.classes, method.width))
        self.augmentation = DSA(strategy_for(method.augment, shape[0]))
        labels = data.labels.cpu().numpy()
        self.members = [np.flatnonzero(labels == code) for code in range(data.classes)]

    def start(self) -> _State:
        images = self.data.images[self._drawn(self.ipc, self.rng.child("start"))].clone()
        return _State(images, torch.zeros_like(images), [])

    def step(self, state: _State) -> float:
        rng = self.rng.child("iteration", state.done)
        images = state.images.to(self.data.device).requires_grad_()
        loss = self._loss(images, rng)
        (slope,) = torch.autograd.grad(loss, images)
        state.momentum = 0.5 * state.momentum.to(slope.device) + slope
        state.images = images.detach() - self.lr * state.momentum
        state.losses.append(float(loss.detach()) / self.data.classes)
        return state.losses[-1]

    def _loss(self, images: Tensor, rng: KeyedRandom) -> Tensor:
        theta = self.network.initial(rng.torch_seed() >> 1).to(images.device)
        draw = self.augmentation.draw(1, torch.Generator().manual_seed(rng.torch_seed()), siamese=True, device=images.device)
        real = self.data.images[self._drawn(self.batch, rng.child("rows"))]
        with torch.no_grad():
            wanted = self.network.embed(theta, draw(real)).view(self.data.classes, self.batch, -1).mean(1)
        found = self.network.embed(theta, draw(images)).view(self.data.classes, self.ipc, -1).mean(1)  # (classes, features)
        return (wanted - found).square().sum()

    def _drawn(self, count: int, rng: KeyedRandom) -> Tensor:
        """`count` different rows of every class, class by class; all of it, over again, where a class has fewer."""
        picked: list[NDArray[np.int64]] = []
        for members in self.members:
            order = members[np.argsort(rng.uniform(members), kind="stable")]
            picked.append(np.resize(order, count))
        return torch.from_numpy(np.concatenate(picked)).to(self.data.device)
