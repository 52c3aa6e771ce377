"""DATM's learned labels against hard ones on the same images, at several rates: why `train_scale` follows the size of the set.

    python benchmarks/soft_labels.py --ipc 1        and: --ipc 10; both together are benchmarks/results/soft_labels.txt

Digits. The set is trained on at several rates, with and without momentum, for few and many steps, with its learned labels, with hard ones,
and with the learned ones sharpened (the power of two, renormalised). It chooses nothing: the presets' scales were chosen on train rows held
out (`_scale` in curate/distill/presets.py), .3 for one a class and 1 for DATM's ten. Found: at one a class the learned rate with momentum,
which is scale 1, costs learned labels four points that a rate a few times smaller does not, and hard ones less; at ten a class learned
labels do best there, and better than hard ones.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from distill_digits import accuracies, digits, distilled, error

from curate.distill.datm import DATM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--ipc", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data, test, labels = digits(Path(folder))
        found, _ = distilled(DATM(experts=10).settle(data, arguments.ipc, None), data, arguments.ipc)
    images, soft = data.transform.apply(torch.from_numpy(found.images)), torch.from_numpy(found.soft_labels)
    known = {
        "learned": soft,
        "hard": torch.eye(10)[torch.from_numpy(found.labels)],
        "sharpened": soft.square() / soft.square().sum(1, keepdim=True),
    }
    own = soft[torch.arange(len(soft)), torch.from_numpy(found.labels)]
    lines = [
        f"torch {torch.__version__}; {arguments.ipc} a class, rate {found.rate:.3f}; 6 MLPs, accuracy in %, mean +- standard error",
        f"the learned labels give their own class {own.mean():.2f} on average ({own.min():.2f} to {own.max():.2f})",
        "",
        f"{'rate':>6} {'momentum':>8} {'steps':>6} " + " ".join(f"{name:>13}" for name in known),
    ]
    for momentum in (0.0, 0.9):
        for rate in (0.01, 0.05, found.rate):
            for steps in (20, 100, 300):
                recipe = replace(found.training, lr=rate, momentum=momentum, steps=steps)
                each = [accuracies(images, one, recipe, test, labels, seed=7_000) for one in known.values()]
                cells = " ".join(f"{np.mean(one):6.1f} +- {error(one):3.1f}" for one in each)
                lines.append(f"{rate:6.3f} {momentum:8.1f} {steps:6d} {cells}")
    text = "\n".join(lines)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
