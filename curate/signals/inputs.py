"""Turns a dataset into tensors that live where training happens, and batches of them by row number."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.data import Dataset
from curate.errors import InputError
from curate.progress import Progress

if TYPE_CHECKING:
    from PIL import Image

LARGEST_DEFAULT_SIDE: Final = 64
TEXT_BUCKETS: Final = 1 << 16
CROP: Final = 0.08  # of a side: 2 pixels at 28, 3 at 32

NO_LABEL, BROKEN_IMAGE, EMPTY_TEXT, NOT_FINITE = "no_label", "broken_image", "empty_text", "not_finite"


class Inputs(Protocol):
    """A dataset's inputs on the device. `shape` is what a model builder is told: (channels, height, width), (width,) or (buckets,)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def failed(self) -> Mapping[int, str]: ...

    def batch(self, rows: Tensor, augment: torch.Generator | None = None) -> tuple[Tensor, ...]:
        """The model's arguments for these rows; with a generator, the augmented view."""
        ...


def prepare(
    data: Dataset,
    device: torch.device,
    progress: Progress,
    *,
    image_size: int | None = None,
    augment: str = "auto",
    like: Inputs | None = None,
) -> Inputs:
    """The inputs of a dataset by its modality. A row that cannot be read is in `failed` with the reason, and never in a batch.

    `like` are the training set's inputs where these are for testing: size, colours, mean and deviation are then theirs.
    """
    if data.modality == "image":
        known_images = like if isinstance(like, ImageInputs) else None
        return ImageInputs(data, device, progress, image_size=image_size, augment=augment, like=known_images)
    if data.modality in ("text", "text_pair", "chat"):
        return TextInputs(data, device, progress)
    return MatrixInputs(data, device, like=like if isinstance(like, MatrixInputs) else None)


def channels_last(parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A batch whose images have a pixel's channels side by side in memory; shape and numbers stay.

    On a CPU a clean pass through convolutions is then about twice as fast, equal to rounding. Anything but images is let be.
    """
    return tuple(_side_by_side(part) if part.ndim == 4 and part.device.type == "cpu" else part for part in parts)


def _side_by_side(images: Tensor) -> Tensor:
    """Flattened between, so that the strides are said anew: of one channel's, `contiguous` would keep those that mislead torch."""
    b, c, h, w = images.shape
    return images.permute(0, 2, 3, 1).reshape(-1).view(b, h, w, c).permute(0, 3, 1, 2)


class ImageInputs:
    """Images of one size, `pixels` (n, channels, height, width) uint8 on the device; batches are standardised float32."""

    def __init__(
        self,
        data: Dataset,
        device: torch.device,
        progress: Progress,
        *,
        image_size: int | None,
        augment: str,
        like: "ImageInputs | None" = None,
    ) -> None:
        self.failed: dict[int, str] = {}
        self.found: set[tuple[str, tuple[int, int]]] = set()  # mode and size (width, height) of the images as they were
        pixels = self._read(data, progress, image_size, like)
        self.shape = tuple(pixels.shape[1:])
        self.pixels = torch.from_numpy(pixels).to(device)
        self._mean: Tensor
        self._deviation: Tensor
        if like is not None:
            self._mean, self._deviation = like._mean, like._deviation
        else:
            usable = np.setdiff1d(np.arange(len(data)), list(self.failed))[: 1 << 14]
            view = pixels[usable].astype(np.float64)
            self._mean = torch.tensor(view.mean(axis=(0, 2, 3)), dtype=torch.float32, device=device).view(1, -1, 1, 1)
            deviation = np.maximum(view.std(axis=(0, 2, 3)), 1e-3)
            self._deviation = torch.tensor(deviation, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        # Left and right are the same in photographs, not in digits or letters.
        self._flips = augment == "flip_crop" or (augment == "auto" and self.shape[0] == 3)
        self._pad = 0 if augment == "none" else max(1, round(CROP * min(self.shape[1:])))

    def batch(self, rows: Tensor, augment: torch.Generator | None = None) -> tuple[Tensor, ...]:
        images = (self.pixels[rows].float() - self._mean) / self._deviation  # (b, c, h, w)
        if augment is None or not self._pad:
            return (images,)
        return (self._moved(images, augment),)

    def _moved(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """A random shift with reflected borders, and a mirror image for half of the photographs, all by one gather."""
        b, _, h, w = images.shape
        padded = torch.nn.functional.pad(images, (self._pad,) * 4, mode="reflect")
        offsets = torch.randint(0, 2 * self._pad + 1, (2, b, 1), generator=rng).to(images.device)
        y = torch.arange(h, device=images.device) + offsets[0]  # (b, h)
        x = torch.arange(w, device=images.device) + offsets[1]  # (b, w)
        if self._flips:
            mirrored = torch.rand(b, 1, generator=rng).to(images.device) < 0.5
            x = torch.where(mirrored, x.flip(1), x)
        each = torch.arange(b, device=images.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[each, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)

    def _read(self, data: Dataset, progress: Progress, size: int | None, like: "ImageInputs | None") -> NDArray[np.uint8]:
        first = next(
            (image for start in range(0, len(data), 256) for image in data.images(start, min(start + 256, len(data))) if image), None
        )
        if first is None:
            raise InputError(f'No image of "{data.source}" could be decoded ({len(data)} rows). Is "{data.inputs[0]}" the image column?')
        mode = "L" if first.mode in ("L", "1", "I;16", "I", "LA") else "RGB"
        width, height = (size, size) if size else _default_size(first.size)
        if like is not None:
            mode, (height, width) = ("L" if like.shape[0] == 1 else "RGB"), like.shape[1:]
        pixels = np.zeros((len(data), 1 if mode == "L" else 3, height, width), np.uint8)
        with progress.task("decode images", len(data)) as task, ThreadPoolExecutor() as pool:
            spans = [(start, min(start + 512, len(data))) for start in range(0, len(data), 512)]
            decoded = pool.map(lambda span: _arrays(data, span, mode, (width, height), self.found), spans)
            for (start, stop), arrays in zip(spans, decoded, strict=True):
                for row, array in enumerate(arrays, start):
                    if array is None:
                        self.failed[row] = BROKEN_IMAGE
                    else:
                        pixels[row] = array
                task.advance(stop - start)
        return pixels


class TextInputs:
    """Each text as the set of its hashed word 1-grams and 2-grams; a batch is (ids, offsets) for an embedding bag.

    Of a pair, each side has its own buckets, so that the model tells premise from hypothesis.
    """

    def __init__(self, data: Dataset, device: torch.device, progress: Progress) -> None:
        self.shape = (TEXT_BUCKETS,)
        self.failed: dict[int, str] = {}
        ids, lengths = [], []
        with progress.task("hash texts", len(data)) as task:
            for start in range(0, len(data), 8192):
                stop = min(start + 8192, len(data))
                chunk_ids, chunk_lengths = self._hash(data, start, stop)
                ids.append(chunk_ids)
                lengths.append(chunk_lengths)
                task.advance(stop - start)
        self._ids = torch.from_numpy(np.concatenate(ids)).to(device)
        self._lengths = torch.from_numpy(np.concatenate(lengths)).to(device)
        self._starts = self._lengths.cumsum(0) - self._lengths

    def batch(self, rows: Tensor, augment: torch.Generator | None = None) -> tuple[Tensor, ...]:
        lengths = self._lengths[rows]
        offsets = lengths.cumsum(0) - lengths  # (b,) where each text begins in the batch
        within = torch.arange(int(lengths.sum()), device=rows.device) - offsets.repeat_interleave(lengths)
        return self._ids[self._starts[rows].repeat_interleave(lengths) + within], offsets

    def _hash(self, data: Dataset, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        from scipy.sparse import hstack
        from sklearn.feature_extraction.text import HashingVectorizer

        sides = len(data.inputs) if data.modality == "text_pair" else 1
        vectorizer = HashingVectorizer(
            n_features=TEXT_BUCKETS // sides,
            ngram_range=(1, 2),
            alternate_sign=False,
            norm=None,
            binary=True,
            token_pattern=r"(?u)\b\w+\b|[^\w\s]",
        )
        texts = [data.texts(start, stop, side) for side in range(sides)]
        matrix = hstack([vectorizer.transform(text or "" for text in side) for side in texts], format="csr")
        for row, cells in enumerate(zip(*texts, strict=True), start):
            if any(not (cell or "").strip() for cell in cells):
                self.failed[row] = EMPTY_TEXT
        return matrix.indices.astype(np.int64), np.diff(matrix.indptr).astype(np.int64)


class MatrixInputs:
    """Table columns or embeddings, standardised, (n, width) float32 on the device."""

    def __init__(self, data: Dataset, device: torch.device, *, like: "MatrixInputs | None" = None) -> None:
        values = data.matrix(0, len(data))
        finite = np.isfinite(values).all(axis=1)
        self.failed: dict[int, str] = dict.fromkeys(np.flatnonzero(~finite).tolist(), NOT_FINITE)
        if not finite.any():
            raise InputError(
                f'Every row of "{data.source}" holds a missing or infinite number. Fill them in, or name other columns with --input.'
            )
        self._mean: NDArray[np.float64] = values[finite].mean(axis=0, dtype=np.float64) if like is None else like._mean
        deviation = values[finite].std(axis=0, dtype=np.float64)
        self._scale: NDArray[np.float64] = np.where(deviation > 1e-8, deviation, 1.0) if like is None else like._scale
        scaled = (values - self._mean) / self._scale
        self.shape = (values.shape[1],)
        self._values = torch.from_numpy(np.nan_to_num(scaled, posinf=0, neginf=0).astype(np.float32)).to(device)

    def batch(self, rows: Tensor, augment: torch.Generator | None = None) -> tuple[Tensor, ...]:
        return (self._values[rows],)


def _default_size(size: tuple[int, int]) -> tuple[int, int]:
    """The first image's own size, shrunk to a longer side of 64: the default networks are for small images."""
    scale = min(1.0, LARGEST_DEFAULT_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _arrays(
    data: Dataset, span: tuple[int, int], mode: str, size: tuple[int, int], found: set[tuple[str, tuple[int, int]]]
) -> list[NDArray[Any] | None]:
    images = data.images(*span)
    found.update((image.mode, image.size) for image in images if image is not None)
    return [None if image is None else _array(image, mode, size) for image in images]


def _array(image: "Image.Image", mode: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    converted = image.convert(mode)
    fitted = converted if converted.size == size else converted.resize(size)
    array: NDArray[np.uint8] = np.asarray(fitted, np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
