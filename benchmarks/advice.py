"""What `curate advise` says of real data, and whether the learning curve foretells what was measured.

    python benchmarks/advice.py --dir DIR --out benchmarks/results [--fashion DIR_WITH_IDX_FILES] [--part digits|fashion]

Digits: the bundled ones as vectors of 64 pixels, 1,000 rows to train on, the other 442 to test (a seeded permutation), the default network
for vectors, CCS on AUM at seven sizes with random rows of each, 3 seeds, once 60 and once 300 steps of 32 rows. Fashion-MNIST: the first
10,000 train rows, 5,000 test rows, the small ConvNet of online.py, CCS on AUM with random rows of each size, 3 seeds: four sizes for 640
steps of 100 rows, which is too short for all rows, and three sizes for 16 epochs of their own rows. advice_NAME.txt holds what the command
prints at each compute, advice_NAME.png the picture of the longest equal steps. Run again with the same --dir, it goes on.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from online import RATE, ROWS, TEST_ROWS
from planted_noise import read_idx

import curate
from curate.terminal import advice_lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--fashion", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--part", choices=["digits", "fashion"], action="append")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for part in arguments.part or ["digits", "fashion"]:
        {"digits": digits, "fashion": fashion}[part](arguments)


def digits(arguments: argparse.Namespace) -> None:
    data, test = split()
    what = f"Digits as vectors, {len(data):,} rows to train on, {len(test[0]):,} to test"
    runs = {f"{steps}-steps": {"steps": steps} for steps in (60, 300)}
    lines, figure = advised(data, test, arguments.dir, budgets=(5, 8, 12, 20, 30, 50, 70), runs=runs)
    write("digits", what, lines, figure, arguments.out)


def fashion(arguments: argparse.Namespace) -> None:
    data = curate.load(tuple(part[:ROWS] for part in read_idx(arguments.fashion, "train")))
    test = tuple(part[:TEST_ROWS] for part in read_idx(arguments.fashion, "t10k"))
    what = f"Fashion-MNIST, the first {len(data):,} train rows, {TEST_ROWS:,} test rows, a small ConvNet"
    model = {"model": f"{Path(__file__).with_name('online.py')}:build_model", "lr": RATE, "batch_size": 100}
    folder = arguments.dir / "fashion"
    short, figure = advised(data, test, folder, budgets=(4, 11, 30, 60), runs={"640-steps": {"steps": 640}}, **model)
    runs = {"16-epochs": {"epochs": 16, "budget": "epochs"}}
    lines, _ = advised(data, test, folder, budgets=(4, 11, 30), runs=runs, **model)
    write("fashion", what, ["640 steps for every size:", *short, "", "16 epochs of each size's own rows:", *lines], figure, arguments.out)


def advised(
    data: curate.Dataset,
    test: Any,
    folder: Path,
    *,
    budgets: Sequence[int],
    runs: Mapping[str, Mapping[str, Any]],
    **options: Any,
) -> tuple[list[str], Any]:
    """Compares CCS and random rows in each of the runs; what is advised at each compute, and how to draw it."""
    started = time.process_time()
    scores = curate.score(data, ["aum"], out=folder / "scores", **options)
    chosen = {f"ccs-{share}": curate.select(data, scores, sampler="ccs", by="aum", budget=f"{share}%") for share in budgets}
    made = [curate.compare(data, chosen, test=test, seeds=3, out=folder / name, **options, **run) for name, run in runs.items()]
    lines = [f"{time.process_time() - started:.0f} CPU seconds in this run, shared machine"]
    for run in runs.values():
        found = curate.advise(made, steps=run.get("steps"))
        lines += ["", advice_lines(found, None)]
    check = found["check"]
    off = check["foretold"]["value"] / check["measured"] - 1
    covered = check["foretold"]["low"] <= check["measured"] <= check["foretold"]["high"]
    lines += ["", f"The foretold error is {off:+.0%} off the measured one, and the interval {'covers' if covered else 'misses'} it."]
    return lines, partial(curate.advise, made, steps=run.get("steps"))


def write(name: str, what: str, lines: Sequence[str], draw: Any, out: Path) -> None:
    draw(out=out / f"advice_{name}.png")
    text = "\n".join([f"{what}.", "", *lines])
    print(text)
    (out / f"advice_{name}.txt").write_text(text + "\n", encoding="utf-8")


def split() -> tuple[curate.Dataset, tuple[np.ndarray, np.ndarray]]:
    digits = curate.load("sample:digits")
    x = np.stack([np.asarray(image, np.float32).reshape(-1) for image in digits.images(0, len(digits))]) / 16
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1000], order[1000:]
    return curate.load((x[train], digits.labels[train])), (x[test], digits.labels[test])


if __name__ == "__main__":
    main()
