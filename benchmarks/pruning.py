"""Every selection from scores against random at three budgets, and taking out what looks mislabelled, through `curate compare`.

    python benchmarks/pruning.py --fashion DIR_WITH_IDX_FILES --text TRAIN.parquet --test TEST.parquet --dir DIR --out benchmarks/results

Part 1: Fashion-MNIST (the first 10,000 train and 5,000 test rows, the default ConvNet) and a text set (its first 10,000 rows, the bag
of n-grams): all policies at 10, 30 and 50 %, equal steps, 3 seeds; pruning_NAME.txt and pruning_NAME.png. Part 2: the same images with
a fifth of the labels flipped uniformly: the lowest AUM taken out, as many random rows taken out, and everything; noise_removal.txt.
The test sets are apart from the rows that are scored. `--part` runs one of fashion, text, noise.
"""

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
from planted_noise import flip, read_idx

import curate
from curate.terminal import comparison_lines

SCORERS = ["aum", "el2n", "forgetting", "datamap", "dual", "tdds", "dyn_unc", "margin_sum"]
POLICIES = {
    "top-el2n": {"sampler": "top", "by": "el2n"},
    "top-forgetting": {"sampler": "top", "by": "forgetting"},
    "top-dyn_unc": {"sampler": "top", "by": "dyn_unc"},
    "top-tdds": {"sampler": "top", "by": "tdds"},
    "easy-aum": {"sampler": "top", "by": "aum"},
    "middle-el2n": {"sampler": "top", "by": "el2n", "keep": "middle"},
    "offset-el2n": {"sampler": "offset", "by": "el2n"},
    "ambiguous": {"sampler": "ambiguous"},
    "ccs-aum": {"sampler": "ccs", "by": "aum"},
    "beta-dual": {"sampler": "beta"},
    "gumbel-el2n": {"sampler": "gumbel", "by": "el2n"},
}
BUDGETS = ("10%", "30%", "50%")
ROWS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="where the stores go; run again, it goes on")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None, help="of every training; default those of 8 epochs on everything")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=None, help="of every training and of the scored one; default the model's own")
    parser.add_argument("--part", choices=["fashion", "text", "noise"], action="append")
    arguments = parser.parse_args()
    parts = arguments.part or ["fashion", "text", "noise"]
    images = tuple(part[:ROWS] for part in read_idx(arguments.fashion, "train"))
    test_images = tuple(part[:5_000] for part in read_idx(arguments.fashion, "t10k"))
    if "fashion" in parts:
        prune("fashion", curate.load(images), test_images, arguments)
    if "text" in parts:
        prune("text", curate.load(arguments.text, limit=ROWS), arguments.test, arguments)
    if "noise" in parts:
        remove_noise(images, test_images, arguments)


def prune(name: str, data: curate.Dataset, test: object, arguments: argparse.Namespace) -> None:
    folder, started = arguments.dir / name, time.process_time()
    scores = curate.score(data, SCORERS, out=folder / "scores", lr=arguments.lr)
    chosen = {
        f"{policy}-{budget}": curate.select(data, scores, **how, budget=budget) for budget in BUDGETS for policy, how in POLICIES.items()
    }
    made = compared(data, chosen, test, scores, folder, arguments)
    head = f"{len(data):,} rows of {data.modality} data, all policies at {', '.join(BUDGETS)}, equal steps, default model"
    say(arguments.out / f"pruning_{name}.txt", head, made, time.process_time() - started)
    shutil.copy(made.path / "curve.png", arguments.out / f"pruning_{name}.png")


def remove_noise(images: tuple, test: tuple, arguments: argparse.Namespace) -> None:
    started = time.process_time()
    noisy, flipped = flip(images[1], 0.2, np.random.default_rng(0))
    data = curate.load((images[0], noisy))
    folder = arguments.dir / "noise"
    scores = curate.score(data, ["aum", "datamap", "margin_sum"], out=folder / "scores")
    chosen, caught = {}, []
    for share in (10, 20, 30):
        keep = f"{100 - share}%"
        for name in ("aum", "datamap"):
            chosen[f"without {share}% of lowest {name}"] = curate.select(data, scores, sampler="top", by=name, budget=keep)
            gone = np.setdiff1d(np.arange(len(data)), chosen[f"without {share}% of lowest {name}"].rows)
            found = f"{flipped[gone].sum():,} of {flipped.sum():,} flipped labels, precision {flipped[gone].mean():.3f}"
            caught.append(f"{share} % of lowest {name}: {found}")
    made = compared(data, chosen, test, scores, folder, arguments)
    head = f"{len(data):,} images of Fashion-MNIST, {flipped.mean():.1%} of the labels flipped uniformly, equal steps\n\n" + "\n".join(
        caught
    )
    say(arguments.out / "noise_removal.txt", head, made, time.process_time() - started)


def compared(data, chosen, test, scores, folder: Path, arguments: argparse.Namespace) -> curate.Comparison:
    """Equal steps for every arm, the cost of scoring charged."""
    recipe = {"steps": arguments.steps, "batch_size": arguments.batch_size, "lr": arguments.lr}
    return curate.compare(data, chosen, test=test, seeds=arguments.seeds, scores=scores, out=folder / "compared", **recipe)


def say(path: Path, head: str, made: curate.Comparison, seconds: float) -> None:
    text = f"{head}; 2 shared CPU cores, {seconds:.0f} CPU seconds in this run\n\n{comparison_lines(made.summary(), 'compared')}\n"
    print(text, flush=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
