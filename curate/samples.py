"""The data sets that come with the package, for demonstrations and tests without a network: `sample:digits` and its like."""

from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import png
from curate.errors import UnknownNameError, did_you_mean
from curate.rng import KeyedRandom
from curate.sample_names import NAMES

if TYPE_CHECKING:
    import datasets


def load_sample(name: str) -> "dict[str, datasets.Dataset]":
    """The splits "train" and "test" of a bundled sample; UnknownNameError with a did-you-mean for any other name."""
    if name not in NAMES:
        raise UnknownNameError(
            f'No sample named "{name}".{did_you_mean(name, NAMES)} There are: {", ".join(f"sample:{known}" for known in NAMES)}.'
        )
    return _digits() if name == "digits" else {split: _bundled(name, split) for split in ("train", "test")}


def stratified(labels: NDArray[np.int64], per_class: NDArray[np.int64], rng: KeyedRandom) -> NDArray[np.int64]:
    """Row numbers, ascending: `per_class[c]` of each class c, those with the smallest keyed draws."""
    order = np.lexsort((rng.uniform(np.arange(len(labels))), labels))
    first = np.searchsorted(labels[order], np.arange(len(per_class)))
    rank = np.arange(len(labels)) - first[labels[order]]
    rows: NDArray[np.int64] = np.sort(order[rank < per_class[labels[order]]])
    return rows


def _digits() -> "dict[str, datasets.Dataset]":
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    chosen = stratified(labels, np.bincount(labels) // 5, KeyedRandom(0, "sample", "digits"))
    is_test = np.isin(np.arange(len(labels)), chosen)
    pixels = (bunch.images.astype(np.int64) * 255 // 16).astype(np.uint8)  # 0 … 16 as 0 … 255
    return {split: _image_set(pixels[rows], labels[rows]) for split, rows in (("train", ~is_test), ("test", is_test))}


def _image_set(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> "datasets.Dataset":
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=[str(digit) for digit in range(10)])})
    images = pa.array([{"bytes": png.encode(image), "path": None} for image in pixels], features.arrow_schema.field("image").type)
    return datasets.Dataset(pa.table({"image": images, "label": labels}).cast(features.arrow_schema))


def _bundled(name: str, split: str) -> "datasets.Dataset":
    import datasets
    import pyarrow.parquet as pq

    content = resources.files("curate").joinpath("bundled", name, f"{split}.parquet").read_bytes()
    return datasets.Dataset(pq.read_table(pa.BufferReader(content)))
