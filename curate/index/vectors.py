"""Vectors as the geometry wants them: float32, finite, of unit length where asked, and distances among them that do not cancel."""

from collections.abc import Iterable
from copy import copy
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.errors import ColumnError
from curate.protocols import Array, Rows

Vectors = NDArray[np.float32]
Metric = Literal["cosine", "euclidean"]

_ROUNDING: Final = 4e-6  # of a squared length of 1 in float32
BLOCK: Final = 8192  # rows worked on at a time, so that a block stays in cache beside its distances


def as_vectors(values: Array) -> Vectors:
    """(n, d) float32, finite; the input itself where it is that already.

    ColumnError for anything but a matrix of numbers with a column or more, and one that counts the rows with NaN or
    infinities, which no distance can place (in float16, infinite is what lay above 65504).
    """
    _require_places(values)
    return _float32(values)


def placed(values: Array, metric: Metric) -> Vectors:
    """Embeddings as `as_vectors` takes them, of length 1 under "cosine"; nearest under either metric is then by Euclidean distance."""
    return unit(as_vectors(values)) if metric == "cosine" else as_vectors(values)


class Placed:
    """What `placed` gives, read as it is asked for: of memory-mapped embeddings, of float16 too, no more is in memory than that.

    A row's numbers do not depend on which others are read with it. Raises as `placed` does, after one pass.

    >>> vectors = Placed(np.float32([[3, 4], [0, 0], [0, 5]]), "cosine")
    >>> vectors.shape, vectors[1:].tolist(), [round(x, 6) for x in mean_of(vectors).tolist()]
    ((3, 2), [[0.0, 0.0], [0.0, 1.0]], [0.2, 0.6])
    """

    def __init__(self, values: Array, metric: Metric) -> None:
        _require_places(values)
        self._values, self._metric = values, metric
        self._shift: Vectors | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._values), self._values.shape[1]

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, rows: slice | Rows) -> Vectors:
        vectors = _float32(self._values[rows])
        vectors = unit(vectors) if self._metric == "cosine" else vectors
        return vectors if self._shift is None else vectors - self._shift

    def moved(self, shift: Vectors) -> "Placed":
        """The same with `shift`, (d,), taken off every row."""
        moved = copy(self)
        moved._shift = shift
        return moved


def mean_of(vectors: "Vectors | Placed") -> Vectors:
    """The mean row, (d,) float32, summed in float64 a block at a time."""
    total = np.zeros(vectors.shape[1])
    for start in range(0, len(vectors), BLOCK):
        total += vectors[start : start + BLOCK].sum(axis=0, dtype=np.float64)
    mean: Vectors = (total / max(1, len(vectors))).astype(np.float32)
    return mean


def finite_rows(values: Array) -> NDArray[np.bool_]:
    """Which rows hold neither NaN nor an infinity, (n,), in float32, where all vectors end; a block of them is looked at at a time."""
    there = np.ones(len(values), bool)
    if values.dtype.kind == "f":
        for start in range(0, len(values), BLOCK):
            part = np.isfinite(_float32(values[start : start + BLOCK]))
            there[start : start + BLOCK] = part if part.ndim == 1 else part.all(axis=1)
    return there


def known(values: Array, metric: Metric) -> tuple[Array, Vectors]:
    """Which rows have a vector, (n,), and those vectors, `placed`."""
    there = finite_rows(values)
    return there, placed(values[there], metric)


def unit(vectors: Vectors) -> Vectors:
    """Each row over its length, (n, d) float32; a zero row stays zero, so that its similarity to every other is 0.

    A row that has length 1 already stays what it is to the bit, and rows that all have length 1 or 0 are given back as they
    are: other names for equal places would hide what is kept for them.
    """
    scaled = vectors
    for start in range(0, len(vectors), BLOCK):
        part = vectors[start : start + BLOCK]
        rows = _not_unit(part)
        if len(rows):
            if scaled is vectors:
                scaled = np.array(vectors, np.float32)
            scaled[start + rows] = _scaled(part[rows])
    return scaled


def _not_unit(vectors: Vectors) -> Rows:
    """Positions of the rows whose length is neither 1 nor 0."""
    with np.errstate(over="ignore"):
        rows = np.flatnonzero(np.abs(squared_norms(vectors) - 1) >= _ROUNDING)
    return rows[vectors[rows].any(axis=1)]  # squares of very small numbers are 0 too


def _scaled(vectors: Vectors) -> Vectors:
    largest = np.abs(vectors).max(axis=1, keepdims=True)  # squares of large numbers would overflow
    scaled: Vectors = np.divide(vectors, largest, dtype=np.float32)
    scaled /= np.sqrt(squared_norms(scaled))[:, None]
    return scaled


def _require_places(values: Array) -> None:
    if values.ndim != 2 or values.shape[1] == 0 or values.dtype.kind not in "fiub":
        raise ColumnError(
            f"Embeddings have shape {values.shape} and type {values.dtype}; numbers of shape (n, d) are expected. Embed again."
        )
    odd = int(np.count_nonzero(~finite_rows(values)))
    if odd:
        raise ColumnError(
            f"{odd} of {len(values)} rows have an embedding with NaN or infinite numbers"
            f"{' (float16 ends at 65504: embed in float32)' if values.dtype == np.float16 else ''}. Drop them first, or embed them again."
        )


def _float32(values: Array) -> Vectors:
    with np.errstate(over="ignore"):
        vectors: Vectors = np.ascontiguousarray(values, np.float32)
    return vectors


def centred(vectors: Vectors) -> Vectors:
    """The rows less their mean, (n, d) float32, a copy: distances are the same, but ‖x‖² + ‖y‖² - 2x·y no longer cancels."""
    moved: Vectors = vectors - mean_of(vectors)
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


def typical_distance(vectors: Vectors | Placed) -> float:
    """The root mean square distance between two rows, √2 times the root of their total variance; 0 where all are equal."""
    blocks = (vectors[start : start + BLOCK] for start in range(0, len(vectors), BLOCK))
    return spread_of(*sums_of(blocks, vectors.shape[1]), len(vectors))


def sums_of(blocks: Iterable[Vectors], d: int) -> tuple[NDArray[np.float64], float]:
    """Σ x, (d,), and Σ ‖x‖² over all blocks, in float64."""
    total, square = np.zeros(d), 0.0
    for block in blocks:
        total += block.sum(axis=0, dtype=np.float64)
        square += float(squared_norms(block).sum(dtype=np.float64))
    return total, square


def spread_of(total: NDArray[np.float64], square: float, n: int) -> float:
    """The root mean square distance of two of n rows with these sums."""
    centre = float(total @ total) / max(1, n) ** 2
    variance = max(square / max(1, n) - centre, 0.0)
    # Equal rows leave rounding of this order, which is no distance.
    return float(np.sqrt(2 * variance)) if variance > 1e-6 * centre else 0.0
