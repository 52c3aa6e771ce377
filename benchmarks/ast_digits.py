"""AST on digits: what each half of its smoothing does to experts, and every part switched off alone, at equal steps.

    python benchmarks/ast_digits.py --out benchmarks/results/ast_digits.txt

The digits that come with scikit-learn, 1,000 rows to learn from and 597 to test on. Experts: the MLP of the preset and a ConvNet of width
8, with AST's momentum, weight decay and decay throughout; plain, with the clipped loss alone, with the gradient penalty alone, with both.
An expert's move is the distance between its weights after two epochs; its unevenness is the largest move over the mean one; a turn is the
angle between two moves in a row; the slope is the mean length of an input gradient, which the penalty pulls to 1. Sets: ten a class, the
MLP with fewer experts; it has no convolutions, so that `perturb` changes nothing here and is left out.
Found: the clipped loss makes experts move a quarter less in its ten epochs, more evenly and straighter. The penalty does what its formula
says, it pulls slopes from .1 to 1, and for that weights must grow: experts move more. So does the whole, and all on is as good as all off.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from distill_digits import SPLIT, accuracies, digits, row

from curate.distill.ast_ import AST, CLIPPED_EPOCHS, PENALTY
from curate.distill.experts import obtain
from curate.rng import KeyedRandom

IPC, EXPERTS = 10, 8
BASE = AST(experts=EXPERTS, iterations=60, ema=0.0)
OFF = {"smooth": False, "representative": False, "balanced": False, "waypoints": False}
HALVES = {
    "plain": {"clip_epochs": 0, "penalty": 0.0},
    "clipped loss": {"clip_epochs": CLIPPED_EPOCHS, "penalty": 0.0},
    "penalty": {"clip_epochs": 0, "penalty": PENALTY},
    "both (smooth)": {"clip_epochs": CLIPPED_EPOCHS, "penalty": PENALTY},
}
KINDS = {"mlp": BASE, "convnet": replace(BASE, network="convnet", width=8, experts=4, epochs=20)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    started = time.process_time()
    lines = [f"torch {torch.__version__}, one thread of a shared CPU", ""]
    with tempfile.TemporaryDirectory() as folder:
        data, test, labels = digits(Path(folder))
        variants = {"all on": BASE, **{f"without {name}": replace(BASE, **{name: False}) for name in OFF}, "all off": replace(BASE, **OFF)}
        homes = {smooth: replace(data, folder=Path(folder) / str(smooth)) for smooth in (True, False)}
        for kind, method in KINDS.items():
            lines += [*experts_lines(kind, method, data, test, labels, Path(folder)), ""]
            print("\n".join(lines[-6:]), flush=True)
        for home in homes.values():
            home.folder.mkdir()
        for name, method in variants.items():
            home = homes[method.smooth]
            (home.folder / "matching.safetensors").unlink(missing_ok=True)
            made = method.settle(home, IPC, None).distill(home, IPC, KeyedRandom(SPLIT))
            x = home.transform.apply(torch.from_numpy(made.images))
            lines.append(row(name, accuracies(x, torch.eye(10)[torch.from_numpy(made.labels)], made.training, test, labels, seed=7_000)))
            print("\n".join(lines[-1:]), flush=True)
            if out:
                out.write_text("\n".join(lines) + "\n")
    lines.append(f"\nall of this: {time.process_time() - started:.0f} CPU s")
    print("\n".join(lines))
    if out:
        out.write_text("\n".join(lines) + "\n")


def experts_lines(kind: str, method: AST, data, test: torch.Tensor, labels: torch.Tensor, folder: Path) -> Iterator[str]:
    settled = method.settle(data, IPC, None)
    network = settled._network(data)
    yield f"{settled.experts} experts, {kind}, {settled.epochs} epochs; move in the first ten, in all; unevenness, turn, slope, accuracy"
    for name, half in HALVES.items():
        home = replace(data, folder=folder / f"{kind} {name}")
        home.folder.mkdir()
        recipe = replace(settled.recipe(), **half)
        experts = obtain(home, network, settled._architecture(data), recipe, settled.experts, settled.epochs, KeyedRandom(SPLIT))
        way = torch.stack([experts.read(range(experts.count), [t] * experts.count) for t in range(experts.epochs + 1)])
        steps = way[1:] - way[:-1]  # (epochs, experts, size)
        moves = steps.norm(dim=2)
        turn = torch.cosine_similarity(steps[1:], steps[:-1], dim=2).clamp(-1, 1).acos().rad2deg().mean()
        right = (network.apply_many(experts.final(), test).argmax(2) == labels).double().mean(1)
        yield (
            f"  {name:<16} {moves[:10].mean():.3f}  {moves.mean():.3f}   {(moves.amax(0) / moves.mean(0)).mean():5.2f}   "
            f"{turn:4.0f} deg   {slope(network, experts.final(), test):.3f}   "
            f"{100 * right.mean():.1f} +- {100 * right.std() / len(right) ** 0.5:.1f}"
        )


def slope(network, thetas: torch.Tensor, x: torch.Tensor) -> float:
    """The mean length, over images and places, of the gradient of the sum of logits."""
    x = x.clone().requires_grad_()
    logits = torch.stack([network.apply(theta, x).sum() for theta in thetas])
    lengths = [torch.autograd.grad(one, x, retain_graph=True)[0].norm(dim=1).mean() for one in logits]
    return float(torch.stack(lengths).mean())


if __name__ == "__main__":
    main()
