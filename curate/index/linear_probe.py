"""A linear probe: each row's class probabilities by a linear model of the vectors that never saw the row.

Fisher 1936 in Rao's form for many classes: normal classes with one covariance, so that the fit is sums and one solved system, and exact.
"""

from collections.abc import Callable, Iterator, Sequence
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

    def member(rows: NDArray[np.int64]) -> Float64:
        return np.eye(classes)[labels[rows]]

    found = np.full((len(labels), classes), np.nan, np.float32)
    for sums, rows in _folds(vectors, member, usable, usable & (labels >= 0), seed):
        weights, offset = _solve(sums)
        for some in _blocks(rows):
            found[some] = _softmax(vectors[some].astype(np.float64) @ weights + offset)
    return found


def out_of_fold_sets(vectors: NDArray[Any], member: NDArray[np.bool_], known: NDArray[np.bool_], seed: int = 0) -> NDArray[np.float32]:
    """The probability that a row bears each class, (n, classes) float32, where it may bear several: a probe of two answers a class.

    `member` is (n, classes); rows that are not `known`, (n,), are predicted and not learned from. As `out_of_fold` else; costs a system
    a class and fold.
    """
    usable = np.isfinite(vectors).all(axis=1)

    def with_all(rows: NDArray[np.int64]) -> Float64:  # the last column bears every row
        return np.concatenate([member[rows], np.ones((len(rows), 1))], axis=1)

    found = np.full(member.shape, np.nan, np.float32)
    for sums, rows in _folds(vectors, with_all, usable, usable & known, seed):
        two = [_solve(_against_rest(sums, k)) for k in range(member.shape[1])]
        slope = np.stack([weights[:, 1] - weights[:, 0] for weights, _ in two], axis=1)  # (d, classes)
        offset = np.array([offset[1] - offset[0] for _, offset in two])
        for some in _blocks(rows):
            found[some] = 1 / (1 + np.exp(-np.clip(vectors[some].astype(np.float64) @ slope + offset, -60, 60)))
    return found


class _Sums(NamedTuple):
    """What a linear discriminant needs: rows (classes,) and sums (classes, d) by class, and the sum of squares (d, d)."""

    rows: Float64
    total: Float64
    square: Float64


def _folds(
    vectors: NDArray[Any], member: Callable[[NDArray[np.int64]], Float64], usable: NDArray[np.bool_], known: NDArray[np.bool_], seed: int
) -> Iterator[tuple[_Sums, NDArray[np.int64]]]:
    """For each fold the sums of the others' known rows, and its own usable rows; `member` gives the classes of rows, (k, classes)."""
    if known.sum() < FOLDS:
        raise InputError(f"{known.sum()} rows have a vector and a label, fewer than the {FOLDS} folds of a linear probe. Add rows.")
    fold = (KeyedRandom(seed, "linear probe").uniform(np.arange(len(usable))) * FOLDS).astype(np.int64)
    sums = [_sums_of(vectors, member, np.flatnonzero(known & (fold == i))) for i in range(FOLDS)]
    for i in range(FOLDS):
        yield _added([part for j, part in enumerate(sums) if j != i]), np.flatnonzero(usable & (fold == i))


def _sums_of(vectors: NDArray[Any], member: Callable[[NDArray[np.int64]], Float64], rows: NDArray[np.int64]) -> _Sums:
    d, classes = vectors.shape[1], member(rows[:0]).shape[1]
    count, total, square = np.zeros(classes), np.zeros((classes, d)), np.zeros((d, d))
    for some in _blocks(rows):
        x, bears = vectors[some].astype(np.float64), member(some)
        count += bears.sum(axis=0)
        total += bears.T @ x
        square += x.T @ x
    return _Sums(count, total, square)


def _blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))


def _against_rest(sums: _Sums, k: int) -> _Sums:
    """The sums of two classes, the rest and k, of sums whose last class is that of all rows."""
    rows, total = sums.rows[[-1, k]], sums.total[[-1, k]]
    return _Sums(rows - [rows[1], 0], total - [total[1], np.zeros_like(total[1])], sums.square)


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
