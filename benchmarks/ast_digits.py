"""AST on digits: how far smooth experts move and what it costs them, and every part switched off alone, at equal steps.

    python benchmarks/ast_digits.py --out benchmarks/results/ast_digits.txt

The digits that come with scikit-learn, 1,000 rows to learn from and 597 to test on, ten a class, the MLP of the preset with fewer experts.
An MLP has no convolutions, so that `perturb` changes nothing here and is left out.
Found: smooth experts move more, not less, by AST's whole recipe (a clipped loss alone makes them move less: tests/distill/test_ast.py),
and all on is as good as all off, not better. 45 CPU seconds of a shared machine.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from distill_digits import SPLIT, accuracies, digits, row

from curate.distill.ast_ import AST
from curate.distill.experts import obtain
from curate.rng import KeyedRandom

IPC, EXPERTS = 10, 8
BASE = AST(experts=EXPERTS, iterations=60, ema=0.0)
OFF = {"smooth": False, "representative": False, "balanced": False, "waypoints": False}


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
        for smooth, home in homes.items():
            home.folder.mkdir()
            lines.append(experts_line(replace(BASE, smooth=smooth), home, test, labels))
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


def experts_line(method: AST, data, test: torch.Tensor, labels: torch.Tensor) -> str:
    settled = method.settle(data, IPC, None)
    network = settled._network(data)
    experts = obtain(data, network, settled._architecture(data), settled.recipe(), settled.experts, settled.epochs, KeyedRandom(SPLIT))
    way = torch.stack([experts.read(range(experts.count), [t] * experts.count) for t in range(experts.epochs + 1)])
    moves = (way[1:] - way[:-1]).norm(dim=2).mean(1)  # (epochs,)
    right = (network.apply_many(experts.final(), test).argmax(2) == labels).double().mean(1)
    name = "smooth experts" if method.smooth else "plain experts"
    return (
        f"{name}: move {moves.mean():.3f} an epoch ({moves[:10].mean():.3f} in the first ten), "
        f"accuracy {100 * right.mean():.1f} +- {100 * right.std() / len(right) ** 0.5:.1f}"
    )


if __name__ == "__main__":
    main()
