"""The decoupled distillers on Fashion-MNIST at 14 x 14 pixels: a committee beside its members alone, and INFER at equal bytes.

    python benchmarks/distill_decoupled.py --data DIR_WITH_IDX_FILES --dir DIR --out benchmarks/results/distill_decoupled.txt

10 images a class; four small teachers with batch norm, trained once for all methods. Sets are tested on an MLP and a vision transformer,
which no teacher is, and on a ConvNet with instance norm, equal steps for all. A single teacher is that of the committee which is best on
train rows that nothing else sees (start=real, as SRe2L++ has it), so that committee and single teacher differ in who votes alone.
INFER is tested beside random real rows of as many bytes, and beside the real rows that it starts from, without its compensators.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from distill_fashion import LABEL, RECIPE, fashion, held_out
from torch import Tensor

from curate import png
from curate.disk import write_whole
from curate.distill.cv_dd import CVDD
from curate.distill.evaluation import TrainingSet, train
from curate.distill.images import Images
from curate.distill.infer import INFER
from curate.distill.sre2l import SRe2L
from curate.distill.teachers import Squeeze, accuracy, squeeze
from curate.distill.trajectories import random_real
from curate.progress import Silent
from curate.protocols import Distilled
from curate.rng import KeyedRandom
from curate.stages.distilling import picture
from curate.synthetic import stored

IPC, NETWORKS, SEED, ROWS = 10, 3, 0, 4_000
UNSEEN = {"mlp": replace(RECIPE, steps=150, batch=50), "vit": replace(RECIPE, steps=80, batch=50, lr=0.02)}
TESTED = {**UNSEEN, "convnet": replace(RECIPE, steps=100, batch=50)}
OPTIONS = {"teacher_epochs": 5, "iterations": 100}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="where teachers and groups are kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/distill_decoupled.txt"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, test, labels = fashion(arguments.data, arguments.dir, ROWS)
    started = time.process_time()
    lines = [
        f"torch {torch.__version__}, one thread of a shared CPU; {len(data.images):,} rows of 14 x 14, {len(labels):,} to test on;",
        f"{NETWORKS} fresh networks an architecture, equal steps; accuracy in % +- standard error; `unseen`: the mean of mlp and vit",
        "",
        f"  {'':<30} {'bytes':>9} {'labels':>7}  " + " ".join(f"{name:>12}" for name in TESTED) + f"  {'unseen':>6}",
    ]
    for one in table(data, held_out(arguments.data, data), test, labels, arguments.out.parent):
        lines.append(one)
        print(one, flush=True)
        arguments.out.write_text("\n".join(lines) + "\n")
    lines.append(f"\n  all of this: {time.process_time() - started:.0f} CPU s")
    arguments.out.write_text("\n".join(lines) + "\n")


def table(data: Images, held: tuple[Tensor, Tensor], test: Tensor, labels: Tensor, out: Path) -> Iterator[str]:
    names = CVDD().teachers
    with Silent().task("teachers", 0) as task:
        worth = {name: accuracy(squeeze(name, data, Squeeze(OPTIONS["teacher_epochs"]), SEED, task), *held) for name in names}
    best = max(worth, key=lambda name: worth[name])
    yield "  teachers, on held-out rows: " + ", ".join(f"{name} {100 * value:.1f}" for name, value in worth.items())
    methods = {
        f"sre2l from noise, {best}": SRe2L(teacher=best, **OPTIONS),
        f"sre2l from real, {best}": SRe2L(teacher=best, start="real", **OPTIONS),
        "cv_dd": CVDD(**OPTIONS),
        "infer": INFER(**OPTIONS),
    }
    for name, method in methods.items():
        made = distilled(name, method, data)
        short = name.replace(" ", "_").replace(",", "")
        write_whole(out / f"distill_decoupled_{short}.png", lambda path, made=made: path.write_bytes(png.encode(picture(made))))
        x = data.transform.apply(torch.from_numpy(made.images))
        soft = None if made.soft_labels is None else torch.from_numpy(made.soft_labels)
        known = TrainingSet.hard(x, torch.from_numpy(made.labels), 10) if soft is None else TrainingSet(x, soft)
        about = stored(made)
        yield line(name, about["bytes"], about["label_bytes"], known, test, labels)
    yield from beside(data, made, test, labels)


def beside(data: Images, made: Distilled, test: Tensor, labels: Tensor) -> Iterator[str]:
    """Real rows of as many bytes as INFER's set, and those that it starts from."""
    pixels, compact = data.images[0].numel(), made.compact
    many = stored(made)["bytes"] // (10 * (pixels + LABEL))
    for name, count in (("random, infer's bytes", many), ("random, ten a class", IPC)):
        rows = torch.cat([random_real(data, count, KeyedRandom(seed, "random")) for seed in range(NETWORKS)])
        known = TrainingSet.hard(data.images[rows], data.labels[rows], 10, NETWORKS)
        yield line(name, 10 * count * (pixels + LABEL), 10 * count * LABEL, known, test, labels)
    real = data.transform.apply(torch.from_numpy(compact.originals.reshape(-1, *compact.originals.shape[2:])))
    count = compact.originals.shape[1]
    known = TrainingSet.hard(real, torch.arange(10).repeat_interleave(count), 10)
    yield line("infer's real rows alone", 10 * count * pixels, 0, known, test, labels)


def distilled(name: str, method, data: Images) -> Distilled:
    """With the teachers of all methods, and a folder of its own for what is recovered."""
    home = data.folder / name.replace(" ", "_").replace(",", "")
    home.mkdir(exist_ok=True)
    return method.settle(data, IPC, None).distill(replace(data, folder=home, runs=data.folder), IPC, KeyedRandom(SEED))


def line(name: str, size: int, label_bytes: int, known: TrainingSet, test: Tensor, labels: Tensor) -> str:
    found = {}
    for network, recipe in TESTED.items():
        with Silent().task(name, 0) as task:
            found[network] = 100 * np.array(train(known, recipe, network, range(NETWORKS), task).accuracies(test, labels))
    cells = " ".join(f"{each.mean():5.1f} +- {each.std(ddof=1) / len(each) ** 0.5:3.1f}" for each in found.values())
    unseen = np.mean([found[network].mean() for network in UNSEEN])
    return f"  {name:<30} {size:>9,} {label_bytes:>7,}  {cells}  {unseen:6.1f}"


if __name__ == "__main__":
    main()
