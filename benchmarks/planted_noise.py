"""Which scorer finds planted label noise: 20 % uniform flips, all logit scorers from one run a data set, AUROC a scorer.

    python benchmarks/planted_noise.py --fashion DIR_WITH_IDX_FILES --text TRAIN.parquet --out benchmarks/results

Fashion-MNIST (60,000 images, the default ConvNet, 8 epochs) and a text set (the default bag of n-grams, 8 epochs). Writes
planted_noise.txt (AUROC and AUPRC of hardness, wall seconds) and suspects_fashion.png, the ten rows of lowest AUM.
Random must read 0.50. Scores that say nothing of hardness have no direction; random is read as it is.
"""

import argparse
import gzip
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

import curate

SCORERS = [
    "aum", "margin_sum", "datamap", "mean_loss=loss:over=mean", "el2n", "loss", "forgetting", "entropy", "least_confidence", "margin",
    "data_iq", "dyn_unc", "dual", "tdds", "random",
]  # fmt: skip
NAMES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--label", default=None)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--scores", type=Path, required=True, help="where the stores go")
    arguments = parser.parse_args()
    report = []
    images, labels = read_idx(arguments.fashion, "train")
    report.append(bench("Fashion-MNIST, 60,000 images, ConvNet, 8 epochs", images, labels, arguments.scores / "fashion", arguments.out))
    text = curate.load(arguments.text, label=arguments.label)
    report.append(
        bench(f"{arguments.text.parent.name}, {len(text):,} texts, bag of n-grams, 8 epochs", text, text.labels, arguments.scores / "text")
    )
    (arguments.out / "planted_noise.txt").write_text("\n".join(report))


def bench(title: str, source, labels, store: Path, pictures: Path | None = None) -> str:
    noisy, flipped = flip(labels, 0.2, np.random.default_rng(0))
    if isinstance(source, curate.Dataset):
        table = source.table.remove_columns([source.label]).add_column("label", noisy.tolist())
        data = curate.load(table, input=source.inputs, label="label")
    else:
        data = curate.load((source, noisy))
    started = time.perf_counter()
    scores = curate.score(data, SCORERS, out=store)
    seconds = time.perf_counter() - started
    lines = [
        f"{title}, 20 % of the labels flipped uniformly, seed 0; {seconds:.0f} s wall on 2 CPU cores, scoring and training together",
        "",
    ]
    lines.append(f"{'scorer':<18}{'AUROC':>8}{'AUPRC':>8}")
    rows = []
    for name in scores.names:
        hardness = scores[name] * (scores.hard_sign(name) or 1)
        rows.append((roc_auc_score(flipped, hardness), average_precision_score(flipped, hardness), name))
    lines += [f"{name:<18}{auroc:8.3f}{auprc:8.3f}" for auroc, auprc, name in sorted(rows, reverse=True)]
    if pictures is not None:
        draw(source, noisy, flipped, scores["aum"], pictures / "suspects_fashion.png")
    print("\n".join(lines), flush=True)
    return "\n".join(lines) + "\n"


def flip(labels, share: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """A share of the labels becomes another class, uniformly; never the same one."""
    classes = int(labels.max()) + 1
    chosen = rng.random(len(labels)) < share
    other = (labels + rng.integers(1, classes, len(labels))) % classes
    return np.where(chosen, other, labels).astype(np.int64), chosen


def draw(images, given, flipped, aum, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    worst = np.argsort(aum)[:10]
    for axes, row in zip(figure.subplots(2, 5).flat, worst, strict=True):
        axes.imshow(images[row], cmap="gray_r")
        axes.set_title(
            f"row {row}: labelled {NAMES[given[row]]}\nAUM {aum[row]:.2f}, {'planted' if flipped[row] else 'not planted'}", fontsize=8
        )
        axes.axis("off")
    figure.suptitle("The ten rows of lowest AUM")
    figure.savefig(path, dpi=100)


def read_idx(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    with gzip.open(folder / f"{split}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{split}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return images, labels.astype(np.int64)


if __name__ == "__main__":
    main()
