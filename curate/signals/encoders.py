"""Encoders: a vector a row. What depends on the whole dataset (principal axes, word weights) is fitted once and kept with the vectors."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from curate.data import Dataset
from curate.encoder_names import ENCODERS
from curate.errors import ColumnError, InputError, OptionError, did_you_mean
from curate.rng import KeyedRandom
from curate.signals.static import StaticTable

Fitted = dict[str, NDArray[Any]]

BROKEN_IMAGE, EMPTY_TEXT, NO_WORD, NOT_FINITE = "broken_image", "empty_text", "no_word", "not_finite"
DIMENSIONS: Final = 128  # numbers a vector, unless told
SIDE: Final = 28  # pixels of an image's side, at most, before the principal axes are taken
FEATURES: Final = 1 << 15  # buckets of hashed words
SAMPLE: Final = 20_000  # rows whose axes stand for those of all


class Encoder(Protocol):
    """`fit` sees the whole dataset once; `encode` gives rows first … stop-1, (rows, d) float32, and why some have none.

    `name` is what a manifest calls it, without a path; `dimensions` None where they are the model's own.
    """

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int | None: ...

    def fit(self, data: Dataset, seed: int) -> Fitted: ...

    def encode(
        self, data: Dataset, first: int, stop: int, fitted: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], dict[int, str]]: ...


def default_encoder(data: Dataset) -> str:
    """pixels for images, static for texts, column for vectors and tables."""
    return {"image": "pixels", "embedding": "column", "table": "column"}.get(data.modality, "static")


def find_encoder(spec: str, data: Dataset, dimensions: int | None, device: str) -> Encoder:
    """The encoder of a spec; UnknownName, ColumnError or OptionError where it does not fit the data."""
    name, _, argument = spec.partition(":")
    if name not in ENCODERS:
        raise OptionError(f'No encoder "{name}".{did_you_mean(name, ENCODERS)} There are: {", ".join(ENCODERS)}.')
    if dimensions is not None and dimensions < 1:
        raise OptionError(f"dimensions must be 1 or more, got {dimensions}.")
    _expect(data, READS[name], name)
    if name in NARROWED:
        if argument:
            raise OptionError(f'Encoder "{name}" takes nothing behind a colon; got "{argument}".')
        return NARROWED[name](dimensions or DIMENSIONS)
    if dimensions is not None:
        raise OptionError(f'Encoder "{name}" gives as many numbers as its vectors have. Leave out --dimensions.')
    if name == "column":
        return Column(argument or None)
    if not argument:
        raise OptionError(f'Encoder "{name}" needs a name behind a colon: {ENCODERS[name]}.')
    from curate.signals.networks import network

    return network(name, argument, data, device)


class Pixels:
    """The first principal components of the pixels at 28 x 28 or less, (rows, d) float32, centred, not whitened.

    Colours are kept where an image has them. The axes are those of up to 20,000 rows, drawn by key; signs are fixed so that the
    largest part of each axis is positive.
    """

    name = "pixels"

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def fit(self, data: Dataset, seed: int) -> Fitted:
        rows = _sample(len(data), seed)
        side, channels = _form(data, rows[:64])
        pixels, failed = self._read(data.select(rows), 0, len(rows), side, channels)
        known = np.setdiff1d(np.arange(len(rows)), list(failed))
        if not len(known):
            raise InputError(f'None of {len(rows):,} images of "{data.source}" can be read.')
        flat = pixels[known].astype(np.float64)
        mean = flat.mean(axis=0)
        values, axes = np.linalg.eigh(np.cov(flat - mean, rowvar=False, bias=True).reshape(flat.shape[1], -1))
        kept = axes[:, np.argsort(-values, kind="stable")[: min(self.dimensions, flat.shape[1])]]
        kept *= np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])])
        form = np.array([side, channels])
        return {"mean": mean.astype(np.float32), "axes": np.ascontiguousarray(kept, np.float32), "form": form}

    def encode(
        self, data: Dataset, first: int, stop: int, fitted: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], dict[int, str]]:
        side, channels = (int(value) for value in fitted["form"])
        pixels, failed = self._read(data, first, stop, side, channels)
        return np.asarray((pixels - fitted["mean"]) @ fitted["axes"], np.float32), failed

    def _read(self, data: Dataset, first: int, stop: int, side: int, channels: int) -> tuple[NDArray[np.float32], dict[int, str]]:
        from PIL import Image

        pixels = np.zeros((stop - first, side * side * channels), np.float32)
        failed: dict[int, str] = {}
        for start in range(first, stop, 1024):
            for row, image in enumerate(data.images(start, min(start + 1024, stop)), start):
                if image is None:
                    failed[row] = BROKEN_IMAGE
                    continue
                small = image.convert("L" if channels == 1 else "RGB")
                if small.size != (side, side):
                    small = small.resize((side, side), Image.Resampling.BILINEAR)
                pixels[row - first] = np.asarray(small, np.float32).reshape(-1) / 255
        return pixels, failed


class Static:
    """The mean of the text's word pieces' vectors, from a table that comes with the package, (rows, d) float32 of length 1."""

    name = "static"

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.table = StaticTable()

    def fit(self, data: Dataset, seed: int) -> Fitted:
        return {}

    def encode(
        self, data: Dataset, first: int, stop: int, fitted: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], dict[int, str]]:
        texts = joined_texts(data, first, stop)
        vectors = self.table(texts, self.dimensions)
        return vectors, _wordless(texts, first, np.isnan(vectors[:, 0]))


class TfIdf:
    """Words and pairs of words, hashed and weighted by rarity, on their first singular axes, (rows, d) float32 of length 1.

    32,768 buckets; ln((1+n)/(1+df)) + 1 as in scikit-learn, over 1 + ln(count). The axes are those of up to 20,000 rows, drawn by key.
    """

    name = "tfidf"

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def fit(self, data: Dataset, seed: int) -> Fitted:
        from sklearn.utils.extmath import randomized_svd

        found = np.zeros(FEATURES, np.int64)
        for start in range(0, len(data), 8192):
            found += np.bincount(self._counts(data, start, min(start + 8192, len(data))).indices, minlength=FEATURES)
        weight = (np.log((1 + len(data)) / (1 + found)) + 1).astype(np.float32)
        rows = _sample(len(data), seed)
        sample = self._weighted(self._counts(data.select(rows), 0, len(rows)), weight)
        d = min(self.dimensions, *sample.shape)
        _, _, axes = randomized_svd(sample, n_components=d, n_iter=4, random_state=seed)
        return {"weight": weight, "axes": np.ascontiguousarray(axes.T, np.float32)}

    def encode(
        self, data: Dataset, first: int, stop: int, fitted: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], dict[int, str]]:
        vectors = np.asarray(self._weighted(self._counts(data, first, stop), fitted["weight"]) @ fitted["axes"], np.float32)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        failed = _wordless(joined_texts(data, first, stop), first, length[:, 0] == 0)
        return np.asarray(vectors / np.where(length > 0, length, 1), np.float32), failed

    def _counts(self, data: Dataset, first: int, stop: int) -> Any:
        from sklearn.feature_extraction.text import HashingVectorizer

        words = HashingVectorizer(n_features=FEATURES, ngram_range=(1, 2), norm=None, alternate_sign=False, dtype=np.float32)
        return words.transform(joined_texts(data, first, stop))

    def _weighted(self, counts: Any, weight: NDArray[np.float32]) -> Any:
        counts = counts.copy()
        counts.data = (1 + np.log(counts.data)) * weight[counts.indices]
        return counts


class Column:
    """Vectors that are there already, or a table's numbers as they stand."""

    dimensions = None

    def __init__(self, column: str | None) -> None:
        self.column = column
        self.name = f"column:{column}" if column else "column"

    def fit(self, data: Dataset, seed: int) -> Fitted:
        return {}

    def encode(
        self, data: Dataset, first: int, stop: int, fitted: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], dict[int, str]]:
        if self.column is not None:
            from curate.loading import load

            data = load(data, input=self.column)
        if data.modality not in ("embedding", "table"):
            raise ColumnError(
                f'"{data.source}" is {data.modality} data, so it holds no vectors. Name a column of them: --encoder column:NAME.'
            )
        vectors = data.matrix(first, stop)
        odd = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        return vectors, dict.fromkeys((first + odd).tolist(), NOT_FINITE)


def joined_texts(data: Dataset, first: int, stop: int) -> list[str]:
    """A text a row: the two of a pair with a blank between, "" where there is none."""
    sides = [data.texts(first, stop, side) for side in range(2 if data.modality == "text_pair" else 1)]
    return [" ".join(text or "" for text in row) for row in zip(*sides, strict=True)]


def empty_texts(texts: Sequence[str], first: int) -> dict[int, str]:
    """The rows, from `first` on, whose text has nothing but blanks."""
    return {row: EMPTY_TEXT for row, text in enumerate(texts, first) if not text.strip()}


def _wordless(texts: Sequence[str], first: int, is_wordless: NDArray[np.bool_]) -> dict[int, str]:
    """Why these rows have no vector: "!!!" has no word, and so no place."""
    return dict.fromkeys((first + np.flatnonzero(is_wordless)).tolist(), NO_WORD) | empty_texts(texts, first)


def _sample(n: int, seed: int) -> NDArray[np.int64]:
    """Up to SAMPLE rows, ascending, drawn by key."""
    luck = KeyedRandom(seed, "encoder").uniform(np.arange(n))
    return np.sort(np.argsort(luck, kind="stable")[:SAMPLE])


def _form(data: Dataset, rows: NDArray[np.int64]) -> tuple[int, int]:
    """The side to bring images to, and their channels: 1 where all of some rows are grey, else 3."""
    images = [image for image in data.select(rows).images(0, len(rows)) if image is not None]
    if not images:
        return SIDE, 1
    grey = all(image.mode in ("1", "L", "I", "I;16", "F") for image in images)
    return min(SIDE, max(max(image.size) for image in images)), 1 if grey else 3


def _expect(data: Dataset, kinds: tuple[str, ...], name: str) -> None:
    if data.modality not in kinds:
        raise ColumnError(
            f'Encoder "{name}" reads {kinds[0]}s, but "{data.source}" is {data.modality} data. `curate list encoders` shows others.'
        )


def weights_of(file: Path) -> Fitted:
    """A fitted encoder's arrays."""
    from safetensors.numpy import load_file

    found: Fitted = load_file(str(file))
    return found


_TEXT: Final = ("text", "text_pair", "chat")
_ANY: Final = (*_TEXT, "image", "embedding", "table")
READS: Final[Mapping[str, tuple[str, ...]]] = {
    "static": _TEXT,
    "pixels": ("image",),
    "tfidf": _TEXT,
    "column": _ANY,
    "run": _ANY,
    "sentence": _TEXT,
    "hf": _TEXT,
    "timm": ("image",),
}
NARROWED: Final[Mapping[str, Callable[[int], Encoder]]] = {"static": Static, "pixels": Pixels, "tfidf": TfIdf}
