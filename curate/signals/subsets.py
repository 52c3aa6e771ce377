"""Models of random subsets: which rows each saw, and logistic regressions on all subsets at once, in one matrix product a step."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.rng import KeyedRandom

STEPS: Final = 2_000
CLOSE: Final = 1e-4  # of the gradient at the start, by which a step's gradient must have fallen
CELLS: Final = 1 << 24  # logits held at once

Floats = NDArray[np.float32]


def subset_masks(rows: NDArray[np.int64], count: int, share: float, seed: int, first: int = 0) -> NDArray[np.bool_]:
    """Which of the rows (n,) subsets first … first+count-1 hold, (count, n): ⌊share n⌉ each, drawn by row and subset number alone.

    >>> subset_masks(np.arange(4), 2, 0.5, seed=0).sum(axis=1)
    array([2, 2])
    """
    size = min(len(rows), max(1, round(share * len(rows))))
    masks = np.zeros((count, len(rows)), bool)
    for i in range(count):
        draw = KeyedRandom(seed, "subset", first + i).uniform(rows)
        masks[i, np.argpartition(draw, size - 1)[:size]] = True
    return masks


def with_bias(x: Floats) -> Floats:
    """(n, d + 1): a column of ones at the end."""
    return np.concatenate([np.asarray(x, np.float32), np.ones((len(x), 1), np.float32)], axis=1)


def fit_probes(x: Floats, y: NDArray[np.int64], masks: NDArray[np.bool_], classes: int, decay: float) -> Floats:
    """Multinomial logistic regressions on the rows of each mask, (count, d + 1, classes); their unique minima, to float32's precision.

    Each minimises the mean cross-entropy of its rows plus `decay` / 2 times the squared weights, the bias's included, by Nesterov's steps
    over all its rows. Cost: two products of n x d x (count x classes) a step, some hundred steps. Memory: a piece's logits, thrice.
    """
    inputs = with_bias(x)
    step = max(1, CELLS // (len(x) * classes))
    return np.concatenate([_minima(inputs, y, masks[i : i + step], classes, decay) for i in range(0, len(masks), step)])


def _minima(x: Floats, y: NDArray[np.int64], masks: NDArray[np.bool_], classes: int, decay: float) -> Floats:
    count, (n, d) = len(masks), x.shape
    share = (masks / masks.sum(axis=1, keepdims=True)).T.astype(np.float32)  # (n, count) a row's part of the mean
    onehot = np.eye(classes, dtype=np.float32)[y][:, None, :]
    # The softmax's curvature is at most 1/2; a subset's mean is at most the whole set's sum over its size.
    steepest = 0.5 * float(np.linalg.eigvalsh(x.T.astype(np.float64) @ x)[-1]) * float(share.max()) + decay
    momentum = (1 - (decay / steepest) ** 0.5) / (1 + (decay / steepest) ** 0.5)
    at = np.zeros((d, count, classes), np.float32)
    ahead, start = at, None
    for _ in range(STEPS):
        logits = (x @ ahead.reshape(d, -1)).reshape(n, count, classes)
        logits -= logits.max(axis=2, keepdims=True)
        p = np.exp(logits, out=logits)
        p /= p.sum(axis=2, keepdims=True)
        p -= onehot
        p *= share[:, :, None]
        gradient = (x.T @ p.reshape(n, -1)).reshape(d, count, classes) + np.float32(decay) * ahead
        length = float(np.abs(gradient).max())
        start = length if start is None else start
        after = ahead - np.float32(1 / steepest) * gradient
        ahead, at = after + np.float32(momentum) * (after - at), after
        if length <= CLOSE * start:
            break
    return at.transpose(1, 0, 2)


def log_odds_of(weights: Floats, x: Floats, y: NDArray[np.int64]) -> Floats:
    """log p / (1 - p) of each target's label under each model, (count, targets)."""
    count, d, classes = weights.shape
    logits = (with_bias(x) @ weights.transpose(1, 0, 2).reshape(d, -1)).reshape(len(x), count, classes)
    of_label = np.take_along_axis(logits, y[:, None, None], axis=2)[:, :, 0]
    np.put_along_axis(logits, y[:, None, None], -np.inf, axis=2)
    most = logits.max(axis=2)
    rest: Floats = of_label - (most + np.log(np.exp(logits - most[:, :, None]).sum(axis=2)))
    return rest.T
