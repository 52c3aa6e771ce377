"""Which scorer finds which planted hardness: two dozen scorers, every kind, three seeds, on Fashion-MNIST and AG News.

    python benchmarks/hardness.py --fashion DIR_WITH_IDX_FILES --text NEWS.parquet --dir DIR --out benchmarks/results

Images: a perceptron of 256 and 64 units, AdamW at 1e-3, 6 epochs, no augmentation; texts: the default bag of n-grams, 6 epochs; rows are
drawn with seed 0. Writes bench_SET.md and bench_SET.png. Four tables are kept, of one thread of a shared machine:

    bench_fashion_10k      --only fashion --rows 10000 --leave-out confident --leave-out pvi --hardness … (ten kinds); 366 CPU seconds
    bench_fashion          --only fashion: 5,000 rows, all scorers, the control besides
    bench_text_gradients   --only text --leave-out confident --leave-out pvi: 5,000 rows
    bench_text             --only text --leave-out grand --leave-out grand_last --leave-out tracin --leave-out vog: 5,000 rows

`confident` and `pvi` train five more models each time, more than all the others together. The same in two commands:

    curate bench DIR/fashion.parquet --model benchmarks/mlp.py:build --epochs 6 --optimizer adamw --lr 0.001 --augment none \
        --scorer aum --scorer prototypes … --out DIR/fashion
    curate bench DIR/text.parquet --epochs 6 --scorer aum --scorer prototypes … --out DIR/text
"""

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from planted_noise import NAMES, read_idx

import curate
from curate import png
from curate.terminal import progress_for

SCORERS = (
    "aum", "margin_sum", "datamap", "mean_loss=loss:over=mean", "loss", "el2n", "forgetting", "entropy", "least_confidence",
    "data_iq", "dyn_unc", "dual", "tdds", "confident", "pvi", "grand", "grand_last", "tracin", "vog",
    "prototypes", "class_prototypes=prototypes:kind=supervised", "knn_disagreement", "knn_shapley", "typicality",
)  # fmt: skip
PERCEPTRON = {"model": str(Path(__file__).parent / "mlp.py:build"), "optimizer": "adamw", "lr": 1e-3, "augment": "none"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="where the rows and the stores go")
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--only", choices=("fashion", "text"))
    parser.add_argument("--hardness", action="append", default=[], help="a kind, all by default")
    parser.add_argument("--leave-out", action="append", default=[], help="a scorer")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    makers = {"fashion": (fashion, arguments.fashion, PERCEPTRON), "text": (texts, arguments.text, {})}
    for name in (arguments.only,) if arguments.only else makers:
        make, source, options = makers[name]
        file = arguments.dir / f"{name}.parquet"
        if not file.is_file():
            make(source, arguments.rows).to_parquet(file)
        scorers = [one for one in SCORERS if one not in arguments.leave_out]
        options |= {"epochs": arguments.epochs, "hardness": arguments.hardness}
        measure(name, file, scorers, options, arguments.dir / name, arguments.out)


def measure(name: str, file: Path, scorers: list[str], options: dict[str, Any], store: Path, out: Path) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    made = curate.bench(curate.load(file), scorers, out=store, progress=progress_for(False), **options)
    print(f"{name}: {time.process_time() - cpu:.0f} s of CPU, {time.perf_counter() - started:.0f} s wall", flush=True)
    for ending in ("md", "png"):
        shutil.copy(made.path / f"bench.{ending}", out / f"bench_{name}.{ending}")


def fashion(folder: Path, rows: int) -> datasets.Dataset:
    images, labels = read_idx(folder, "train")
    drawn = np.sort(np.random.default_rng(0).permutation(len(images))[:rows])
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
    cells = [{"bytes": png.encode(image), "path": None} for image in images[drawn]]
    return datasets.Dataset.from_dict({"image": cells, "label": labels[drawn].tolist()}, features=features)


def texts(file: Path, rows: int) -> datasets.Dataset:
    """Title and description as one text, with the four subjects."""
    table = datasets.load_dataset("parquet", data_files=str(file), split="train")
    drawn = table.select(np.sort(np.random.default_rng(0).permutation(len(table))[:rows]))
    cells = [f"{title} {description}" for title, description in zip(drawn["title"], drawn["description"], strict=True)]
    return datasets.Dataset.from_dict({"text": cells, "label": drawn["label"]})


if __name__ == "__main__":
    main()
