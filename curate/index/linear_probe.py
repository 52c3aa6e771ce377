"""A linear probe: each row's class probabilities by a linear model of the vectors that never saw the row.

Fisher 1936 in Rao's form for many classes: normal classes with one covariance, so that the fit is sums and one solved system, and exact.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError
from curate.rng import KeyedRandom

FOLDS: Final = 5
SHRINK: Final = 0.01  # of the mean variance, added to the covariance's diagonal, so that it can be inverted
_BLOCK: Final = 8192

Float64 = NDArray[np.float64]


def out_of_fold(vectors: NDArray[Any], labels: NDArray[np.int64], classes: int, seed: int = 0) -> NDArray[np.float32]:
    """Probabilities of every row by the model of the other four fifths, (n, classes) float32; NaN for a row without a vector.

    Which fifth a row is in is drawn by key. Rows without a label, below 0, are predicted and not learned from. A class that the other
    fifths lack has probability 0. Costs n d² and a system a fold. InputError for fewer labelled rows than folds.
    """
    usable = np.isfinite(vectors).all(axis=1)
    known = usable & (labels >= 0)
    if known.sum() < FOLDS:
        raise InputError(f"{known.sum()} rows have a vector and a label, fewer than the {FOLDS} folds of a linear probe. Add rows.")
    fold = (KeyedRandom(seed, "linear probe").uniform(np.arange(len(labels))) * FOLDS).astype(np.int64)
    sums = [_sums_of(vectors, labels, np.flatnonzero(known & (fold == i)), classes) for i in range(FOLDS)]
    found = np.full((len(labels), classes), np.nan, np.float32)
    for i in range(FOLDS):
        model = _solve(_added([part for j, part in enumerate(sums) if j != i]))
        rows = np.flatnonzero(usable & (fold == i))
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            found[some] = _softmax(vectors[some].astype(np.float64) @ model[0] + model[1])
    return found


class _Sums(NamedTuple):
    """What a linear discriminant needs: rows (classes,) and sums (classes, d) by class, and the sum of squares (d, d)."""

    rows: Float64
    total: Float64
    square: Float64


def _sums_of(vectors: NDArray[Any], labels: NDArray[np.int64], rows: NDArray[np.int64], classes: int) -> _Sums:
    d = vectors.shape[1]
    total, square = np.zeros((classes, d)), np.zeros((d, d))
    for start in range(0, len(rows), _BLOCK):
        some = rows[start : start + _BLOCK]
        x = vectors[some].astype(np.float64)
        member = np.zeros((classes, len(x)))
        member[labels[some], np.arange(len(x))] = 1
        total += member @ x
        square += x.T @ x
    return _Sums(np.bincount(labels[rows], minlength=classes).astype(np.float64), total, square)


def _added(parts: Sequence[_Sums]) -> _Sums:
    return _Sums(*(np.sum(each, axis=0) for each in zip(*parts, strict=True)))


def _solve(sums: _Sums) -> tuple[Float64, Float64]:
    """Weights (d, classes) and offsets (classes,) of the log posterior, up to what all classes share."""
    n, d = sums.rows.sum(), sums.square.shape[0]
    means = sums.total / np.maximum(sums.rows, 1)[:, None]
    within = (sums.square - (means * sums.rows[:, None]).T @ means) / max(1.0, n - (sums.rows > 0).sum())
    within[np.diag_indices(d)] += SHRINK * np.trace(within) / d + 1e-12
    weights = np.linalg.solve(within, means.T)
    with np.errstate(divide="ignore"):
        offset = np.log(sums.rows / n) - 0.5 * np.einsum("cd,dc->c", means, weights)
    return weights, offset


def _softmax(logits: Float64) -> Float64:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Float64 = e / e.sum(axis=1, keepdims=True)
    return found
