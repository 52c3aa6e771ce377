"""GraNd of ResNet-18 by ghost norms, by `vmap(grad)` and by one backward pass a row: time and memory.

    python benchmarks/ghost_memory.py > benchmarks/results/ghost_memory.txt

11.2 M parameters, random images of 28 x 28, made-up weights, one thread. Each way runs in a process of its own; memory is how much its peak
resident size rises above the size with model and images, in one batch. CPU seconds (`time.process_time`) of a second call, on a shared
machine. A minute or two.

Result: the same norms to seven figures. At 32 images ghost norms take 0.6 of the time of `vmap(grad)` and 0.4 of its memory (3.8 s, 818 MB,
against 6.1 s, 2,067 MB), and 0.8 of the time of the loop, whose memory is one row's.
"""

import resource
import subprocess
import sys
import time

import torch
from torch import nn

from curate.signals.ghost import GhostNorms, cross_entropy
from curate.signals.models import ResNet18

BATCHES, WAYS = (8, 32), ("ghost", "vmap", "loop")


def main() -> None:
    if len(sys.argv) == 3:
        print(measured(sys.argv[1], int(sys.argv[2])))
        return
    print(f"{'ResNet-18':<12}{'images':>7}{'CPU s':>8}{'MB more':>9}   mean norm")
    for b in BATCHES:
        for way in WAYS:
            made = subprocess.run([sys.executable, __file__, way, str(b)], capture_output=True, text=True, check=True)
            print(f"{way:<12}{b:>7}{made.stdout.rstrip()}", flush=True)


def measured(way: str, b: int) -> str:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x, y = ResNet18((1, 28, 28), 10).eval(), torch.randn(b, 1, 28, 28), torch.arange(b) % 10
    before = peak()
    norms = {"ghost": ghost, "vmap": mapped, "loop": loop}[way]
    found = norms(model, x, y)
    more, started = peak() - before, time.process_time()
    norms(model, x, y)
    return f"{time.process_time() - started:>8.1f}{more:>9.0f}   {float(found.sqrt().mean()):.6f}"


def peak() -> float:
    """The largest resident size so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ghost(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return GhostNorms(model)((x,), y, lambda i: (x[i : i + 1],))[1]


def mapped(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """All rows' gradients at once, as the official code forms them."""
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights: dict, one: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return cross_entropy(torch.func.functional_call(model, weights, (one[None],)), label[None])[0]

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(weights, x, y)
    return torch.stack([g.flatten(1).square().sum(dim=1) for g in each.values()]).sum(dim=0)


def loop(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    norms = []
    for i in range(len(y)):
        gradients = torch.autograd.grad(cross_entropy(model(x[i : i + 1]), y[i : i + 1]).sum(), list(model.parameters()))
        norms.append(torch.stack([g.square().sum() for g in gradients]).sum())
    return torch.stack(norms)


if __name__ == "__main__":
    main()
