"""Every sampler by where rows lie, against random rows of the same number, through `curate compare`: CIFAR-10 and SST-2.

    python benchmarks/geometry.py --cifar CIFAR_DIR --sst2 SST2_DIR --dir DIR --out benchmarks/results/geometry.txt

Scaled down to CPU minutes: a light model (`mlp`) trained on embeddings, never on the images or texts themselves, so it tells how well
kept vectors stand for all of them, not what a network would learn. CIFAR-10: 10,000 training rows, 64 principal components of the
pixels; SST-2: all 6,920, the `static` encoder. Both are embedded with the test rows, without labels. Equal steps for every arm, three
seeds, 95 % intervals over them; a selection is drawn once. Beside the table, FILE.png with all of them. 12 CPU minutes on 2 shared cores.

Most do not beat random rows. Better at one size or both: herding by class, k-center among the 60 % of highest AUM and, at 10 % and
barely, facility location on CIFAR-10; k-center so, DPP and far prototypes at 30 % of SST-2. Worse: whatever keeps the hardest (D2 by
EL2N, to -44 points) or the easiest (kMQ by AUM, near prototypes), and on CIFAR-10 k-center, DPP and far prototypes alone.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import curate
from curate.terminal import comparison_lines

POLICIES: dict[str, dict[str, Any]] = {
    "by class": {"sampler": "class_random"},
    "density": {"sampler": "density"},
    "k_center": {"sampler": "k_center"},
    "facility_location": {"sampler": "facility_location"},
    "dpp": {"sampler": "dpp"},
    "herding": {"sampler": "herding", "per_class": True},
    "kmeans": {"sampler": "kmeans"},
    "kmeans-nearest": {"sampler": "kmeans:within=nearest"},
    "hierarchical_kmeans": {"sampler": "hierarchical_kmeans"},
    "typicality": {"sampler": "typicality"},
    "prototypes-far": {"sampler": "prototypes"},
    "prototypes-near": {"sampler": "prototypes:end=near"},
    "moderate": {"sampler": "moderate"},
    "d2-el2n": {"sampler": "d2", "by": "el2n"},
    "kmq-aum": {"sampler": "kmq", "by": "rank(aum)", "keep": "high"},
    "k_center-of-aum60": {"sampler": "k_center", "by": "aum", "narrow": "60%"},
}
BUDGETS = ("10%", "30%")
LIGHT: dict[str, Any] = {"model": "mlp", "epochs": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--sst2", type=Path, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    sets = {
        "CIFAR-10, 64 principal components of the pixels": (
            "pixels", arguments.cifar / "train-20k.parquet", arguments.cifar / "test-5k.parquet", "image", 10_000,
        ),
        "SST-2, static token embeddings": (
            "static", arguments.sst2 / "train.parquet", arguments.sst2 / "test.parquet", "text", 6_920,
        ),
    }  # fmt: skip
    text, tables = "", {}
    for title, (encoder, train, test, column, n) in sets.items():
        here = arguments.dir / encoder
        here.mkdir(parents=True, exist_ok=True)
        started = time.process_time()
        parts = embedded(here, encoder, train, test, column, n)
        tables[title] = compared(here, *parts)
        lines = comparison_lines(tables[title], "compared")
        text += f"{title}: {n:,} rows, an MLP on vectors; {time.process_time() - started:.0f} CPU seconds\n\n{lines}\n\n"
        print(lines, flush=True)
    arguments.out.write_text(text.rstrip() + "\n")
    draw(tables, arguments.out.with_suffix(".png"))


def embedded(here: Path, encoder: str, train: Path, test: Path, column: str, n: int) -> tuple[Path, Path]:
    """Two tables of vectors and labels: training rows and test rows, embedded as one set so that they share their axes."""
    both = pa.concat_tables([pq.read_table(train, columns=[column, "label"])[:n], pq.read_table(test, columns=[column, "label"])])
    pq.write_table(both, here / "both.parquet")
    dimensions = 64 if encoder == "pixels" else None
    vectors = curate.embed(str(here / "both.parquet"), encoder=encoder, dimensions=dimensions, out=here / "vectors", overwrite=True).matrix
    for path, rows in ((here / "train.parquet", slice(0, n)), (here / "test.parquet", slice(n, None))):
        labels = both.column("label").to_numpy()[rows].astype(np.int64)
        pq.write_table(pa.table({"embedding": list(np.asarray(vectors[rows], np.float32)), "label": labels}), path)
    return here / "train.parquet", here / "test.parquet"


def compared(here: Path, train: Path, test: Path) -> dict[str, Any]:
    scores = curate.score(str(train), ["el2n", "aum"], **LIGHT, out=here / "scores", overwrite=True)
    chosen = {
        f"{name}-{budget}": curate.select(str(train), scores if "by" in words else None, budget=budget, **words)
        for budget in BUDGETS
        for name, words in POLICIES.items()
    }
    return curate.compare(str(train), chosen, test=str(test), seeds=3, **LIGHT, out=here / "compared", overwrite=True).summary()


def draw(tables: dict[str, dict[str, Any]], path: Path) -> None:
    """What each policy gains over random rows, with its interval; a column a set, a colour a budget."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    for axes, (title, summary) in zip(figure.subplots(1, 2, sharey=True), tables.items(), strict=True):
        axes.axvline(0, color="0.4", linewidth=1)
        for offset, (budget, colour) in zip((-0.17, 0.17), zip(BUDGETS, ("#1f77b4", "#d95f02"), strict=True), strict=True):
            arms = {one["arm"]: one for one in summary["arms"]}
            gains = [arms[f"{name}-{budget}"]["minus_random"] for name in POLICIES]
            middle = np.array([100 * one["mean"] for one in gains])
            half = np.array([50 * (one["high"] - one["low"]) for one in gains])
            axes.errorbar(
                middle, np.arange(len(POLICIES)) + offset, xerr=half, fmt="o", color=colour, markersize=4, label=f"{budget} of the rows"
            )
        axes.set_yticks(np.arange(len(POLICIES)), POLICIES)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("accuracy minus that of as many random rows, points")
        axes.grid(axis="x", alpha=0.3)
    axes.invert_yaxis()
    axes.legend(loc="lower left", fontsize=9)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
