"""Every sampler by where rows lie, against random of the same size, through `curate compare`, on embeddings of Fashion-MNIST.

    python benchmarks/geometry.py --data FASHION_MNIST_DIR --dir DIR --out benchmarks/results/geometry.txt

The first 10,000 training images and 2,000 test images of the four idx files, as their first 64 principal components; an MLP, three seeds,
equal steps for every arm, 95 % intervals over the seeds. Scaled down from 60,000 images and a convolutional network.
"""

import argparse
import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TRAIN, TEST, DIMENSIONS = 10_000, 2_000, 64
POLICIES = {
    "class_random": ["--sampler", "class_random"],
    "k_center": ["--sampler", "k_center"],
    "facility_location": ["--sampler", "facility_location"],
    "density": ["--sampler", "density"],
    "herding": ["--sampler", "herding", "--per-class"],
    "kmeans": ["--sampler", "kmeans"],
    "kmeans-nearest": ["--sampler", "kmeans:within=nearest"],
    "hierarchical": ["--sampler", "hierarchical_kmeans"],
    "typicality": ["--sampler", "typicality"],
    "prototypes-far": ["--sampler", "prototypes"],
    "prototypes-near": ["--sampler", "prototypes:end=near"],
    "moderate": ["--sampler", "moderate"],
    "dpp": ["--sampler", "dpp"],
    "d2-el2n": ["--sampler", "d2", "--by", "el2n"],
    "kmq-aum": ["--sampler", "kmq", "--by", "rank(aum)", "--keep", "low"],
    "k_center-aum60": ["--sampler", "k_center", "--by", "aum", "--narrow", "60%"],
}
LIGHT = ["--model", "mlp", "--epochs", "4"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--budgets", nargs="+", default=["10%", "30%"])
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    train, test, scores = (str(arguments.dir / name) for name in ("train.parquet", "test.parquet", "scores"))
    embed(arguments.data, train, test)
    curate("score", train, "--scorer", "el2n", "--scorer", "aum", *LIGHT, "--out", scores, "--overwrite")
    text = ""
    for budget in arguments.budgets:
        here = arguments.dir / budget.rstrip("%")
        for name, words in POLICIES.items():
            by = ["--scores", scores] if "--by" in words else []
            curate("select", train, *by, *words, "--budget", budget, "--rows-only", "--out", str(here / name), "--overwrite")
        folders = [str(here / name) for name in POLICIES]
        table = curate("compare", train, *folders, "--test", test, "--seeds", "3", *LIGHT, "--out", str(here / "compared"), "--overwrite")
        text += f"budget {budget}: MLP on {DIMENSIONS} principal components, {TRAIN:,} rows\n\n{table.replace(str(here) + '/', '')}\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


def embed(folder: Path, train: str, test: str) -> None:
    images, labels = read(folder, "train", TRAIN)
    others, other_labels = read(folder, "t10k", TEST)
    mean = images.mean(axis=0)
    axes = np.linalg.eigh(np.cov(images - mean, rowvar=False))[1][:, ::-1][:, :DIMENSIONS]
    for path, rows, codes in ((train, images, labels), (test, others, other_labels)):
        vectors = ((rows - mean) @ axes).astype(np.float32)
        pq.write_table(pa.table({"embedding": list(vectors), "label": codes.astype(np.int64)}), path)


def read(folder: Path, part: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(images, np.uint8, n * 784, 16).reshape(n, 784) / 255, np.frombuffer(labels, np.uint8, n, 8)


def curate(*words: str) -> str:
    command = [sys.executable, "-c", "from curate.cli import main; main()", *words, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
