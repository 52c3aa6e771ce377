"""Trajectory matching: memory by the number of student steps, and seconds a segment against a plain loop as the official code has it.

    python benchmarks/matching_memory.py --out benchmarks/results/matching_memory.txt

Memory is what a forked process grew by while it computed one gradient; the picture beside the table has the same numbers. The peer is
MTT's loop written from the paper's description: a new network an iteration, an unrolled graph over `steps` steps, one segment at a time. It
is given the same experts' weights and images, and ours must give its gradient.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from curate.distill.matching import Batches, Plan, Window, losses_of
from curate.distill.networks import Network, build
from curate.distill.unroll import ENGINES, Segments, Student, Synthetic, Waypoint

CLASSES, RATE = 10, 0.05
STEPS, MEASURED = (5, 10, 20, 40), ("adjoint", "truncated", "unrolled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    lines = [f"torch {torch.__version__}, one thread of a shared CPU", ""]
    for part in (lambda: memory(out), speed):
        lines += part()
        print("\n".join(lines), flush=True)
        if out:
            out.write_text("\n".join(lines) + "\n")


class Problem:
    """`m` random images, `k` random experts and students of `steps` steps that see all images in every one."""

    def __init__(self, name: str, width: int, side: int, m: int, steps: int, k: int) -> None:
        draw = torch.Generator().manual_seed(0)
        self.name, self.width, self.shape, self.steps, self.k = name, width, (1, side, side), steps, k
        self.network = Network(lambda: build(name, self.shape, CLASSES, width))
        self.start = torch.stack([self.network.initial(i) for i in range(k)])
        self.target = self.start + 0.01 * torch.randn(self.start.shape, generator=draw)
        self.images = torch.randn(m, *self.shape, generator=draw)
        self.labels = torch.arange(m) % CLASSES

    def ours(self, engine: str) -> Tensor:
        plan = Plan(self.steps, 1, Window(0, 1, 1), 1, self.k, 0, (1.0, 0.0, 0.0))
        feed = Batches(plan, self.k, len(self.images), torch.device("cpu"), torch.Generator(), None)
        student = Student(losses_of(self.network), feed, written=self.network.derivatives)
        synthetic = Synthetic(self.images, functional.one_hot(self.labels, CLASSES).float(), torch.tensor(RATE))
        segments = Segments(self.start, [Waypoint(self.steps, self.target)])
        return ENGINES[engine](student, segments, synthetic, float("inf")).gradient.images

    def official(self) -> Tensor:
        total = torch.zeros_like(self.images)
        for start, target in zip(self.start, self.target, strict=True):
            module = build(self.name, self.shape, CLASSES, self.width)
            names, shapes = zip(*[(n, p.shape) for n, p in module.named_parameters()], strict=True)
            sizes = [shape.numel() for shape in shapes]
            images, rate = self.images.clone().requires_grad_(), torch.tensor(RATE, requires_grad=True)
            theta = start.clone().requires_grad_()
            for _ in range(self.steps):
                views = {n: p.view(s) for n, p, s in zip(names, theta.split(sizes), shapes, strict=True)}
                order = torch.randperm(len(images))
                loss = functional.cross_entropy(functional_call(module, views, (images[order],)), self.labels[order])
                theta = theta - rate * torch.autograd.grad(loss, theta, create_graph=True)[0]
            whole = functional.mse_loss(start, target, reduction="sum")
            (functional.mse_loss(theta, target, reduction="sum") / whole).backward()
            total += images.grad / self.k
        return total


def memory(out: Path | None) -> list[str]:
    lines = [
        "MB that one gradient took: ConvNet of width 16, 50 grey images of 28 x 28 a step, one segment",
        "  steps      adjoint   truncated    unrolled",
    ]
    grown = {steps: [forked(engine, steps) for engine in MEASURED] for steps in STEPS}
    lines += [f"  {steps:>5} " + " ".join(f"{value:>11.0f}" for value in values) for steps, values in grown.items()]
    if out:
        draw(grown, out.with_suffix(".png"))
    weights = 4 * Problem("convnet", 16, 28, 50, 1, 1).network.size / 2**20
    return [*lines, f"  of which the weights of the students' way: {weights:.3f} MB a step", ""]


def draw(grown: dict[int, list[float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(4.2, 3), layout="constrained")
    for engine, style, values in zip(MEASURED, ("o-", "s--", "^-"), zip(*grown.values(), strict=True), strict=True):
        axis.plot(list(grown), values, style, label=engine)
    axis.set(xlabel="student steps", ylabel="MB for one gradient", ylim=(0, None), xlim=(0, None))
    axis.set_title("ConvNet of width 16, 50 images of 28 x 28 a step", fontsize="medium")
    axis.legend()
    figure.savefig(path, dpi=80)


def forked(engine: str, steps: int) -> float:
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_grow, args=(engine, steps, send))
    child.start()
    grown: float = receive.recv()
    child.join()
    return grown


def _grow(engine: str, steps: int, send) -> None:
    problem = Problem("convnet", 16, 28, 50, steps, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    problem.ours(engine)
    send.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def speed() -> list[str]:
    lines = ["CPU seconds a segment (best of 3), with the ratio to the plain loop; `unrolled` is the default where its graph is below 1 GB"]
    for about, problem_of in (
        ("MLP 64-64-64-10, 10 images of 8 x 8, 20 steps", lambda k: Problem("mlp", 64, 8, 10, 20, k)),
        ("MLP 64-64-64-10, 100 images of 8 x 8, 20 steps", lambda k: Problem("mlp", 64, 8, 100, 20, k)),
        ("ConvNet of width 16, 10 images of 28 x 28, 10 steps", lambda k: Problem("convnet", 16, 28, 10, 10, k)),
    ):
        plain = best(problem_of(2).official) / 2
        lines.append(f"  {about}: plain loop {plain:.3f} s")
        for engine, k in (("adjoint", 1), ("adjoint", 2), ("adjoint", 8), ("unrolled", 8)):
            problem = problem_of(k)
            seconds = best(lambda problem=problem, engine=engine: problem.ours(engine)) / k
            lines.append(f"    {engine:<9} {k} side by side: {seconds:.4f} s, {plain / seconds:4.1f}x")
        problem = problem_of(2)
        difference = float((problem.ours("adjoint") - problem.official()).norm() / problem.official().norm())
        lines.append(f"    its gradient and ours differ by {difference:.1e}")
    return lines


def best(work: Callable[[], Tensor], turns: int = 3) -> float:
    seconds = []
    for _ in range(turns + 1):  # the first warms up
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds[1:])


if __name__ == "__main__":
    main()
