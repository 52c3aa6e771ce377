"""What the gradient scorers find and cost: planted label flips on Fashion-MNIST, and CPU time beside the loops they replace.

    python benchmarks/gradient_scorers.py --data DIR_WITH_IDX_FILES --scores DIR > benchmarks/results/gradient_scorers.txt

2,000 images, a tenth of the labels flipped uniformly, the default ConvNet, 6 epochs, seed 0, one run for all scorers; AUROC of hardness.
Then, on the run's last weights and 256 images, CPU seconds (`time.process_time`, one thread, the better of two): GraNd by ghost norms
against `vmap(grad)` and one autograd call a row; VoG by one backward pass a batch against the published loop's one a row. About a minute.

Result on one core of a shared machine: tracin 0.957 and grand 0.918 find the flips (el2n 0.949, aum 0.989, random 0.505); VoG reads
below 0.3 in every form, as its docstring warns for so short a run. The row loop takes 1.8 to 2.3 times ghost norms' time and 3.8 to
4.0 times VoG's; for so small a network `vmap(grad)` is as fast as ghost norms (0.9 to 1.2 times), and what these save is memory.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from planted_noise import read_idx
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch import nn

import curate
from curate.progress import Silent
from curate.scorers.gradients.vog import VoG
from curate.signals.ghost import GhostNorms, explicit_norms
from curate.signals.models import ConvNet
from curate.signals.sweep import sweep_rows

SCORERS = [
    "grand", "grand_last", "tracin", "tracin_last=tracin:layers=last", "vog", "vog_prob=vog:output=prob",
    "vog_late=vog:output=prob,stage=late", "el2n", "aum", "random",
]  # fmt: skip
ROWS, TIMED, EPOCHS = 2_000, 256, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True, help="where the store goes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = (part[:ROWS] for part in read_idx(arguments.data, "train"))
    rng = np.random.default_rng(0)
    flipped = np.zeros(ROWS, bool)
    flipped[rng.choice(ROWS, ROWS // 10, replace=False)] = True
    noisy = np.where(flipped, (labels + rng.integers(1, 10, ROWS)) % 10, labels)
    scores = curate.score(curate.load((images, noisy)), SCORERS, epochs=EPOCHS, out=arguments.scores)
    print(f"Fashion-MNIST, {ROWS:,} images, a tenth of the labels flipped, ConvNet, {EPOCHS} epochs, seed 0: AUROC of hardness\n")
    for spec in SCORERS:
        name = spec.partition("=")[0] if "=" in spec.partition(":")[0] else spec
        sign = scores.about(name)["hard_sign"] or 1
        print(f"{name:<14}{roc_auc_score(flipped, sign * scores[name]):>8.3f}")
    costs(next((arguments.scores / "runs").iterdir()), images, noisy)


def costs(run: Path, images: np.ndarray, labels: np.ndarray) -> None:
    x = torch.from_numpy(images[:TIMED, None].astype(np.float32) / 255 - 0.5)
    y = torch.from_numpy(labels[:TIMED].astype(np.int64))
    weights = {e: load_file(str(run / "checkpoints" / f"epoch-{e:05d}.safetensors")) for e in range(4, EPOCHS + 1)}
    model = ConvNet((1, 28, 28), 10)
    model.load_state_dict(weights[EPOCHS])
    model.eval()
    ghost, every = GhostNorms(model), {name for name, _ in model.named_parameters()}
    ways = {
        "GraNd, ghost norms": lambda: torch.cat(
            [ghost((x[s : s + 128],), y[s : s + 128], lambda i: (x[i : i + 1],))[1] for s in range(0, TIMED, 128)]
        ),
        "GraNd, vmap(grad)": lambda: explicit_norms(model, (x,), y, every),
        "GraNd, a row at a time": lambda: loop_grand(model, x, y),
        "VoG, a batch at a time": lambda: swept_vog(model, x, y, weights),
        "VoG, a row at a time": lambda: loop_vog(model, x, y, weights),
    }
    print(f"\nCPU seconds for {TIMED} images, one thread, shared machine; VoG over {len(weights)} checkpoints\n")
    found, seconds = {}, {}
    for name, way in ways.items():
        taken = []
        for _ in range(2):
            started = time.process_time()
            found[name] = way()
            taken.append(time.process_time() - started)
        seconds[name] = min(taken)
        base = "GraNd, ghost norms" if name.startswith("GraNd") else "VoG, a batch at a time"
        difference = float(((found[name] - found[base]).abs() / found[base].abs().clamp_min(1e-12)).median())
        print(f"{name:<24}{seconds[name]:>8.2f} s   {seconds[name] / seconds[base]:>6.1f} x   median relative difference {difference:.0e}")


class Images:
    """Inputs that are a tensor, a row a row."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x, self.shape, self.failed = x, x.shape[1:], {}

    def batch(self, rows, augment=None):
        return (self.x[rows],)


def loop_grand(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    parameters, norms = list(model.parameters()), []
    for i in range(len(y)):
        gradients = torch.autograd.grad(nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), parameters)
        norms.append(sum(g.square().sum() for g in gradients))
    return torch.stack(norms)


def swept_vog(model: nn.Module, x: torch.Tensor, y: torch.Tensor, weights: dict) -> torch.Tensor:
    scorer, rates = VoG(epochs=tuple(weights)), dict.fromkeys(weights, 0.0)
    with Silent().task("visit", len(y)) as task:
        rows, device = np.arange(len(y)), torch.device("cpu")
        return torch.from_numpy(sweep_rows([scorer], model, weights, rates, Images(x), rows, y.numpy(), device, task)[0]["raw"])


def loop_vog(model: nn.Module, x: torch.Tensor, y: torch.Tensor, weights: dict) -> torch.Tensor:
    gradients = []
    for state in weights.values():
        model.load_state_dict(state)
        each = []
        for i in range(len(y)):
            row = x[i : i + 1].clone().requires_grad_()
            model(row)[0, y[i]].backward()
            each.append(row.grad[0].mean(dim=0))
        gradients.append(torch.stack(each))
    return torch.stack(gradients).std(dim=0, correction=0).mean(dim=(1, 2))


if __name__ == "__main__":
    main()
