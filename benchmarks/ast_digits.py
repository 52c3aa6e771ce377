"""AST on digits: what each half of its smoothing does to experts, and every part switched off alone, at equal steps.

    python benchmarks/ast_digits.py --out benchmarks/results/ast_digits.txt

The digits that come with scikit-learn, 1,000 rows to learn from and 597 to test on. Experts: the MLP of the preset and a ConvNet of width
8, with AST's momentum, weight decay and decay throughout; plain, with the clipped loss alone, with the gradient penalty alone, with both,
from the same first weights and in the same orders, so that accuracies are compared expert by expert. The loss is clipped for a fifth of
the epochs. An expert's move is the distance between its weights after two epochs; its unevenness is the largest move over the mean one; a
turn is the angle between two moves in a row; the slope is the mean length of an input gradient, which the penalty pulls to 1. Sets: ten a
class, the MLP with fewer experts; it has no convolutions, so that `perturb` changes nothing here and is left out.
Found: the clipped loss is what smooths: experts move 30 to 40 % less an epoch while it lasts, at no more than half a point. The penalty, in
the official form, pulls slopes from .1 to 1, for which weights must grow: experts with it move more, and so do those with both. Measured by
what it is for it pays none the less: sets are worse without either half. All on is as good as all off.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from distill_digits import SPLIT, accuracies, digits, error, folder_of, kept, row
from torch import Tensor

from curate.distill.ast_ import AST
from curate.distill.experts import obtain
from curate.distill.images import Images
from curate.rng import KeyedRandom

IPC, SETS = 10, 2
BASE = AST(experts=5, iterations=60)
OFF = {"clip": False, "penalty": 0.0, "representative": False, "balanced": False, "waypoints": False}
HALVES = {
    "plain": {"clip": False, "penalty": 0.0},
    "clipped loss": {"clip": True, "penalty": 0.0},
    "penalty": {"clip": False, "penalty": 2.0},
    "both": {"clip": True, "penalty": 2.0},
}
KINDS = {"mlp": BASE, "convnet": replace(BASE, network="convnet", width=8, epochs=20)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--dir", type=Path, default=None, help="where experts, sets and accuracies are kept: run again, it goes on")
    arguments = parser.parse_args()
    out = arguments.out
    torch.set_num_threads(1)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        data, test, labels = digits(arguments.dir or Path(folder))
        lines = [f"torch {torch.__version__}, one thread of a shared CPU", ""]
        for part in (experts(data, test, labels), sets(data, test, labels)):
            for line in part:
                lines.append(line)
                print(line, flush=True)
                if out:
                    out.write_text("\n".join(lines) + "\n")
    lines.append(f"\nall of this: {time.process_time() - started:.0f} CPU s")
    if out:
        out.write_text("\n".join(lines) + "\n")


def experts(data: Images, test: Tensor, labels: Tensor) -> Iterator[str]:
    for kind, method in KINDS.items():
        settled = method.settle(data, IPC, None)
        clipped = settled.recipe().clip_epochs
        told = f"move in the first {clipped}, in all, unevenness, turn, slope, accuracy"
        yield f"{settled.experts} experts, {kind}, {settled.epochs} epochs: {told}"
        plain = None
        for name, half in HALVES.items():
            one = replace(settled, **half)
            network, home = one._network(data), folder_of(data, f"{kind} {name}")
            found = obtain(home, network, one._architecture(data), one.recipe(), one.experts, one.epochs, KeyedRandom(SPLIT))
            way = torch.stack([found.read(range(found.count), [t] * found.count) for t in range(found.epochs + 1)])
            steps = way[1:] - way[:-1]  # (epochs, experts, size)
            moves = steps.norm(dim=2)
            turn = torch.cosine_similarity(steps[1:], steps[:-1], dim=2).clamp(-1, 1).acos().rad2deg().mean()
            right = 100 * (network.apply_many(found.final(), test).argmax(2) == labels).double().mean(1).numpy()
            plain = right if plain is None else plain
            minus = "" if plain is right else f", {(right - plain).mean():+.1f} +- {error(right - plain):.1f} by the plain ones"
            yield (
                f"  {name:<16} {moves[:clipped].mean():.3f}  {moves.mean():.3f}   {(moves.amax(0) / moves.mean(0)).mean():5.2f}   "
                f"{turn:4.0f} deg   {slope(network, found.final(), test):.3f}   {right.mean():.1f}{minus}"
            )
        yield ""


def sets(data: Images, test: Tensor, labels: Tensor) -> Iterator[str]:
    yield f"{SETS} sets of {IPC} a class by the MLP, with experts of their own; accuracy in %, over sets and networks"
    without = {f"without {name}": replace(BASE, **{name: off}) for name, off in OFF.items()}
    variants = {"all on": BASE, "all off": replace(BASE, **OFF), **without}
    for name, method in variants.items():
        each: list[float] = []
        for number in range(SETS):
            experts_of = folder_of(data, f"{method.clip} {method.penalty} {number}")  # which other variants share
            settled = method.settle(data, IPC, None)
            network = settled._network(data)
            obtain(
                experts_of,
                network,
                settled._architecture(data),
                settled.recipe(),
                settled.experts,
                settled.epochs,
                KeyedRandom(SPLIT + number),
            )
            home = folder_of(data, f"{name} {number}", experts_of)
            each += kept(home, "accuracies", lambda settled=settled, home=home, number=number: judged(settled, home, number, test, labels))
        if name == "all on":
            whole = each
        gap = np.array(whole) - np.array(each)
        yield row(name, each) + ("" if each is whole else f"   all on minus this: {gap.mean():+.1f} +- {error(gap):.1f}")


def judged(method: AST, home: Images, number: int, test: Tensor, labels: Tensor) -> list[float]:
    made = method.distill(home, IPC, KeyedRandom(SPLIT + number))
    x = home.transform.apply(torch.from_numpy(made.images))
    return accuracies(x, torch.eye(10)[torch.from_numpy(made.labels)], made.training, test, labels, seed=7_000)


def slope(network, thetas: torch.Tensor, x: torch.Tensor) -> float:
    """The mean length, over images and places, of the gradient of the sum of logits."""
    x = x.clone().requires_grad_()
    logits = torch.stack([network.apply(theta, x).sum() for theta in thetas])
    lengths = [torch.autograd.grad(one, x, retain_graph=True)[0].norm(dim=1).mean() for one in logits]
    return float(torch.stack(lengths).mean())


if __name__ == "__main__":
    main()
