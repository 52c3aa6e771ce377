"""Squeeze, recover, relabel: what the decoupled distillers share. Nothing is differentiated through training, so it scales to any data."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from curate.disk import write_whole
from curate.distill.images import COLOURS
from curate.distill.recovery import Recipe, Voter, recover
from curate.distill.teachers import TEACHERS, Squeeze, logits_of, squeeze
from curate.errors import InputError, OptionError, UnknownNameError, did_you_mean
from curate.protocols import Distilled, RealImages, Training
from curate.rng import KeyedRandom
from curate.topk import nearest_ranks

OFFICIAL: Final = (4_000, 0.25)  # iterations and rate
FROM_NOISE: Final = (300, 0.25)  # on a CPU
GENTLE: Final = (60, 0.02)  # on a CPU from real images, which more turns into what deceives a teacher (benchmarks/distill_decoupled.py)
OFFICIAL_CROP: Final = 0.08
SMALLEST_CROPPED: Final = 32  # pixels a side; a twelfth of a smaller image shows nothing
VISITS: Final = 60_000  # rows that a teacher sees in training on a CPU, unless told
GROUP_IMAGES: Final = 256  # images recovered in one go


class AbstractDecoupled(ABC):
    """The options and stages of a decoupled distiller; a subclass says who votes on a group of images and how they are labelled.

    Teachers are kept as teachers/NAME.safetensors and finished groups as recovered/N.safetensors, so that a killed job loses the
    teacher or the groups in flight. Images are standardised: batch norm wants no whitening.
    """

    version: ClassVar[int] = 2
    name: ClassVar[str]
    whiten: ClassVar[bool] = False

    def __init__(
        self,
        teachers: Sequence[str],
        teacher_epochs: int | None,
        iterations: int | None,
        lr_img: float | None,
        r_bn: float,
        jitter: int | None,
        crop: float | None = 1.0,
        temperature: float = 1.0,
    ) -> None:
        for teacher in teachers:
            if teacher not in TEACHERS:
                raise UnknownNameError(
                    f'{self.name}: no teacher "{teacher}".{did_you_mean(teacher, TEACHERS)} There are: {", ".join(TEACHERS)}.'
                )
        if len(set(teachers)) != len(teachers):
            raise OptionError(f"{self.name}: a teacher is named twice ({'+'.join(teachers)}). Name each once.")
        for option, value in (
            ("teacher_epochs", teacher_epochs),
            ("iterations", iterations),
            ("lr_img", lr_img),
            ("temperature", temperature),
        ):
            if value is not None and not 0 < value < math.inf:
                raise OptionError(f"{self.name}: {option} must be above 0, got {value}.")
        for option, value in (("r_bn", r_bn), ("jitter", jitter)):
            if value is not None and not 0 <= value < math.inf:
                raise OptionError(f"{self.name}: {option} must be 0 or more, got {value}.")
        if crop is not None and not 0 < crop <= 1:
            raise OptionError(f"{self.name}: crop is a share of the image, above 0 and at most 1 (the whole), got {crop}.")
        self.teacher_epochs, self.iterations, self.lr_img = teacher_epochs, iterations, lr_img
        self.r_bn, self.jitter, self.crop, self.temperature = r_bn, jitter, crop, temperature

    @abstractmethod
    def _names(self) -> Sequence[str]:
        """The teachers that are needed."""

    def settle(self, data: RealImages, ipc: int, minutes: float | None) -> Self:
        """Epochs and iterations by the machine and the time at hand; teachers are trained first, and take what they take."""
        cpu, side = data.device.type == "cpu", min(data.images.shape[2:])
        iterations, rate = self._on_cpu() if cpu else OFFICIAL
        made = self._with(
            teacher_epochs=self.teacher_epochs or (min(60, max(4, VISITS // len(data.images))) if cpu else 200),
            iterations=self.iterations or iterations,
            jitter=side // 8 if self.jitter is None else self.jitter,
            lr_img=self.lr_img or rate,
            **({} if self.crop is not None else {"crop": OFFICIAL_CROP if side >= SMALLEST_CROPPED else 1.0}),
        )
        if minutes is None:
            return made
        training, an_iteration = made._seconds(data, ipc)
        left = 60 * minutes - training
        fitting = max(1, int(left / an_iteration))
        if training > 60 * minutes / 2 and self.teacher_epochs is None:
            fewer = max(1, int(made._epochs * 30 * minutes / training))
            data.progress.note(f"{self.name}: {fewer} of {made._epochs} epochs of the teachers fit into half of {minutes:g} minutes.")
            made.teacher_epochs, fitting = fewer, max(1, int(30 * minutes / an_iteration))
        if fitting < made._iterations:
            data.progress.note(f"{self.name}: {fitting:,} of {made._iterations:,} iterations fit into {minutes:g} minutes.")
            made.iterations = fitting
        return made

    def cost(self, data: RealImages, ipc: int) -> tuple[float, int]:
        training, an_iteration = self._seconds(data, ipc)
        values = data.images[0].numel() * 200  # what three stages of 16 to 64 channels keep of an image for the way back
        return training + self._iterations * an_iteration, 4 * values * min(GROUP_IMAGES, ipc * data.classes)

    def distill(self, data: RealImages, ipc: int, rng: KeyedRandom) -> Distilled:
        return self._made(data, ipc, self._squeeze(data, rng), rng)

    @abstractmethod
    def _made(self, data: RealImages, ipc: int, teachers: dict[str, nn.Module], rng: KeyedRandom) -> Distilled:
        """The set, of trained teachers by name."""

    def _training(self, data: RealImages) -> Training:
        return Training(lr=0.05, network="convnet", width=32 if data.device.type == "cpu" else 128)

    def _squeeze(self, data: RealImages, rng: KeyedRandom) -> dict[str, nn.Module]:
        names, recipe = self._names(), Squeeze(self._epochs)
        with data.progress.task("train teachers", len(names) * self._epochs, "epochs") as task:
            return {name: squeeze(name, data, recipe, rng.seed, task) for name in names}

    def _recipe(self, data: RealImages) -> Recipe:
        assert self.jitter is not None and self.lr_img is not None and self.crop is not None, "settled"
        mirror = self.crop < 1 and data.images.shape[1] == COLOURS  # digits and letters mean something else in a mirror
        return Recipe(self._iterations, self.lr_img, self.r_bn, self.jitter, self.crop, mirror)

    @property
    def _epochs(self) -> int:
        assert self.teacher_epochs is not None, "settled"
        return self.teacher_epochs

    @property
    def _iterations(self) -> int:
        assert self.iterations is not None, "settled"
        return self.iterations

    def _with(self, **changed: object) -> Self:
        from curate.plugins import options_of

        return type(self)(**(options_of(self) | changed))

    def _seconds(self, data: RealImages, ipc: int) -> tuple[float, float]:
        """Of training the teachers, and of one iteration of every group, from a step of each teacher."""
        rows = torch.arange(min(128, len(data.images)), device=data.device)
        a_row = 0.0
        for name in self._names():
            module = TEACHERS[name](tuple(data.images.shape[1:]), data.classes).to(data.device)
            for timed in (False, True):
                started = time.perf_counter()
                nn.functional.cross_entropy(module(data.images[rows]), data.labels[rows]).backward()  # type: ignore[no-untyped-call]
                a_row += (time.perf_counter() - started) / len(rows) if timed else 0.0
        return a_row * self._epochs * len(data.images), a_row * ipc * data.classes * self._voters_a_group() / len(self._names())

    def _voters_a_group(self) -> int:
        return 1

    def _on_cpu(self) -> tuple[int, float]:
        """How many iterations, and at which rate, unless told."""
        return GENTLE


class AbstractLabelled(AbstractDecoupled):
    """Those whose images are of their own class alone, and are labelled by the teachers at the end."""

    def _made(self, data: RealImages, ipc: int, teachers: dict[str, nn.Module], rng: KeyedRandom) -> Distilled:
        images = self._images(data, ipc, teachers, rng)  # one of every class after another
        labels = torch.arange(data.classes, device=data.device).repeat(len(images) // data.classes)
        soft = self._soft_labels(images, teachers)
        order = torch.argsort(labels, stable=True)
        return Distilled(
            images=data.transform.invert(images[order]).cpu().numpy(),
            labels=labels[order].cpu().numpy(),
            training=self._training(data),
            soft_labels=soft[order].cpu().numpy(),
        )

    @abstractmethod
    def _images(self, data: RealImages, ipc: int, teachers: dict[str, nn.Module], rng: KeyedRandom) -> Tensor:
        """The images, (groups x classes, c, h, w), one of every class after another."""

    @abstractmethod
    def _soft_labels(self, images: Tensor, teachers: dict[str, nn.Module]) -> Tensor:
        """Probabilities, (m, classes)."""


def recovered(
    name: str,
    data: RealImages,
    starts: Tensor,
    voters: Sequence[Sequence[Voter]],
    recipe: Recipe,
    rng: KeyedRandom,
    base: Tensor | None = None,
) -> Tensor:
    """Groups of one image a class, (groups, classes, c, h, w), each recovered with its own voters; finished ones are kept in the folder.

    Groups with the same voters go through them together. With `base` see `recover`; sums are then not held within the pixels' range.
    """
    labels = torch.arange(data.classes, device=data.device)
    range_ = data.images.amin((0, 2, 3))[:, None, None], data.images.amax((0, 2, 3))[:, None, None]
    limits = range_ if base is None else None
    images = torch.empty_like(starts)
    with data.progress.task("recover images", recipe.iterations * len(starts), "iterations") as task:
        for keys in _together(voters, max(1, GROUP_IMAGES // data.classes)):
            path = data.folder / "recovered" / f"{name}-{keys[0]:05d}.safetensors"
            if path.is_file():
                task.advance(recipe.iterations * len(keys))
            else:
                under = None if base is None else base[keys]
                made = recover(starts[keys], labels, voters[keys[0]], recipe, keys, rng, task, limits, under)
                require_finite(made, name, recipe)
                write_whole(path, partial(_save, made))
            images[keys] = load_file(str(path))["images"].to(data.device)
    return images


def require_finite(images: Tensor, name: str, recipe: Recipe) -> None:
    """InputError where a recovery ran away."""
    if not torch.isfinite(images).all():
        raise InputError(
            f"{name}: the images ran away in recovery. Use a smaller rate, such as lr_img={recipe.lr / 10:g}, and --overwrite."
        )


def real_starts(data: RealImages, groups: int, teachers: Sequence[nn.Module]) -> Tensor:
    """Real images of every class, (groups, classes, c, h, w), neither easy nor hard: those whose mean loss in the teachers is nearest to
    their class's median."""
    with torch.no_grad():
        losses = torch.stack([nn.functional.cross_entropy(logits_of(one, data.images), data.labels, reduction="none") for one in teachers])
    mean = losses.mean(0).cpu().numpy()
    labels = data.labels.cpu().numpy()
    chosen = np.empty((groups, data.classes), np.int64)
    for code in range(data.classes):
        members = np.flatnonzero(labels == code)
        chosen[:, code] = members[nearest_ranks(mean[members], 0.5, groups)]
    return data.images[torch.from_numpy(chosen).to(data.device)]


def noise_starts(data: RealImages, groups: int, rng: KeyedRandom) -> Tensor:
    """Standard normal noise, (groups, classes, c, h, w)."""
    draw = torch.Generator().manual_seed(rng.torch_seed())
    return torch.randn((groups, data.classes, *data.images.shape[1:]), generator=draw).to(data.device)


def _save(images: Tensor, path: Path) -> None:
    save_file({"images": images.cpu().contiguous()}, str(path))


def _together(voters: Sequence[Sequence[Voter]], most: int) -> list[list[int]]:
    """The groups with the same voters, at most so many at a time."""
    by_voters: dict[int, list[int]] = {}
    for key, one in enumerate(voters):
        by_voters.setdefault(id(one), []).append(key)
    return [keys[first : first + most] for keys in by_voters.values() for first in range(0, len(keys), most)]
