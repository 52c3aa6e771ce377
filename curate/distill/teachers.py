"""Squeeze: the networks with batch norm whose knowledge the decoupled distillers put back into images, trained once and kept."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from curate.disk import write_whole
from curate.errors import InputError
from curate.progress import Task
from curate.protocols import RealImages
from curate.rng import KeyedRandom
from curate.signals.models import ConvNet, Residual, ResNet18
from curate.signals.training import seeded

ROWS: Final = 512  # images looked at in one go
LABEL_BATCH: Final = 8  # images whose statistics a teacher labels by: half of the official student's batch in CV-DD


class ResNet(nn.Sequential):
    """Three stages of one residual block each, 16-32-64 channels by default: ResNet-18's family at a size for two cores."""

    def __init__(self, shape: Sequence[int], classes: int, width: int = 16) -> None:
        stem = [nn.Conv2d(shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        widths = (width, width, 2 * width, 4 * width)
        stages = [Residual(before, after, 2 if after > before else 1) for before, after in pairwise(widths)]
        super().__init__(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes))


class VGG(nn.Sequential):
    """Pairs of 3x3 convolutions with batch norm, halved between (Simonyan & Zisserman 2015), 16-32-64 channels by default."""

    def __init__(self, shape: Sequence[int], classes: int, width: int = 16) -> None:
        blocks: list[nn.Module] = []
        before, side = shape[0], min(shape[1:])
        for after in (width, 2 * width, 4 * width):
            for channels in (before, after):
                blocks += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            before = after
            if side > 3:
                blocks.append(nn.MaxPool2d(2))
                side //= 2
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


class MobileNet(nn.Sequential):
    """Inverted bottlenecks with depthwise convolutions (Sandler et al. 2018), 16-32-64 channels by default."""

    def __init__(self, shape: Sequence[int], classes: int, width: int = 16) -> None:
        stem = [nn.Conv2d(shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU6()]
        widths = (width, width, 2 * width, 4 * width)
        stages = [_Bottleneck(before, after, 2 if after > before else 1) for before, after in pairwise(widths)]
        super().__init__(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes))


class _Bottleneck(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        inner = 4 * before
        self.same = before == after and stride == 1
        self.body = nn.Sequential(
            nn.Conv2d(before, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.body(x)
        return x + made if self.same else made


TEACHERS: Final[Mapping[str, Callable[[Sequence[int], int], nn.Module]]] = {
    "resnet": ResNet,
    "mobilenet": MobileNet,
    "vgg": VGG,
    "convnet": ConvNet,
    "resnet18": ResNet18,
}


@dataclass(frozen=True)
class Squeeze:
    """How a teacher is trained: Adam, rate 1e-3, weight decay 1e-4, falling to 0 by a cosine (CV-DD's recipe)."""

    epochs: int
    batch: int = 128
    lr: float = 1e-3
    weight_decay: float = 1e-4


def squeeze(name: str, data: RealImages, recipe: Squeeze, seed: int, task: Task) -> nn.Module:
    """A trained teacher in evaluation mode, without gradients of its own; read back where it was trained before (here or in `runs`)."""
    module = seeded(lambda: TEACHERS[name](tuple(data.images.shape[1:]), data.classes), seed).to(data.device)
    about = json.dumps({"teacher": name, "data": data.fingerprint, "seed": seed, **asdict(recipe)}, sort_keys=True)
    place = Path("teachers") / f"{name}.safetensors"
    found = next((weights for folder in (data.folder, data.runs) if folder and (weights := _stored(folder / place, about))), None)
    if found is None:
        _train(module, data, recipe, seed, task)
        state = {key: value.cpu().contiguous() for key, value in module.state_dict().items()}
        write_whole(data.folder / place, lambda path: save_file(state, str(path), {"about": about}))
    else:
        module.load_state_dict(found)
        task.advance(recipe.epochs)
    return module.eval().requires_grad_(False)


def logits_of(module: nn.Module, images: Tensor) -> Tensor:
    """(n, classes), in evaluation mode."""
    with torch.no_grad():
        return torch.cat([module(part) for part in torch.split(images, ROWS)])


def batch_logits(module: nn.Module, images: Tensor) -> Tensor:
    """Logits by the statistics of the images themselves, some eight at a time, (n, classes); the teacher is left as it was."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    kept = [(norm.running_mean, norm.running_var) for norm in norms]
    try:
        for norm in norms:
            norm.running_mean = norm.running_var = None  # statistics of the batch alone, and none to be moved
        with torch.no_grad():
            return torch.cat([module(part) for part in torch.tensor_split(images, max(1, len(images) // LABEL_BATCH))])
    finally:
        for norm, (mean, var) in zip(norms, kept, strict=True):
            norm.running_mean, norm.running_var = mean, var


def accuracy(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images that a network in evaluation mode gets right."""
    return float((logits_of(module, images).argmax(1) == labels).double().mean())


def _stored(path: Path, about: str) -> dict[str, Tensor] | None:
    if not path.is_file():
        return None
    with safe_open(str(path), "pt") as file:
        if file.metadata().get("about") != about:
            return None
        return {key: file.get_tensor(key) for key in file.keys()}


def _train(module: nn.Module, data: RealImages, recipe: Squeeze, seed: int, task: Task) -> None:
    rng = torch.Generator().manual_seed(KeyedRandom(seed, "squeeze").torch_seed())
    optimizer = torch.optim.Adam(module.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    module.train()
    for _ in range(recipe.epochs):
        order = torch.randperm(len(data.images), generator=rng).to(data.device)
        for rows in torch.split(order, recipe.batch):
            if len(rows) == 1:  # batch norm has no statistics of one value
                continue
            loss = nn.functional.cross_entropy(module(data.images[rows]), data.labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if not torch.isfinite(loss):
            raise InputError(f"A teacher's training loss is {float(loss)}: it ran away. Are there images without any contrast?")
        schedule.step()
        task.advance()
