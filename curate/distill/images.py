"""The real images that distillers are handed: read once, checked, and in the form that networks are trained on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from curate.data import Dataset
from curate.distill.zca import ZCA, Standard
from curate.errors import InputError, OptionError
from curate.progress import Progress, Silent
from curate.protocols import RealImages, Transform
from curate.rng import KeyedRandom
from curate.signals.inputs import ImageInputs

COLOURS = 3


@dataclass(frozen=True, eq=False)
class _Part:
    """Some rows of a `RealImages` (curate.protocols), or all."""

    images: Tensor
    labels: Tensor
    rows: NDArray[np.int64]
    classes: int
    transform: Transform
    device: torch.device
    folder: Path
    runs: Path | None
    fingerprint: str
    progress: Progress


@dataclass(frozen=True, eq=False)
class Images(_Part):
    """A `RealImages`, and the pixels that it was made from, (n, channels, height, width) uint8."""

    pixels: Tensor


def read_images(data: Dataset, device: torch.device, progress: Progress, image_size: int | None, like: ImageInputs | None) -> ImageInputs:
    """The pixels of all rows; InputError where they have several sizes and no --image-size is given, or some are grey and some not."""
    if data.modality != "image":
        raise InputError(
            f'Distillation makes images, and "{data.source}" is {data.modality} data (input: {", ".join(data.inputs)}). '
            "Name an image column with --input COLUMN, or choose rows with `curate select`."
        )
    inputs = ImageInputs(data, device, progress, image_size=image_size, augment="none", like=like)
    sizes = sorted({size for _, size in inputs.found})
    if len(sizes) > 1 and image_size is None:
        some = ", ".join(f"{width} x {height}" for width, height in sizes[:3])
        raise InputError(
            f'The images of "{data.source}" have {len(sizes)} sizes ({some}{", …" if len(sizes) > 3 else ""}); one is expected. '
            f"Resize them all with --image-size {min(sizes[0])}."
        )
    modes = {mode for mode, _ in inputs.found}
    colour = modes - {"L", "1", "I;16", "I", "LA"}
    if colour and colour != modes:
        raise InputError(
            f'Some images of "{data.source}" are grey and some are in colour ({", ".join(sorted(modes))}); one kind is expected. '
            "Convert them all to L or all to RGB."
        )
    if modes & {"RGBA", "LA"} and like is None:
        progress.note(f'The images of "{data.source}" have an alpha channel ({", ".join(sorted(modes))}), which is left out.')
    height, width = inputs.shape[1:]
    if len(sizes) == 1 and sizes[0] != (width, height) and like is None:
        progress.note(f"The images are {sizes[0][0]} x {sizes[0][1]} and are distilled at {width} x {height}; --image-size says otherwise.")
    return inputs


def require_classes(data: Dataset, rows: NDArray[np.int64], ipc: int) -> None:
    """InputError for a class with fewer usable rows than `ipc`, with none, or for fewer than two classes."""
    counts = np.bincount(data.labels[rows], minlength=len(data.label_names))
    if len(counts) < 2:
        raise InputError(f'"{data.source}" has {len(counts)} class; two or more are needed. Is "{data.label}" the label column?')
    poorest = int(counts.argmin())
    if counts[poorest] == 0:
        raise InputError(
            f'Class "{data.label_names[poorest]}" of "{data.source}" has no row to learn from. Add some, or take the class out of the '
            f'features of column "{data.label}".'
        )
    if counts[poorest] < ipc:
        raise OptionError(
            f'Class "{data.label_names[poorest]}" has {counts[poorest]} usable rows, but --ipc {ipc} asks for as many images of each '
            f"class. Use --ipc {counts[poorest]} or less."
        )


def whitened(whiten: bool | None, shape: tuple[int, ...]) -> bool:
    """Whether images of `shape` are to be whitened: as the method wants it, which leaves it to the colours where it does not mind."""
    return shape[0] == COLOURS if whiten is None else whiten


def make_images(
    inputs: ImageInputs,
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    classes: int,
    whiten: bool,
    folder: Path,
    runs: Path | None,
    progress: Progress,
) -> Images:
    """What a distiller is handed: the chosen rows, and the transform fitted on them."""
    pixels = inputs.pixels[torch.from_numpy(rows).to(inputs.pixels.device)]
    known = torch.from_numpy(labels[rows]).to(pixels.device)
    transform: Standard | ZCA = ZCA.fit(pixels) if whiten else Standard.fit(pixels)
    digest = xxhash.xxh3_128(pixels.cpu().numpy().tobytes())
    digest.update(labels[rows].tobytes())
    digest.update(f"{type(transform).__name__} {pixels.device.type}".encode())
    images = torch.cat([transform.apply(part) for part in torch.split(pixels, 8192)])
    return Images(images, known, rows, classes, transform, pixels.device, folder, runs, digest.hexdigest(), progress, pixels)


def held_back(data: RealImages, share: float, rng: KeyedRandom) -> tuple[RealImages, Tensor, Tensor]:
    """The data without a share of every class, rounded down, and the images and labels of that share."""
    order = torch.from_numpy(np.argsort(rng.uniform(data.rows), kind="stable")).to(data.device)
    per_class = [order[data.labels[order] == code] for code in range(data.classes)]
    out = torch.cat([rows[: int(share * len(rows))] for rows in per_class]).sort().values
    kept = torch.ones(len(order), dtype=torch.bool, device=data.device)
    kept[out] = False
    digest = xxhash.xxh3_128(f"{data.fingerprint} without {out.tolist()}".encode()).hexdigest()
    images, labels, rows = data.images[kept], data.labels[kept], data.rows[kept.cpu().numpy()]
    part = _Part(images, labels, rows, data.classes, data.transform, data.device, data.folder, data.runs, digest, data.progress)
    return part, data.images[out], data.labels[out]


def synthetic_images(folder: Path, whiten: bool | None) -> Images:
    """Three classes of twelve 8 x 8 grey images, each brighter than the class before, for the conformance kit and tests."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.repeat(np.arange(3), 12)
    noise = KeyedRandom(0, "testing", "images").uniform(np.arange(36 * 64)).reshape(36, 1, 8, 8)
    pixels = torch.from_numpy((60 * noise + 60 * labels[:, None, None, None]).astype(np.uint8))
    transform: Standard | ZCA = ZCA.fit(pixels) if whitened(whiten, (1, 8, 8)) else Standard.fit(pixels)
    known = torch.from_numpy(labels)
    return Images(transform.apply(pixels), known, np.arange(36), 3, transform, pixels.device, folder, None, "testing", Silent(), pixels)
