"""Vectors as the geometry wants them: float32, finite, of unit length where asked, and distances among them that do not cancel."""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.errors import ColumnError, OptionError
from curate.protocols import Array

Vectors = NDArray[np.float32]
Metric = Literal["cosine", "euclidean"]

_ROUNDING: Final = 4e-6  # of a squared length of 1 in float32
BLOCK: Final = 8192  # rows worked on at a time, so that a block stays in cache beside its distances


def as_vectors(values: Array) -> Vectors:
    """(n, d) float32, finite; the input itself where it is that already.

    ColumnError for anything but a matrix of numbers with a column or more; OptionError that counts the rows with NaN or
    infinities, which no distance can place (in float16, infinite is what lay above 65504).
    """
    if values.ndim != 2 or values.shape[1] == 0 or values.dtype.kind not in "fiub":
        raise ColumnError(
            f"Embeddings have shape {values.shape} and type {values.dtype}; numbers of shape (n, d) are expected. Embed again."
        )
    with np.errstate(over="ignore"):
        vectors: Vectors = np.ascontiguousarray(values, np.float32)
    odd = sum(int(np.count_nonzero(~np.isfinite(vectors[start : start + BLOCK]).all(axis=1))) for start in range(0, len(vectors), BLOCK))
    if odd:
        raise OptionError(
            f"{odd} of {len(vectors)} rows have an embedding with NaN or infinite numbers"
            f"{' (float16 ends at 65504: embed in float32)' if values.dtype == np.float16 else ''}. Drop them first, or embed them again."
        )
    return vectors


def placed(values: Array, metric: Metric) -> Vectors:
    """Embeddings as `as_vectors` takes them, of length 1 under "cosine"; nearest under either metric is then by Euclidean distance."""
    return unit(as_vectors(values)) if metric == "cosine" else as_vectors(values)


def known(values: Array, metric: Metric) -> tuple[Array, Vectors]:
    """Which rows have a vector, (n,), and those vectors, `placed`."""
    there: Array = np.ones(len(values), bool)
    if values.dtype.kind == "f":
        there &= np.isfinite(values).all(axis=1)
    return there, placed(values[there], metric)


def unit(vectors: Vectors) -> Vectors:
    """Each row over its length, (n, d) float32; a zero row stays zero, so that its similarity to every other is 0.

    Rows that all have length 1 or 0 already are given back as they are: other names for equal places would hide what is kept for them.
    """
    if _are_unit(vectors):
        return vectors
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)  # squares of large numbers would overflow
    scaled: Vectors = np.divide(vectors, np.where(largest > 0, largest, 1), dtype=np.float32)
    length = np.sqrt(np.einsum("nd,nd->n", scaled, scaled))
    scaled /= np.where(length > 0, length, np.float32(1))[:, None]
    return scaled


def _are_unit(vectors: Vectors) -> bool:
    if not len(vectors):
        return True
    with np.errstate(over="ignore"):
        square = squared_norms(vectors)
    short = np.abs(square - 1) >= _ROUNDING
    return not vectors[short].any() if short.mean() < 0.5 else False  # squares of very small numbers are 0 too


def centred(vectors: Vectors) -> Vectors:
    """The rows less their mean, (n, d) float32, a copy: distances are the same, but ‖x‖² + ‖y‖² - 2x·y no longer cancels."""
    moved: Vectors = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    return moved


def squared_norms(vectors: Vectors) -> Vectors:
    """‖x‖² a row, (n,) float32."""
    norms: Vectors = np.einsum("nd,nd->n", vectors, vectors)
    return norms


def squared_distances(a: Vectors, b: Vectors) -> Vectors:
    """‖a - b‖² of every pair, (n, m) float32, never below 0. One matrix product; pass centred vectors."""
    found: Vectors = a @ b.T
    found *= -2
    found += squared_norms(a)[:, None]
    found += squared_norms(b)
    return np.maximum(found, 0, out=found)


def typical_distance(vectors: Vectors) -> float:
    """The root mean square distance between two rows, √2 times the root of their total variance; 0 where all are equal."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    square = max(float(squared_norms(vectors).mean(dtype=np.float64)) - float(mean @ mean), 0.0)
    # Equal rows leave rounding of this order, which is no distance.
    return float(np.sqrt(2 * square)) if square > 1e-6 * max(float(mean @ mean), 0.0) else 0.0
