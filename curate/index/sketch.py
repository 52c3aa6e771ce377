"""A count sketch of a set of vectors: how many of them lie near a point, from locality-sensitive hashes, in memory that does not grow.

Coleman & Shrivastava 2020, "Sub-linear RACE Sketches for Approximate Kernel Density Estimation on Streaming Data"; official code brc7/RACE.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.index.vectors import Placed, Vectors, squared_distances, squared_norms
from curate.protocols import Rows
from curate.rng import KeyedRandom

Kernel = Literal["l2", "l1", "angular"]
Counts = NDArray[np.int64]
Float64 = NDArray[np.float64]

_BLOCK: Final = 2048  # rows a matrix product takes, so that what it gives stays in cache
_ROWS: Final = 1 << 15  # rows counted at once: a histogram costs as much as its table, whatever it counts
_ODD: Final = np.uint32(0x9E3779B1)


@dataclass(frozen=True)
class Sketch:
    """The hash functions: `repeats` R of them, each `concat` m hashes mixed into one of `bins` W (a power of two).

    `kernel` names the collision probability k(x, y) that the counts estimate the sum of: "l2" and "l1" (p-stable hashes of
    `width` r; Datar et al. 2004), "angular" (m signs of projections;
    `width` is not used). Two sketches with equal fields have equal hashes,
    for the projections follow from `seed`.
    """

    d: int
    repeats: int
    concat: int
    bins: int
    width: float
    kernel: Kernel = "l2"
    seed: int = 0

    def empty(self) -> Counts:
        """No row yet, (R, W) int64: 8·R·W bytes. Counts of parts add up to those of the whole, and subtract again."""
        return np.zeros((self.repeats, self.bins), np.int64)

    def count(self, vectors: Vectors | Placed) -> Counts:
        """How many rows fall into each bin, (R, W) int64."""
        total = self.empty()
        for _, codes in self._codes(vectors):
            for own, theirs in zip(total, codes.T, strict=True):  # a hash at a time: its bins stay in cache
                own += np.bincount(theirs, minlength=self.bins)
        return total

    def density(self, vectors: Vectors | Placed, counts: Counts) -> Float64:
        """An estimate of Σ_x k(x, y) for each row y, (n,), 1 or more: a row of the set collides with itself.

        The mean count of the row's bins. With m > 1 hashed codes meet by accident in 1/W of the cases, which is taken off.
        """
        n = int(counts[0].sum())
        flat = counts.reshape(-1).astype(np.float32)
        found, first = np.empty(len(vectors)), np.arange(self.repeats) * self.bins
        for start, codes in self._codes(vectors):
            found[start : start + len(codes)] = flat.take(codes + first).mean(axis=1, dtype=np.float64)
        if self.concat > 1:
            found = (found - n / self.bins) / (1 - 1 / self.bins)
        return np.maximum(found, 1)

    def collision(self, distance: Float64) -> Float64:
        """k at a distance: Euclidean for "l2", city-block for "l1", the angle in radians for "angular"."""
        return collision_probability(distance, self.width, self.kernel) ** self.concat

    def _codes(self, vectors: Vectors | Placed) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """(first row, the bin of each hash (rows, R) int64) of blocks of rows."""
        projections, offsets = _hashes(self)
        for start in range(0, len(vectors), _ROWS):
            part = vectors[start : start + _ROWS]
            codes = np.empty((len(part), self.repeats), np.int64)
            for low in range(0, len(part), _BLOCK):
                values = part[low : low + _BLOCK] @ projections  # (rows, m·R), the m hashes of one repeat R columns apart
                codes[low : low + _BLOCK] = self._mixed(values, offsets)
            yield start, codes

    def _mixed(self, values: Vectors, offsets: Vectors) -> NDArray[np.uint32]:
        """The bins of m projections a repeat: for m = 1 the cell's number itself, which wraps; else a hash of all m."""
        if self.kernel == "angular":
            cells = (values > 0).astype(np.int32)
        else:
            values += offsets
            cells = np.floor(values, out=values).astype(np.int32)  # float32 cells beyond 2^31 are not met: width is of the data's size
        bits = cells.view(np.uint32)
        if self.concat == 1:
            return bits & np.uint32(self.bins - 1)
        mixed = np.zeros((len(bits), self.repeats), np.uint32)
        for j in range(self.concat):
            mixed += bits[:, j * self.repeats : (j + 1) * self.repeats]
            mixed *= _ODD
            mixed ^= mixed >> np.uint32(15)
        return (mixed * _ODD) >> np.uint32(33 - self.bins.bit_length())


def collision_probability(distance: Float64, width: float, kernel: Kernel) -> Float64:
    """The probability that one hash agrees on two rows at this distance (an angle in radians for "angular"); 1 at 0.

    >>> collision_probability(np.array([0.0, 1.0]), 1.0, "l2").round(6).tolist()
    [1.0, 0.368746]
    """
    from scipy.special import ndtr

    if kernel == "angular":
        return 1 - np.asarray(distance) / np.pi
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        t = width / np.asarray(distance, np.float64)
        if kernel == "l1":
            p = 2 * np.arctan(t) / np.pi - np.log1p(t * t) / (np.pi * t)
        else:
            p = 1 - 2 * ndtr(-t) - 2 / (np.sqrt(2 * np.pi) * t) * -np.expm1(-t * t / 2)
    found: Float64 = np.where(np.isfinite(t), p, 1.0)
    return found


def exact_density(sketch: Sketch, vectors: Vectors, block: int = 1024) -> Float64:
    """What `density` estimates, summed pair by pair, (n,): O(n²·d), for small sets and as the truth that the sketch is held to."""
    grid = np.linspace(0, 1, 1 << 14)
    total = np.empty(len(vectors))
    longest = _longest(sketch, vectors)
    table = sketch.collision(grid * longest)
    for start in range(0, len(vectors), block):
        distance = _distances(sketch, vectors[start : start + block], vectors)
        total[start : start + block] = np.interp(distance, grid * longest, table).sum(axis=1)
    return np.maximum(total, 1)


def _distances(sketch: Sketch, a: Vectors, b: Vectors) -> Float64:
    if sketch.kernel == "l1":
        from scipy.spatial.distance import cdist

        far: Float64 = cdist(a, b, "cityblock")
        return far
    if sketch.kernel == "l2":
        return np.sqrt(squared_distances(a, b)).astype(np.float64)
    lengths = np.sqrt(np.outer(squared_norms(a), squared_norms(b)).astype(np.float64))
    cosine = (a @ b.T) / np.where(lengths > 0, lengths, 1)
    return np.arccos(np.clip(cosine, -1, 1))


def _longest(sketch: Sketch, vectors: Vectors) -> float:
    if sketch.kernel == "angular":
        return float(np.pi)
    centre = np.abs(vectors - vectors.mean(axis=0))
    reach = centre.sum(axis=1) if sketch.kernel == "l1" else np.sqrt(squared_norms(centre))
    return 2 * float(reach.max(initial=0.0)) or 1.0


def _hashes(sketch: Sketch) -> tuple[Vectors, Vectors]:
    """Projections (d, m·R), already over the width, and offsets (m·R,) in 0 … 1."""
    rng, n = KeyedRandom(sketch.seed, "sketch", sketch.kernel), sketch.concat * sketch.repeats
    numbers: Rows = np.arange(sketch.d * n)
    first, second = rng.child("a").uniform(numbers), rng.child("b").uniform(numbers)
    if sketch.kernel == "l1":
        drawn = np.tan(np.pi * (first - 0.5))  # Cauchy
    else:
        drawn = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)  # Box-Muller
    width = 1.0 if sketch.kernel == "angular" else sketch.width
    offsets = rng.child("offset").uniform(np.arange(n))
    return (drawn / width).astype(np.float32).reshape(sketch.d, n), offsets.astype(np.float32)
