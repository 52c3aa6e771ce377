"""Remakes the bundled samples from their sources, byte for byte with the same pyarrow.

    python benchmarks/make_samples.py fashion FOLDER_OF_IDX_FILES
    python benchmarks/make_samples.py snips FOLDER_OF_PARQUET_FILES

Fashion-MNIST: github.com/zalandoresearch/fashion-mnist, the four idx files. Snips: github.com/sonos/nlu-benchmark,
2017-06-custom-intent-engines, as train.parquet and validation.parquet with columns text and intent.
"""

import gzip
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import png
from curate.rng import KeyedRandom
from curate.samples import stratified

BUNDLED = Path(__file__).parents[1] / "curate" / "bundled"
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def fashion(folder: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    for split, prefix, per_class in (("train", "train", 500), ("test", "t10k", 100)):
        labels = _idx(folder / f"{prefix}-labels-idx1-ubyte.gz", 8).astype(np.int64)
        pixels = _idx(folder / f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        rows = stratified(labels, np.full(10, per_class), KeyedRandom(0, "sample", "fashion", split))
        images = pa.array([{"bytes": png.encode(image), "path": None} for image in pixels[rows]], features.arrow_schema.field("image").type)
        _write("fashion", split, pa.table({"image": images, "label": labels[rows]}).cast(features.arrow_schema))


def snips(folder: Path) -> None:
    for split, name, n in (("train", "train", 5000), ("test", "validation", 700)):
        table = pq.read_table(folder / f"{name}.parquet", columns=["text", "intent"])
        draws = KeyedRandom(0, "sample", "snips", split).uniform(np.arange(table.num_rows))
        rows = np.sort(np.argsort(draws, kind="stable")[:n])
        _write("snips", split, table.take(rows).replace_schema_metadata(None))


def _idx(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def _write(sample: str, split: str, table: pa.Table) -> None:
    target = BUNDLED / sample / f"{split}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    # The images are not compressed in themselves; side by side they compress better than each alone.
    pq.write_table(table, target, compression="zstd", compression_level=19, use_dictionary=["intent"] if sample == "snips" else False)
    print(f"{target}: {table.num_rows} rows, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    {"fashion": fashion, "snips": snips}[sys.argv[1]](Path(sys.argv[2]))
