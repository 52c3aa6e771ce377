"""Trajectory matching on CIFAR-10 on one GPU, in three runs of at most ten minutes: experts, MTT at 1 and 10 a class, DATM and the tests.

    python benchmarks/distill_gpu.py --data CIFAR_TRAIN --test CIFAR_TEST --dir DIR --out benchmarks/results/distill_gpu.txt --run 1
    python benchmarks/distill_gpu.py … --run 2
    python benchmarks/distill_gpu.py … --run 3

Run 0 (a minute) checks the engines against each other on the device. Every run ends by itself after `--minutes` and goes on where it
stopped when it is called again; DIR keeps everything. `--toy` does all of it in seconds on random images, on any machine, to see that it
runs. Accuracy, seconds an iteration, peak memory, and the share of the machine's floor, which is the larger of arithmetic at half of
`--tflops` and memory traffic of 40 MB an image and step at `--bandwidth`.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from curate.distill.datm import DATM, mean_logits
from curate.distill.evaluation import TrainingSet, train
from curate.distill.experts import Experts, obtain
from curate.distill.images import Images
from curate.distill.matching import Batches, Plan, Window, losses_of, match
from curate.distill.mtt import MTT
from curate.distill.trajectories import AbstractTrajectories, random_real
from curate.distill.unroll import ENGINES, Segments, Student, Synthetic, Waypoint
from curate.distill.zca import ZCA
from curate.progress import Silent
from curate.protocols import Training
from curate.rng import KeyedRandom

SEED, CLASSES = 0, 10
FLOPS = {"adjoint": 10.7, "unrolled": 8.8, "truncated": 8.8}  # of a step, in forward passes
FORWARD = 0.1015e9  # of a 32 x 32 image in the ConvNet of width 128
TRAFFIC = 40e6  # bytes an image and step
EXPERTS = {"experts": 20, "epochs": 23, "expert_rate": 0.01, "expert_batch": 256}
SETS: dict[str, AbstractTrajectories] = {
    "mtt-1": MTT(**EXPERTS, steps=50, span=2, window=(0, 2), batch=10, image_rate=100, segments=4, iterations=2_000),
    "mtt-10": MTT(**EXPERTS, steps=30, span=2, window=(0, 20), batch=100, image_rate=100, segments=2, iterations=1_500),
    "datm-10": DATM(**EXPERTS, rho=0.0, steps=40, span=2, window=(0, 10, 20, 400), batch=100, segments=2, iterations=800),
}
RUNS = {1: (), 2: ("mtt-1", "mtt-10"), 3: ("datm-10",)}


class OutOfTime(Exception):
    """The run's minutes are over; what was written down is taken up by the next call."""


class Clock(Silent):
    """Progress that ends the run when its time is over, after the piece of work in hand."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    def task(self, name: str, total: int, unit: str = "rows"):  # a context manager, as `Progress` has it
        return self

    def __enter__(self) -> "Clock":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, amount: int = 1) -> None:
        if time.monotonic() > self._end:
            raise OutOfTime


def main() -> None:
    arguments = parsed()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock = Clock(arguments.minutes)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
    data, test, labels = (toy if arguments.toy else cifar)(arguments, device, clock)
    sets = {key: shortened(one) for key, one in SETS.items()} if arguments.toy else SETS
    lines = [f"run {arguments.run}: {name}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}; {len(data.images):,} rows", ""]
    try:
        for one in steps(arguments.run, sets, data, test, labels, arguments):
            lines.append(one)
            print(one, flush=True)
    except OutOfTime:
        lines.append("  the time is over: the same command goes on from here")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with open(arguments.out, "a") as file:
        file.write("\n".join(lines) + "\n\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the training rows of CIFAR-10, as `curate` reads them: an image folder, parquet")
    parser.add_argument("--test", type=Path, help="the same of the test rows")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/distill_gpu.txt"))
    parser.add_argument("--run", type=int, choices=(0, *RUNS), required=True)
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--tflops", type=float, default=790.0)
    parser.add_argument("--bandwidth", type=float, default=4.3, help="TB/s")
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--toy", action="store_true")
    return parser.parse_args()


def steps(run: int, sets: dict[str, AbstractTrajectories], data: Images, test: Tensor, labels: Tensor, arguments) -> Iterator[str]:
    if run == 0:
        yield from engines(data)
        return
    method = next(iter(sets.values())).settle(data, 1, None)
    started = time.perf_counter()
    experts = trained(method, data)
    yield f"  {experts.count} experts of {experts.epochs} epochs: {time.perf_counter() - started:.0f} s in this call, {peak(data)}"
    yield f"  an expert's accuracy after its last epoch: {100 * reached(method, experts, data, test, labels):.1f}"
    for name in RUNS[run]:
        yield from matched(name, sets[name], experts, data, test, labels, arguments)
    if run == 3:
        for name in RUNS[2]:
            yield from tested(name, sets[name], data, test, labels, arguments)


def engines(data: Images) -> Iterator[str]:
    """The exact engines against each other, and seconds of a segment by each, on the device."""
    method = MTT(steps=10, segments=2, batch=0, width=32, experts=1, epochs=1, window=(0, 1), span=1).settle(data, 1, None)
    network = method._network(data)
    start = torch.stack([network.initial(i) for i in range(2)]).to(data.device)
    segments = Segments(start, [Waypoint(10, start + 0.01 * torch.randn_like(start))])
    images = data.images[random_real(data, 1, KeyedRandom(SEED))]
    synthetic = Synthetic(images, torch.eye(CLASSES, device=data.device), torch.tensor(0.01, device=data.device))
    plan = Plan(10, 1, Window(0, 1, 1), 1, 2, 0, (1.0, 0.0, 0.0))
    student = Student(losses_of(network), Batches(plan, 2, len(images), data.device, torch.Generator(), None))
    found, seconds = {}, {}
    for name, engine in ENGINES.items():
        engine(student, segments, synthetic, float("inf"))
        started = time.perf_counter()
        found[name] = engine(student, segments, synthetic, float("inf")).gradient.images
        float(found[name].sum())  # waits for the device
        seconds[name] = time.perf_counter() - started
    exact = found["unrolled"]
    for name, gradient in found.items():
        off = float((gradient - exact).norm() / exact.norm())
        yield f"  {name:<10} {seconds[name] / 2:.4f} s a segment of 10 steps, {off:.1e} from the unrolled gradient"


def trained(method: AbstractTrajectories, data: Images) -> Experts:
    home = replace(data, folder=data.folder / "experts")
    home.folder.mkdir(parents=True, exist_ok=True)
    settled = dict(count=method.experts, epochs=method.epochs)
    return obtain(home, method._network(data), method._architecture(data), method.recipe(), rng=KeyedRandom(SEED), **settled)


def reached(method: AbstractTrajectories, experts: Experts, data: Images, test: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        theta = experts.read([0], [experts.epochs])
        parts = [method._network(data).apply_many(theta, part)[0].argmax(1) for part in torch.split(test, 512)]
    return float((torch.cat(parts) == labels).double().mean())


def matched(
    name: str, method: AbstractTrajectories, experts: Experts, data: Images, test: Tensor, labels: Tensor, arguments
) -> Iterator[str]:
    """Matches a set, or goes on with it, and tests it."""
    ipc, folder = int(name.split("-")[1]), data.folder / name
    settled = method.settle(data, ipc, None)
    folder.mkdir(exist_ok=True)
    plan, network = settled.plan(), settled._network(data)
    images, _, known = settled.begin(data, ipc, network, experts, KeyedRandom(SEED, "begin"))
    reset_peak(data)
    started = time.perf_counter()
    first = Synthetic(images, known, torch.tensor(float(settled.rate or 0.01), device=data.device))
    made = match(network, experts, plan, first, folder, data.progress, KeyedRandom(SEED, "match"))
    seconds = (time.perf_counter() - started) / plan.iterations
    image_steps = plan.steps * plan.segments * min(plan.batch or len(images), len(images))
    work = FLOPS[plan.engine] * FORWARD * image_steps
    floor = max(work / (0.5e12 * arguments.tflops), TRAFFIC * image_steps / (1e12 * arguments.bandwidth))
    save_file({"images": made.images.cpu(), "labels": made.labels.cpu(), "rate": torch.tensor(made.rate)}, folder / "set.safetensors")
    yield (
        f"  {name}: loss {np.mean(made.loss[:20]):.3f} -> {np.mean(made.loss[-20:]):.3f}, rate {made.rate:.4g}, {plan.engine}, "
        f"{seconds:.3f} s an iteration of those made in this call, floor {floor:.3f} s ({floor / seconds:.0%}), {peak(data)}"
    )
    yield from tested(name, method, data, test, labels, arguments)


def tested(name: str, method: AbstractTrajectories, data: Images, test: Tensor, labels: Tensor, arguments) -> Iterator[str]:
    ipc, path = int(name.split("-")[1]), data.folder / name / "set.safetensors"
    if not path.is_file():
        yield f"  {name} is not finished yet"
        return
    made = load_file(path)
    settled = method.settle(data, ipc, None)
    recipe = Training(float(made["rate"]), settled.train_steps or 1000, augment=settled._strategy(), width=settled.width or 128)
    sets = {name: TrainingSet(made["images"].to(data.device), made["labels"].to(data.device))}
    rows = torch.cat([random_real(data, ipc, KeyedRandom(seed, "random")) for seed in range(arguments.networks)])
    sets["random"] = TrainingSet.hard(data.images[rows], data.labels[rows], CLASSES, arguments.networks)
    experts = trained(settled, data)
    soft = torch.softmax(mean_logits(data.images[rows], data.labels[rows], settled._network(data), experts), 1)
    sets["random, soft labels"] = TrainingSet(data.images[rows], soft, arguments.networks)
    networks = ("convnet",) if arguments.toy else ("convnet", "resnet18", "vgg11")
    for about, known in sets.items():
        for network in networks:
            each = 100 * np.array(accuracies(known, recipe, network, arguments.networks, test, labels, data.progress))
            yield f"    {about:<20} {network:<9} {each.mean():5.1f} +- {each.std(ddof=1) / len(each) ** 0.5:.1f}"


def accuracies(known: TrainingSet, recipe: Training, network: str, count: int, test: Tensor, labels: Tensor, clock: Clock) -> list[float]:
    lr = recipe.lr if known.sets == 1 else 0.01
    return train(known, replace(recipe, lr=lr), network, range(count), clock).accuracies(test, labels)


def cifar(arguments: argparse.Namespace, device: torch.device, clock: Clock) -> tuple[Images, Tensor, Tensor]:
    """Through `curate.load`, so that whatever it reads will do."""
    import curate
    from curate.signals.inputs import ImageInputs

    rows, test = curate.load(str(arguments.data)), curate.load(str(arguments.test))
    inputs = ImageInputs(rows, device, Silent(), image_size=None, augment="none", like=None)
    pixels, known = inputs.pixels, torch.from_numpy(rows.labels).to(device)
    made = ImageInputs(test, device, Silent(), image_size=None, augment="none", like=inputs)
    return prepared(pixels, known, made.pixels, torch.from_numpy(test.labels).to(device), arguments.dir, device, clock)


def toy(arguments: argparse.Namespace, device: torch.device, clock: Clock) -> tuple[Images, Tensor, Tensor]:
    """Random colour images of 8 x 8, a class brighter than the one before."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % CLASSES
    pixels = (torch.rand(200, 3, 8, 8, generator=draw) * 60 + 18 * labels[:, None, None, None]).to(torch.uint8).to(device)
    known = labels.to(device)
    return prepared(pixels[:150], known[:150], pixels[150:], known[150:], arguments.dir, device, clock)


def prepared(pixels: Tensor, known: Tensor, test: Tensor, labels: Tensor, folder: Path, device: torch.device, clock: Clock):
    transform = ZCA.fit(pixels)
    folder.mkdir(parents=True, exist_ok=True)
    images = torch.cat([transform.apply(part) for part in torch.split(pixels, 8192)])
    data = Images(images, known, np.arange(len(pixels)), CLASSES, transform, device, folder, None, "cifar", clock, pixels)
    return data, torch.cat([transform.apply(part) for part in torch.split(test, 8192)]), labels


def shortened(method: AbstractTrajectories) -> AbstractTrajectories:
    small = {"experts": 2, "epochs": 3, "steps": 3, "span": 1, "window": (0, 2), "batch": 0, "segments": 2, "iterations": 3, "width": 4}
    return replace(method, **small, expert_batch=50, network="convnet", train_steps=4)


def peak(data: Images) -> str:
    return f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GB" if data.device.type == "cuda" else "peak not measured on a CPU"


def reset_peak(data: Images) -> None:
    if data.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
