"""Hard tilings beside random ones: how hard for the proxy, and what networks learn from them, on the bundled Fashion-MNIST sample.

    python benchmarks/optidel.py --dir DIR --out benchmarks/results

5,000 images, of which 200 a class are looked at; 10 images of 2 x 2 tiles a class by margin, by loss and at random, superpixels and
windows, one proxy for all. Then two ConvNets (width 16, 100 steps) on each set and on as many random rows, tested on 1,000 images. Writes
optidel.txt and optidel.png, the first images by margin and at random. About three CPU minutes.
Run again, the proxy and its judgements are kept.

Result on one core of a shared machine, 2026-11-26: the proxy's loss of hard tilings is 4.1 to 4.4, of random ones 1.5, and 96 to 97 % of
the former are harder than the latter. Networks learn less from them: 5 to 17 % of the test right, 29 to 36 % from random tilings and 69 %
from as many random rows: the hardest patches of a class look like another's.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

import curate
from curate.distill.evaluation import TrainingSet, train
from curate.distill.images import make_images, read_images
from curate.distill.optidel import OptiDEL
from curate.progress import Silent
from curate.protocols import Training
from curate.rng import KeyedRandom

SETTINGS = [("slic", "margin"), ("slic", "loss"), ("slic", "random"), ("grid", "margin"), ("grid", "random")]
IPC, ROWS, SEEDS = 10, 200, (0, 1)
RECIPE = Training(lr=0.01, steps=100, batch=100, width=16)
NAMES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="where the proxy and its judgements go")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    started = time.process_time()
    source, cpu = curate.load("sample:fashion"), torch.device("cpu")
    inputs = read_images(source, cpu, Silent(), None, None)
    assert source.test is not None, "the sample has a test split"
    test = read_images(source.test, cpu, Silent(), None, inputs)
    rows, kept, lines, made = np.arange(len(source)), arguments.dir / "slic-margin", [], {}
    for segmenter, difficulty in SETTINGS:
        folder = arguments.dir / f"{segmenter}-{difficulty}"
        data = make_images(inputs, source.labels, rows, 10, False, folder, kept, Silent())
        method = OptiDEL(segmenter=segmenter, difficulty=difficulty, rows=ROWS).settle(data, IPC, None)
        made[segmenter, difficulty] = method.distill(data, IPC, KeyedRandom(0, "benchmark"))
    x, labels = data.transform.apply(test.pixels), torch.from_numpy(source.test.labels)
    lines.append(f"{'':<22}{'proxy loss':>12}{'random tilings':>16}{'harder than':>13}{'accuracy of two networks':>28}")
    for (segmenter, difficulty), one in made.items():
        facts = one.facts
        numbers = f"{facts['proxy_loss']:12.2f}{facts['proxy_loss_of_random_tilings']:16.2f}{facts['harder_than_random_tilings']:13.1%}"
        images = data.transform.apply(torch.from_numpy(one.images))
        lines.append(f"{segmenter + ', ' + difficulty:<22}{numbers}{learned(images, one.labels, x, labels):>28}")
    drawn = np.concatenate([np.random.default_rng(0).permutation(np.flatnonzero(source.labels == code))[:IPC] for code in range(10)])
    lines.append(f"{'random rows':<22}{'':>41}{learned(data.images[drawn], source.labels[drawn], x, labels):>28}")
    proxy = f"{facts['patches']:,} patches; the proxy's accuracy {facts['proxy_accuracy']:.1%}"
    head = f"sample:fashion, {IPC} images a class of 2 x 2 tiles; {proxy}"
    text = f"{head}; one thread of a shared machine, {time.process_time() - started:.0f} CPU seconds\n\n" + "\n".join(lines) + "\n"
    print(text)
    (arguments.out / "optidel.txt").write_text(text, encoding="utf-8")
    draw(made["slic", "margin"], made["slic", "random"], arguments.out / "optidel.png")


def learned(images: torch.Tensor, codes: np.ndarray, x: torch.Tensor, labels: torch.Tensor) -> str:
    known = TrainingSet.hard(images, torch.from_numpy(codes), 10)
    with Silent().task("train", RECIPE.steps * len(SEEDS), "steps") as task:
        found = train(known, RECIPE, "convnet", SEEDS, task).accuracies(x, labels)
    return ", ".join(f"{accuracy:.1%}" for accuracy in found)


def draw(hard, random, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.9), layout="constrained")
    for line, (name, one) in enumerate((("hardest patches", hard), ("random patches", random))):
        for code in range(10):
            axes = figure.add_subplot(2, 10, 10 * line + code + 1)
            axes.imshow(one.images[code * IPC, 0], cmap="gray_r")
            axes.set(xticks=[], yticks=[])
            axes.set_title(NAMES[code] if line == 0 else "", fontsize=8)
            if code == 0:
                axes.set_ylabel(name, fontsize=8)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
