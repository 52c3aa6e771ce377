"""What one sweep for several gradient scorers costs beside a sweep for each: VoG, GraNd, TracIn and GraNd-last on Fashion-MNIST.

    python benchmarks/sweep_cost.py --data DIR_WITH_IDX_FILES > benchmarks/results/sweep_cost.txt

256 images, six checkpoints of a run of six epochs (made-up weights: cost does not depend on them), CPU seconds (`time.process_time`,
one thread, the better of two), all in one process, on a shared machine. "as by default" lets every scorer choose its checkpoints (VoG all
six, TracIn five, GraNd and GraNd-last one); "the same checkpoints" gives all four the same five. Under a minute.

Result: over the same checkpoints all four together cost 44 % of the sum (ResNet-18: 47 %), within the goal of 60 %. With every scorer's own
default checkpoints, which lie on one grid so that none is visited twice, they cost 70 %, and no sharing makes that much less: GraNd and
GraNd-last look at one checkpoint of VoG's six, as their papers have it, so all there is to save is their pass and VoG's forward passes;
VoG's gradient is of the logit and TracIn's of the loss, two ways back that have nothing in common.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from planted_noise import read_idx

from curate.progress import Silent
from curate.scorers.gradients.grand import GraNd
from curate.scorers.gradients.grand_last import GraNdLast
from curate.scorers.gradients.tracin import TracIn
from curate.scorers.gradients.vog import VoG
from curate.signals.models import ConvNet, ResNet18
from curate.signals.sweep import sweep_rows

EPOCHS, REPEATS = 6, 2
SAME = (2, 3, 4, 5, 6)


class Images:
    """Inputs that are a tensor, a row a row."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x, self.shape, self.failed = x, x.shape[1:], {}

    def batch(self, rows, augment=None):
        return (self.x[rows],)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = (part[:256] for part in read_idx(arguments.data, "train"))
    by_default = {"vog": VoG(), "grand": GraNd(), "tracin": TracIn(), "grand_last": GraNdLast()}
    same = {"vog": VoG(epochs=SAME), "grand": GraNd(epochs=SAME), "tracin": TracIn(epochs=SAME), "grand_last": GraNdLast(epochs=SAME)}
    for title, network, n, scorers in (
        ("ConvNet, as by default", ConvNet, 256, by_default),
        ("ConvNet, the same checkpoints", ConvNet, 256, same),
        ("ResNet-18, the same checkpoints", ResNet18, 16, same),
    ):
        compare(title, network, images[:n], labels[:n], {name: one.settle(EPOCHS) for name, one in scorers.items()})


def compare(title: str, network: type, images: np.ndarray, labels: np.ndarray, scorers: dict) -> None:
    x = torch.from_numpy(images[:, None].astype(np.float32) / 255 - 0.5)
    weights = {}
    for epoch in range(1, EPOCHS + 1):
        torch.manual_seed(epoch)
        weights[epoch] = network((1, 28, 28), 10).state_dict()
    sets = {name: [one] for name, one in scorers.items()} | {"together": list(scorers.values())}
    seconds = dict.fromkeys(sets, float("inf"))
    for _ in range(REPEATS if network is ConvNet else 1):
        for name, some in sets.items():
            started = time.process_time()
            epochs = sorted({epoch for one in some for epoch in one.epochs})
            with Silent().task("visit", len(x)) as task:
                sweep_rows(
                    some, network((1, 28, 28), 10), {e: weights[e] for e in epochs}, dict.fromkeys(epochs, 0.1), Images(x),
                    np.arange(len(x)), labels, torch.device("cpu"), task,
                )  # fmt: skip
            seconds[name] = min(seconds[name], time.process_time() - started)
    alone = sum(value for name, value in seconds.items() if name != "together")
    print(f"{title}, {len(x)} images\n")
    for name, value in seconds.items():
        print(f"  {name:<12}{value:>7.2f} s")
    print(f"  sum of each{alone:>8.2f} s; together {seconds['together'] / alone:.0%} of it\n")


if __name__ == "__main__":
    main()
