"""How well chosen rows stand for all: coverage and density, radius, clusters, near-equal rows, spread; beside rows chosen at random.

Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models"; official code clovaai/generative-evaluation-prdc.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.index.kmeans import assign, default_clusters, kmeans
from curate.index.vectors import Vectors, as_vectors, spread_of, squared_distances, sums_of, unit
from curate.protocols import Array, Rows
from curate.rng import KeyedRandom
from curate.topk import top_k

PROBE: Final = 5000  # rows that stand for all, at most
PAIRS: Final = 400_000_000  # distances worth computing, at most: a few seconds
NEAR: Final = 0.99  # cosine from which two rows count as nearly equal
NEIGHBOURS: Final = 5  # the k of density and coverage, the paper's
_BLOCK: Final = 1024


def report(matrix: Array, picked: Rows, candidates: Rows, weights: NDArray[np.float64], rng: KeyedRandom) -> dict[str, Any]:
    """The measures of `picked` under "kept" and of as many candidates drawn at random under "random"; vectors count by direction.

    `matrix` holds the vectors of all rows, (n, d); only those used are read, a block at a time. What stands for all is a probe of at most
    5,000 candidates, fewer where many rows are picked. Memory 16 bytes a candidate; a few seconds up to a million picked rows.
    """
    probe_size = min(len(candidates), PROBE, max(500, PAIRS // max(1, len(picked))))
    probe = _read(matrix, candidates[np.sort(_drawn(candidates, probe_size, rng.child("probe")))])
    clusters = kmeans(probe, min(100, default_clusters(len(probe))), rng.child("clusters")).centroids
    random = candidates[np.sort(_drawn(candidates, len(picked), rng.child("random")))]
    kept = measures(probe, _Chosen(matrix, picked), clusters) | {"effective_share": _effective(weights)}
    by_chance = measures(probe, _Chosen(matrix, random), clusters) | {"effective_share": 1.0}
    return {"probe": len(probe), "clusters": len(clusters), "kept": _rounded(kept), "random": _rounded(by_chance)}


class _Chosen:
    """Some rows of a matrix, of length 1, read as they are asked for."""

    def __init__(self, matrix: Array, rows: Rows) -> None:
        self._matrix, self._rows = matrix, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, places: slice | Rows) -> Vectors:
        return _read(self._matrix, self._rows[places])


def measures(probe: Vectors, picked: Vectors | _Chosen, centroids: Vectors) -> dict[str, float]:
    """Of unit vectors: how the picked rows stand for the probe.

    `radius` is the distance of the probe's row that is farthest from any picked one, `distance` the mean; `coverage` the share of the
    probe that has a picked row within its own 5-th neighbour's distance, `density` how many such balls a picked row lies in, over 5;
    `clusters` the entropy of the picked rows over clusters, 1 where all get the same; `near_equal` the share of picked rows with another of
    cosine 0.99 or more; `spread` the root mean square distance between two picked rows.
    """
    k = min(NEIGHBOURS, len(probe) - 1)
    balls = radii(probe, k) if k else np.zeros(len(probe), np.float32)
    nearest, inside = np.full(len(probe), np.inf, np.float32), 0
    sizes, total, square = np.zeros(len(centroids), np.int64), np.zeros(probe.shape[1]), 0.0
    some = np.arange(0, len(picked), _stride(len(picked)))
    alike = _Alike(picked[some], some)
    for start in range(0, len(picked), _BLOCK):
        block = picked[start : start + _BLOCK]
        gaps = squared_distances(block, probe)
        gaps[gaps < _ROUNDING] = 0
        inside += int(np.count_nonzero(gaps < balls))
        np.minimum(nearest, gaps.min(axis=0), out=nearest)
        sizes += np.bincount(assign(block, centroids)[0], minlength=len(centroids))
        own, own_square = sums_of([block], probe.shape[1])
        total, square = total + own, square + own_square
        alike.meet(block, start)
    return {
        "coverage": float(np.mean((nearest < balls) | (nearest == 0))),
        "density": float(inside / (max(k, 1) * len(picked))),
        "radius": float(np.sqrt(nearest.max())),
        "distance": float(np.sqrt(nearest).mean(dtype=np.float64)),
        "clusters": entropy(sizes),
        "near_equal": alike.share,
        "spread": spread_of(total, square, len(picked)),
    }


class _Alike:
    """Whether some of the picked rows, at `places` among them, have another that is nearly equal."""

    def __init__(self, vectors: Vectors, places: Rows) -> None:
        self._vectors, self._places = vectors, places
        self._found = np.zeros(len(places), bool)

    def meet(self, block: Vectors, start: int) -> None:
        """The picked rows from `start` on."""
        for first in range(0, len(self._vectors), _BLOCK):
            cosine = self._vectors[first : first + _BLOCK] @ block.T
            places = self._places[first : first + _BLOCK] - start
            inside = np.flatnonzero((places >= 0) & (places < len(block)))
            cosine[inside, places[inside]] = -1  # itself
            self._found[first : first + _BLOCK] |= (cosine >= NEAR).any(axis=1)

    @property
    def share(self) -> float:
        return float(self._found.sum() / max(1, len(self._found)))


def _stride(n: int) -> int:
    """Every which of n picked rows is compared with all others."""
    return max(1, -(-n // max(500, min(PROBE, PAIRS // max(1, n)))))


def prdc(real: Vectors, fake: Vectors, k: int) -> dict[str, float]:
    """Precision, recall, density and coverage of `fake` rows against `real` ones, by balls that reach to the k-th neighbour, strictly
    inside.

    >>> real, fake = np.float32([[0], [1], [2], [3]]), np.float32([[0.1], [0.2], [10]])
    >>> {name: round(value, 6) for name, value in prdc(real, fake, 1).items()}
    {'precision': 0.666667, 'recall': 0.75, 'density': 1.333333, 'coverage': 0.5}
    """
    mean = real.mean(axis=0, dtype=np.float64).astype(np.float32)
    real, fake = real - mean, fake - mean
    real_ball, fake_ball = radii(real, k), radii(fake, k)
    in_real = np.zeros(len(fake), np.int64)
    recalled = covered = 0
    for start in range(0, len(real), _BLOCK):
        gaps = squared_distances(real[start : start + _BLOCK], fake)
        inside = gaps < real_ball[start : start + _BLOCK, None]
        in_real += inside.sum(axis=0)
        covered += int(np.count_nonzero(inside.any(axis=1)))
        recalled += int(np.count_nonzero((gaps < fake_ball).any(axis=1)))
    return {
        "precision": float(np.mean(in_real > 0)),
        "recall": recalled / len(real),
        "density": float(in_real.mean() / k),
        "coverage": covered / len(real),
    }


def radii(vectors: Vectors, k: int) -> Vectors:
    """The squared distance of each row's k-th nearest other row, (n,) float32."""
    found = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        gaps = squared_distances(vectors[start : start + _BLOCK], vectors)
        here = np.arange(len(gaps))
        gaps[here, start + here] = -1  # itself comes first, equal rows or not
        found[start : start + _BLOCK] = np.partition(gaps, k, axis=1)[:, k]
    return found


def entropy(counts: Array) -> float:
    """The entropy of a histogram over its largest possible value, 0 … 1; 1 for a single bin.

    >>> entropy(np.array([5, 5])), entropy(np.array([7, 0]))
    (1.0, 0.0)
    """
    if len(counts) < 2:
        return 1.0
    p = counts[counts > 0] / counts.sum()
    return abs(float(-(p * np.log(p)).sum() / np.log(len(counts))))


_ROUNDING: Final = np.float32(1e-6)  # of squared distances between unit vectors in float32


def _read(matrix: Array, rows: Rows) -> Vectors:
    return unit(as_vectors(matrix[rows]))


def _drawn(rows: Rows, k: int, rng: KeyedRandom) -> Rows:
    return top_k(rng.uniform(rows), min(k, len(rows)), largest=False)


def _effective(weights: NDArray[np.float64]) -> float:
    """(Σw)² / (n·Σw²): the share of equal weights that would tell as much."""
    return float(weights.sum() ** 2 / (weights**2).sum() / max(1, len(weights)))


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}
