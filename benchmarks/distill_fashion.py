"""Fashion-MNIST at 14 x 14 pixels, 1 and 10 images a class: distilled sets beside random, k-center and herding rows of as many bytes.

    python benchmarks/distill_fashion.py --data DIR_WITH_IDX_FILES --dir DIR --out benchmarks/results [--network mlp] [--ipc 1]

The first 10,000 train and 3,000 test rows, each pixel the mean of 2 x 2. A ConvNet of width 16, or an MLP of two layers of 64; MTT and
TESLA share one expert run, DATM has flat experts of its own. All but the numbers of experts, epochs and iterations are presets, whose
rates were chosen on the 3,000 train rows after those. Every network trains for equal steps: on real rows at the rate of four that is best
on the same held-out rows, on distilled ones as the set's card says. DIR keeps what is made: run again, it goes on.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from planted_noise import read_idx
from torch import Tensor

from curate import png
from curate.disk import write_whole
from curate.distill.augment import strategy_for
from curate.distill.datm import DATM
from curate.distill.dm import DM
from curate.distill.evaluation import TrainingSet, train
from curate.distill.experts import obtain
from curate.distill.images import Images
from curate.distill.mtt import MTT
from curate.distill.tesla import TESLA
from curate.distill.trajectories import random_real
from curate.distill.zca import Standard
from curate.plugins import parse
from curate.pool import ArrayPool
from curate.progress import Silent
from curate.protocols import Distilled, Distiller, Training
from curate.rng import KeyedRandom
from curate.stages.distilling import picture

ROWS, TEST_ROWS, NETWORKS, SEED = 10_000, 3_000, 5, 0
RECIPE = Training(lr=0.05, steps=150, batch=100, augment=strategy_for(None, 1), width=16)
RATES = (0.01, 0.03, 0.1, 0.3)
SIZES = {
    "convnet": {"experts": 3, "epochs": 9, "epoch_rows": 4_000, "iterations": 60, "segments": 1, "batch": 50, "width": 16},
    "mlp": {"experts": 10, "epochs": 10, "epoch_rows": 4_000, "iterations": 150, "batch": 50, "width": 64, "augment": "none"},
}
RECIPES = {"convnet": RECIPE, "mlp": replace(RECIPE, steps=300, augment="", network="mlp", width=64)}
FLOAT, LABEL = 4, 8  # bytes of a synthetic pixel, where a real one has one, and of a label


@dataclass(frozen=True)
class Arm:
    """What is trained on, its stored bytes, and at which rate."""

    name: str
    known: TrainingSet
    bytes: int
    lr: float | None = None  # the best on held-out rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="where experts and sets are kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--ipc", type=int, nargs="+", default=(1, 10))
    parser.add_argument("--network", choices=list(SIZES), default="convnet")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, test, labels = fashion(arguments.data, arguments.dir)
    bench = Bench(RECIPES[arguments.network], held_out(arguments.data, data), (test, labels))
    lines = [
        f"torch {torch.__version__}, one thread of a shared CPU; {len(data.images):,} rows of 14 x 14 pixels, {len(labels):,} to test on;",
        f"{NETWORKS} fresh networks ({arguments.network}) an arm, {bench.recipe.steps} steps; accuracy in %, mean +- standard error",
        "",
    ]
    for ipc in arguments.ipc:
        started = time.process_time()
        lines.append(f"{ipc} a class")
        for line in table(data, bench, ipc, arguments.network, arguments.out):
            lines.append(line)
            print(line, flush=True)
        lines += [f"  all of this: {time.process_time() - started:.0f} CPU s", ""]
        name = f"distill_fashion_{arguments.network}_{'_'.join(map(str, arguments.ipc))}.txt"
        (arguments.out / name).write_text("\n".join(lines).rstrip() + "\n")


def fashion(source: Path, folder: Path, rows: int = ROWS) -> tuple[Images, Tensor, Tensor]:
    (pixels, labels), (test, known) = read_idx(source, "train"), read_idx(source, "t10k")
    small, small_test = (halved(part) for part in (pixels[:rows], test[:TEST_ROWS]))
    made = Standard.fit(small)
    cpu = torch.device("cpu")
    folder.mkdir(parents=True, exist_ok=True)
    y = torch.from_numpy(labels[:rows])
    data = Images(made.apply(small), y, np.arange(rows), 10, made, cpu, folder, None, "fashion 14", Silent(), small)
    return data, made.apply(small_test), torch.from_numpy(known[:TEST_ROWS])


def held_out(source: Path, data: Images) -> tuple[Tensor, Tensor]:
    """Train rows after those that `fashion` gives: to choose teachers and options by, so that the test rows are asked once."""
    pixels, labels = read_idx(source, "train")
    after = slice(ROWS, ROWS + TEST_ROWS)
    return data.transform.apply(halved(pixels[after])), torch.from_numpy(labels[after])


def halved(pixels: np.ndarray) -> Tensor:
    return torch.nn.functional.avg_pool2d(torch.from_numpy(pixels.copy())[:, None].float(), 2).round().to(torch.uint8)


def methods(network: str) -> dict[str, Distiller]:
    sizes = SIZES[network]
    made = {name: cls(**sizes, network=network) for name, cls in (("MTT", MTT), ("TESLA", TESLA), ("DATM", DATM))}
    return {**made, "DM": DM(iterations=300, network=network, width=sizes["width"], augment=sizes.get("augment"))}


def table(data: Images, bench: "Bench", ipc: int, network: str, out: Path) -> Iterator[str]:
    values = data.images[0].numel()
    largest = 10 * ipc * (FLOAT * values + FLOAT * 10 + LABEL)  # with soft labels
    many = max(ipc, largest // (values + LABEL) // 10)
    for arm in real_arms(data, ipc, many):
        yield bench.line(arm)
    for name, method in methods(network).items():
        started = time.process_time()
        made = distilled(f"{network}-{name}", method, data, ipc)
        seconds = time.process_time() - started
        loss = np.array(made.history["loss"])
        write_whole(
            out / f"distill_fashion_{network}_{name.lower()}_{ipc}.png", lambda path, made=made: path.write_bytes(png.encode(picture(made)))
        )
        x = data.transform.apply(torch.from_numpy(made.images))
        size, lr = len(x) * (FLOAT * values + LABEL), made.training.lr if made.rate else None
        yield (
            bench.line(Arm(name, TrainingSet.hard(x, torch.from_numpy(made.labels), 10), size, lr))
            + f"   loss {loss[:10].mean():.3f} -> {loss[-10:].mean():.3f}, {seconds:.0f} s with its experts"
        )
        if made.soft_labels is not None:
            arm = Arm(f"{name}, soft labels", TrainingSet(x, torch.from_numpy(made.soft_labels)), size + len(x) * FLOAT * 10, lr)
            yield bench.line(arm)


def real_arms(data: Images, ipc: int, many: int) -> Iterator[Arm]:
    size = data.images[0].numel() + LABEL
    for name, count in (("random, as many images", ipc), ("random", many)):
        rows = torch.cat([random_real(data, count, KeyedRandom(seed, "random")) for seed in range(NETWORKS)])
        yield Arm(name, TrainingSet.hard(data.images[rows], data.labels[rows], 10, NETWORKS), 10 * count * size)
    for name in ("k_center", "herding"):
        rows = torch.from_numpy(selected(data, name, many))
        yield Arm(name, TrainingSet.hard(data.images[rows], data.labels[rows], 10), 10 * many * size)
    yield Arm("everything", TrainingSet.hard(data.images, data.labels, 10), len(data.images) * size)


def selected(data: Images, name: str, count: int) -> np.ndarray:
    sampler, picked = parse("samplers", name).build(), []
    for code in range(10):
        rows = np.flatnonzero(data.labels.numpy() == code)
        pool = ArrayPool({"embedding": data.images[rows].flatten(1).numpy()}, rows=rows)
        picked.append(rows[sampler.select(pool, count, KeyedRandom(SEED, name, code))[0]])
    return np.concatenate(picked)


def distilled(name: str, method, data: Images, ipc: int) -> Distilled:
    """With a folder of its own, but for the experts of MTT and TESLA, which are the same."""
    home = data.folder / f"{name}-{ipc}"
    home.mkdir(exist_ok=True)
    runs = data.folder / name.replace("MTT", "sgd").replace("TESLA", "sgd")
    settled = method.settle(data, ipc, None)
    if hasattr(settled, "experts"):
        train_experts(settled, replace(data, folder=runs))
    return settled.distill(replace(data, folder=home, runs=runs), ipc, KeyedRandom(SEED))


def train_experts(method, data: Images) -> None:
    data.folder.mkdir(exist_ok=True)
    obtain(data, method._network(data), method._architecture(data), method.recipe(), method.experts, method.epochs, KeyedRandom(SEED))


@dataclass(frozen=True)
class Bench:
    """How arms are trained, and the rows that choose their rates and that test them."""

    recipe: Training
    held: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    def line(self, arm: Arm) -> str:
        lr = self.best_rate(arm.known) if arm.lr is None else arm.lr
        each = 100 * np.array(self.accuracies(arm.known, lr, range(NETWORKS), self.test))
        error = each.std(ddof=1) / len(each) ** 0.5
        return f"  {arm.name:<26} {arm.bytes:>9,} bytes  {each.mean():5.1f} +- {error:.1f}   rate {lr:.3f}"

    def best_rate(self, known: TrainingSet) -> float:
        one = replace(known, images=known.images[: known.size], targets=known.targets[: known.size], sets=1)
        return max(RATES, key=lambda lr: self.accuracies(one, lr, range(100, 101), self.held)[0])

    def accuracies(self, known: TrainingSet, lr: float, seeds: range, rows: tuple[Tensor, Tensor]) -> list[float]:
        with Silent().task("train", 0) as task:
            return train(known, replace(self.recipe, lr=lr), self.recipe.network, seeds, task).accuracies(*rows)


if __name__ == "__main__":
    main()
