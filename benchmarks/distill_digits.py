"""Digits, 1, 10 and 50 images a class by DATM on its presets: against random real images, the same with soft labels, and other windows.

    python benchmarks/distill_digits.py --out benchmarks/results/distill_digits.txt
    python benchmarks/distill_digits.py --ipc 50 --networks 12 --sets 2 --out benchmarks/results/distill_digits_50.txt

The digits that come with scikit-learn: 1,000 rows to learn from, 597 to test on. One expert run serves all. The presets were set on another
split of these rows, number 1, and `train_scale` on 200 of the learning rows and the 200 that are neither (and on Fashion-MNIST, likewise);
the table is of split 2. Networks on real rows train at the rate of four that is best on the latter 200, on distilled ones as the set says.
With --dir what is made is kept there: run again, it goes on.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from curate.disk import write_whole
from curate.distill.datm import DATM, mean_logits
from curate.distill.experts import obtain
from curate.distill.images import Images
from curate.distill.matching import losses_of
from curate.distill.networks import Network, build
from curate.distill.trajectories import random_real
from curate.distill.zca import Standard
from curate.progress import Silent
from curate.protocols import Distilled, Training
from curate.rng import KeyedRandom

SPLIT, NETWORKS, DRAWS = 2, 6, 3  # NETWORKS: of other benchmarks that build on this one
RATES = (0.005, 0.02, 0.05, 0.1)
EARLY, LATE = (0, 6), (8, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--ipc", type=int, nargs="+", default=(1, 10, 50))
    parser.add_argument("--networks", type=int, default=NETWORKS)
    parser.add_argument("--sets", type=int, default=1, help="each with experts of its own")
    parser.add_argument("--dir", type=Path, default=None, help="where experts, sets and accuracies are kept; else nowhere")
    arguments = parser.parse_args()
    out, networks = arguments.out, arguments.networks
    torch.set_num_threads(1)
    lines = [
        f"torch {torch.__version__}, one thread of a shared CPU; {networks} fresh networks a set, {DRAWS} draws of random images,",
        f"{arguments.sets} distilled, each with experts of its own (other windows: 1); accuracy on 597 test rows in %,",
        "mean +- standard error over networks and sets; seconds are CPU seconds of one set",
        "",
    ]
    with tempfile.TemporaryDirectory() as folder:
        data, test, labels = digits(arguments.dir or Path(folder))
        for ipc in arguments.ipc:
            lines += table(data, Judged(test, labels, *held_out(data), networks), ipc, arguments.sets)
            print("\n".join(lines), flush=True)
            if out:
                out.write_text("\n".join(lines) + "\n")


@dataclass(frozen=True)
class Judged:
    """The rows that test, those that choose rates, and by how many networks."""

    test: Tensor
    labels: Tensor
    held: Tensor
    held_labels: Tensor
    networks: int

    def of(self, found: Distilled, data: Images) -> list[float]:
        made = data.transform.apply(torch.from_numpy(found.images))
        return self.accuracies(made, torch.from_numpy(found.soft_labels), found.training, 7_000)

    def accuracies(self, images: Tensor, known: Tensor, training: Training, seed: int) -> list[float]:
        return accuracies(images, known, training, self.test, self.labels, seed=seed, networks=self.networks)

    def best(self, images: Tensor, known: Tensor, training: Training) -> float:
        """The rate that does best on the rows that choose."""
        tried = [replace(training, lr=lr) for lr in RATES]
        return max(tried, key=lambda one: np.mean(accuracies(images, known, one, self.held, self.held_labels, seed=50_000))).lr


def table(data: Images, judged: Judged, ipc: int, sets: int) -> list[str]:
    start = time.process_time()
    method = DATM().settle(data, ipc, None)
    network = method._network(data)
    ours: list[float] = []
    for number in range(sets):
        home, seed = folder_of(data, f"experts-{number}"), SPLIT + 1000 * number
        started = time.process_time()
        experts = obtain(home, network, method._architecture(data), method.recipe(), method.experts, method.epochs, KeyedRandom(seed))
        training = kept(home, "seconds", lambda started=started: time.process_time() - started)
        found, seconds = distilled(method, folder_of(data, f"{ipc}-preset-{number}", home), ipc, seed)
        ours += kept(folder_of(data, f"{ipc}-preset-{number}"), f"{judged.networks}", lambda found=found: judged.of(found, data))
    hard, soft = [], []
    for into, taught in ((hard, False), (soft, True)):
        home = folder_of(data, f"{ipc}-{'taught' if taught else 'hard'}")
        for draw in range(DRAWS):
            rows = random_real(data, ipc, KeyedRandom(draw, "random"))
            images, classes = data.images[rows], data.labels[rows]
            known = torch.softmax(mean_logits(images, classes, network, experts), 1) if taught else torch.eye(10)[classes]
            lr = kept(home, "rate", lambda images=images, known=known: judged.best(images, known, found.training))  # by the first draw
            recipe = replace(found.training, lr=lr)
            into += kept(
                home,
                f"{judged.networks}-{draw}",
                lambda images=images, known=known, recipe=recipe, draw=draw: judged.accuracies(images, known, recipe, 100 * draw),
            )
    loss = np.array(found.history["loss"])
    lines = [
        f"{ipc} a class: matching loss {loss[:10].mean():.3f} -> {loss[-10:].mean():.3f}, rate {method.rate} -> {found.rate:.3f}, "
        f"experts {training:.0f} s, matching {seconds:.0f} s",
        row("random real images", hard),
        row("the same with the experts' soft labels", soft),
        row("DATM", ours) + f"   {gap(ours, hard):.1f} standard errors above random, {gap(ours, soft):.1f} above random with soft labels",
    ]
    for name, window in (("early", EARLY), ("late", LATE)):
        home = folder_of(data, f"{ipc}-{name}", folder_of(data, "experts-0"))
        other, _ = distilled(replace(method, window=window), home, ipc)
        values = kept(home, f"{judged.networks}", lambda other=other: judged.of(other, data))
        lines.append(row(f"DATM, {name} window {window[0]}+{window[1]}", values))
    return [*lines, f"  all of this: {time.process_time() - start:.0f} s", ""]


def folder_of(data: Images, name: str, experts: Images | None = None) -> Images:
    """With a folder of its own, and the experts of another."""
    folder = data.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    return replace(data, folder=folder, runs=None if experts is None else experts.folder)


def kept(home: Images, name: str, work):
    """What `work` gives, which is done once a folder and name."""
    file = home.folder / f"{name}.json"
    if not file.is_file():
        made = json.dumps(work())
        write_whole(file, lambda path: path.write_text(made))
    return json.loads(file.read_text())


def distilled(method: DATM, data: Images, ipc: int, seed: int = SPLIT) -> tuple[Distilled, float]:
    start = time.process_time()
    made = method.distill(data, ipc, KeyedRandom(seed))
    return made, kept(data, "seconds", lambda: time.process_time() - start)


def digits(folder: Path) -> tuple[Images, Tensor, Tensor]:
    pixels, labels, order = shuffled()
    train, test = order[:1000], order[1200:]
    made = Standard.fit(pixels[train])
    cpu = torch.device("cpu")
    data = Images(made.apply(pixels[train]), labels[train], train.numpy(), 10, made, cpu, folder, None, "digits", Silent(), pixels[train])
    return data, made.apply(pixels[test]), labels[test]


def held_out(data: Images) -> tuple[Tensor, Tensor]:
    """The 200 rows that are neither learnt from nor tested on, to choose rates by."""
    pixels, labels, order = shuffled()
    return data.transform.apply(pixels[order[1000:1200]]), labels[order[1000:1200]]


def shuffled() -> tuple[Tensor, Tensor, Tensor]:
    bunch = load_digits()
    pixels, labels = torch.tensor(bunch.images, dtype=torch.float32)[:, None] * 16, torch.tensor(bunch.target)
    return pixels, labels, torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT))


def accuracies(
    images: Tensor, known: Tensor, training: Training, test: Tensor, labels: Tensor, *, seed: int, networks: int = NETWORKS
) -> list[float]:
    """Of fresh networks trained side by side, as `training` says."""
    network = Network(lambda: build(training.network, images.shape[1:], known.shape[1], training.width))
    theta = torch.stack([network.initial(seed + i) for i in range(networks)])
    velocity, losses = torch.zeros_like(theta), losses_of(network)
    draw = torch.Generator().manual_seed(seed)
    for step in range(training.steps):
        rows = torch.randperm(len(images), generator=draw)[: training.batch]
        theta = theta.detach().requires_grad_()
        slope = torch.autograd.grad(losses(theta, images[rows], known[rows]).sum(), theta)[0]
        velocity = training.momentum * velocity + slope + training.weight_decay * theta.detach()
        theta = theta.detach() - training.lr * (1 if step < training.steps / 2 else 0.1) * velocity
    right = network.apply_many(theta, test).argmax(2) == labels
    return (100 * right.double().mean(1)).tolist()


def gap(ours: list[float], other: list[float]) -> float:
    return (np.mean(ours) - np.mean(other)) / np.hypot(error(ours), error(other))


def error(values: list[float]) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


def row(name: str, values: list[float]) -> str:
    return f"  {name:<40} {np.mean(values):5.1f} +- {error(values):.1f}"


if __name__ == "__main__":
    main()
