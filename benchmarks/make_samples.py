"""Remakes the bundled samples from their sources, byte for byte with the same pyarrow.

    python benchmarks/make_samples.py digits
    python benchmarks/make_samples.py fashion FOLDER_OF_IDX_FILES
    python benchmarks/make_samples.py snips FOLDER_OF_PARQUET_FILES

Digits: those of the installed scikit-learn. Fashion-MNIST: github.com/zalandoresearch/fashion-mnist, the four idx files. Snips:
github.com/sonos/nlu-benchmark, 2017-06-custom-intent-engines, as train.parquet and validation.parquet with columns text and intent.
"""

import gzip
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

from curate import png
from curate.rng import KeyedRandom

BUNDLED = Path(__file__).parents[1] / "curate" / "bundled"
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def digits() -> None:
    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    chosen = stratified(labels, np.bincount(labels) // 5, KeyedRandom(0, "sample", "digits"))
    is_test = np.isin(np.arange(len(labels)), chosen)
    pixels = (bunch.images.astype(np.int64) * 255 // 16).astype(np.uint8)  # 0 … 16 as 0 … 255
    for split, rows in (("train", ~is_test), ("test", is_test)):
        _write("digits", split, _images(pixels[rows], labels[rows], [str(digit) for digit in range(10)]))


def fashion(folder: Path) -> None:
    for split, prefix, per_class in (("train", "train", 500), ("test", "t10k", 100)):
        labels = _idx(folder / f"{prefix}-labels-idx1-ubyte.gz", 8).astype(np.int64)
        pixels = _idx(folder / f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        rows = stratified(labels, np.full(10, per_class), KeyedRandom(0, "sample", "fashion", split))
        _write("fashion", split, _images(pixels[rows], labels[rows], CLASSES))


def snips(folder: Path) -> None:
    for split, name, n in (("train", "train", 5000), ("test", "validation", 700)):
        table = pq.read_table(folder / f"{name}.parquet", columns=["text", "intent"])
        draws = KeyedRandom(0, "sample", "snips", split).uniform(np.arange(table.num_rows))
        rows = np.sort(np.argsort(draws, kind="stable")[:n])
        _write("snips", split, table.take(rows).replace_schema_metadata(None))


def stratified(labels: np.ndarray, per_class: np.ndarray, rng: KeyedRandom) -> np.ndarray:
    """Row numbers, ascending: `per_class[c]` of each class c, those with the smallest keyed draws."""
    order = np.lexsort((rng.uniform(np.arange(len(labels))), labels))
    first = np.searchsorted(labels[order], np.arange(len(per_class)))
    rank = np.arange(len(labels)) - first[labels[order]]
    rows: np.ndarray = np.sort(order[rank < per_class[labels[order]]])
    return rows


def _images(pixels: np.ndarray, labels: np.ndarray, names: list[str]) -> pa.Table:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    images = pa.array([{"bytes": png.encode(image), "path": None} for image in pixels], features.arrow_schema.field("image").type)
    return pa.table({"image": images, "label": labels}).cast(features.arrow_schema)


def _idx(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def _write(sample: str, split: str, table: pa.Table) -> None:
    target = BUNDLED / sample / f"{split}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    # The images are not compressed in themselves; side by side they compress better than each alone.
    pq.write_table(table, target, compression="zstd", compression_level=19, use_dictionary=["intent"] if sample == "snips" else False)
    print(f"{target}: {table.num_rows} rows, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    {"digits": digits, "fashion": fashion, "snips": snips}[sys.argv[1]](*map(Path, sys.argv[2:]))
