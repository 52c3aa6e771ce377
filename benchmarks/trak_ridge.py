"""TRAK's ridge: how well influence agrees with retraining, by the ridge, on other rows than those of attribution.py.

    python benchmarks/trak_ridge.py > benchmarks/results/trak_ridge.txt

600 rows and 100 targets of digits in two other orders, 40 random halves; logistic regressions of decay 1e-2 and 1e-3 at their minima, and
a perceptron of 32 units trained by Adam, two seeds a half; one model behind TRAK. The ridge is in units of the kernel's mean eigenvalue.
Linear datamodelling score. 75 CPU seconds of one thread, on a shared machine.

Result: a ridge of 1 to 3 is best or within 0.02 of it nearly everywhere, whatever the width, the decay and the model; 1 is the default.
None (1e-4) costs a quarter of the score at a width of 128 and more than half where the width comes near the number of rows.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from attribution import Vectors, weights_of
from sklearn.datasets import load_digits
from torch import nn

from curate.attribution import Attribution, lds
from curate.progress import Silent
from curate.scorers.gradients.trak import Trak
from curate.signals.subsets import fit_probes, log_odds_of, subset_masks
from curate.signals.sweep import sweep_rows

N, TARGETS, HALVES, HIDDEN = 600, 100, 40, 32
RIDGES = (1e-4, 1e-2, 3e-2, 0.1, 0.3, 1, 3, 10)


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'model':<16}{'rows':>6}{'width':>7}" + "".join(f"{ridge:>8g}" for ridge in RIDGES))
    for order in (1, 2):
        x, y, tx, ty = digits(order)
        masks, everything = subset_masks(np.arange(N), HALVES, 0.5, seed=1), np.ones((1, N), bool)
        for decay in (1e-2, 1e-3):
            outputs = log_odds_of(fit_probes(x, y, masks, 10, decay), tx, ty)
            weights = weights_of(fit_probes(x, y, everything, 10, decay)[0])
            for width in (128, 512):
                found = by_ridge(lambda: nn.Linear(64, 10), weights, (x, y), (tx, ty), masks, outputs, width)
                show(f"decay {decay:g}", order, width, found)
        outputs = np.mean([odds(perceptrons(x, y, masks, seed), tx, ty) for seed in (0, 1)], axis=0)
        weights = named(perceptrons(x, y, everything, 0))
        for width in (128, 512, 2048):
            show("perceptron", order, width, by_ridge(perceptron, weights, (x, y), (tx, ty), masks, outputs, width))


def show(title: str, order: int, width: int, found: list[float]) -> None:
    print(f"{title:<16}{order:>6}{width:>7}" + "".join(f"{value:>8.3f}" for value in found), flush=True)


def digits(order: int) -> tuple[np.ndarray, ...]:
    x, y = load_digits(return_X_y=True)
    drawn = np.random.default_rng(order).permutation(len(x))[: N + TARGETS]
    x, y = x[drawn].astype(np.float32), y[drawn].astype(np.int64)
    x = (x - x[:N].mean(axis=0)) / np.where(x[:N].std(axis=0) > 1e-6, x[:N].std(axis=0), 1)
    return x[:N], y[:N], x[N:], y[N:]


def by_ridge(
    make: Callable[[], nn.Module],
    weights: Mapping[str, torch.Tensor],
    rows: tuple,
    target: tuple,
    masks: np.ndarray,
    outputs: np.ndarray,
    width: int,
) -> list[float]:
    """The LDS at each ridge, of one sweep and one decomposition of the kernel."""
    scorer, seen = Trak(width=width, epochs=(1,)), []
    for inputs, labels in (rows, target):
        with Silent().task("visit", len(labels)) as task:
            places, device = np.arange(len(labels)), torch.device("cpu")
            seen.append(sweep_rows([scorer], make(), {1: weights}, {1: 0.1}, Vectors(inputs), places, labels, device, task)[0])
    features, others = (some["sketch"].astype(np.float64) for some in seen)
    spectrum, axes = np.linalg.eigh(features.T @ features)
    turned, found = features @ axes * seen[0]["miss"][:, None], []
    for ridge in RIDGES:
        influence = (turned / (spectrum + ridge * spectrum.mean())) @ (others @ axes).T
        found.append(lds(Attribution("trak", influence.astype(np.float32)).predicted(masks), outputs.astype(np.float64)).lds)
    return found


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))


def perceptrons(x: np.ndarray, y: np.ndarray, masks: np.ndarray, seed: int) -> list[torch.Tensor]:
    """One for each mask, all from the same start and trained at once: 250 steps of Adam on the mean loss of the mask's rows."""
    rng, count = torch.Generator().manual_seed(seed), len(masks)
    first, second = torch.randn(1, 64, HIDDEN, generator=rng) / 8, torch.randn(1, HIDDEN, 10, generator=rng) / HIDDEN**0.5
    start = [first, torch.zeros(1, 1, HIDDEN), second, torch.zeros(1, 1, 10)]
    weights = [value.repeat(count, 1, 1).requires_grad_() for value in start]
    share = torch.from_numpy((masks / masks.sum(axis=1, keepdims=True)).astype(np.float32))
    labels, optimizer = torch.from_numpy(y).repeat(count), torch.optim.Adam(weights, lr=5e-3)
    for _ in range(250):
        losses = nn.functional.cross_entropy(logits(weights, x).flatten(0, 1), labels, reduction="none").view(count, -1)
        optimizer.zero_grad()
        (losses * share).sum().backward()
        optimizer.step()
    return [value.detach() for value in weights]


def logits(weights: list[torch.Tensor], x: np.ndarray) -> torch.Tensor:
    """(models, rows, classes)."""
    inputs = torch.from_numpy(x)[None].expand(len(weights[0]), -1, -1)
    return torch.baddbmm(weights[3], torch.relu(torch.baddbmm(weights[1], inputs, weights[0])), weights[2])


def odds(weights: list[torch.Tensor], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    z = logits(weights, x)
    label = torch.from_numpy(y)[None, :, None].expand(len(z), -1, 1)
    return (z.gather(2, label)[..., 0] - z.scatter(2, label, -torch.inf).logsumexp(2)).numpy()


def named(weights: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The first model's, as the state of `perceptron()`."""
    found = [value[0].T.contiguous() for value in weights]
    return {"0.weight": found[0], "0.bias": found[1].reshape(-1), "2.weight": found[2], "2.bias": found[3].reshape(-1)}


if __name__ == "__main__":
    main()
