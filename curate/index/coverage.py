"""How well chosen rows stand for all: coverage and density, radius, clusters, near-equal rows, spread; beside rows chosen at random.

Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models"; official code clovaai/generative-evaluation-prdc.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.index.kmeans import assign, default_clusters, kmeans
from curate.index.vectors import Vectors, as_vectors, squared_distances, typical_distance, unit
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

    `matrix` holds the vectors of all rows, (n, d); only those used are read. What stands for all is a probe of at most 5,000 candidates,
    fewer where many rows are picked. Memory 4·d bytes a picked row and as much again; a few seconds at most for any size.
    """
    probe_size = min(len(candidates), PROBE, max(500, PAIRS // max(1, len(picked))))
    probe = _read(matrix, candidates[np.sort(_drawn(candidates, probe_size, rng.child("probe")))])
    clusters = kmeans(probe, min(100, default_clusters(len(probe))), rng.child("clusters")).centroids
    random = candidates[np.sort(_drawn(candidates, len(picked), rng.child("random")))]
    kept = measures(probe, _read(matrix, picked), clusters) | {"effective_share": _effective(weights)}
    by_chance = measures(probe, _read(matrix, random), clusters) | {"effective_share": 1.0}
    return {"probe": len(probe), "clusters": len(clusters), "kept": _rounded(kept), "random": _rounded(by_chance)}


def measures(probe: Vectors, picked: Vectors, centroids: Vectors) -> dict[str, float]:
    """Of unit vectors: how the picked rows stand for the probe.

    `radius` is the distance of the probe's row that is farthest from any picked one, `distance` the mean; `coverage` the share of the
    probe that has a picked row within its own 5-th neighbour's distance, `density` how many such balls a picked row lies in, over 5;
    `clusters` the entropy of the picked rows over clusters, 1 where all get the same; `near_equal` the share of picked rows with another of
    cosine 0.99 or more; `spread` the root mean square distance between two picked rows.
    """
    k = min(NEIGHBOURS, len(probe) - 1)
    balls = radii(probe, k) if k else np.zeros(len(probe), np.float32)
    nearest, inside = _nearest(probe, picked, balls)
    return {
        "coverage": float(np.mean((nearest < balls) | (nearest == 0))),
        "density": float(inside / (max(k, 1) * len(picked))),
        "radius": float(np.sqrt(nearest.max())),
        "distance": float(np.sqrt(nearest).mean(dtype=np.float64)),
        "clusters": entropy(np.bincount(assign(picked, centroids)[0], minlength=len(centroids))),
        "near_equal": _near_equal(picked),
        "spread": typical_distance(picked),
    }


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


def _nearest(probe: Vectors, picked: Vectors, balls: Vectors) -> tuple[Vectors, int]:
    """Each probe row's squared distance to the nearest picked one, and how many (probe, picked) pairs lie within the probe's ball."""
    found = np.full(len(probe), np.inf, np.float32)
    inside = 0
    for start in range(0, len(picked), _BLOCK):
        gaps = squared_distances(picked[start : start + _BLOCK], probe)
        gaps[gaps < _ROUNDING] = 0
        inside += int(np.count_nonzero(gaps < balls))
        np.minimum(found, gaps.min(axis=0), out=found)
    return found, inside


_ROUNDING: Final = np.float32(1e-6)  # of squared distances between unit vectors in float32


def _near_equal(picked: Vectors) -> float:
    """The share of rows with another one nearly equal to them, of all against at most a probe of them."""
    step = max(1, -(-len(picked) // max(500, min(PROBE, PAIRS // max(1, len(picked))))))
    chosen = np.arange(0, len(picked), step)
    found = 0
    for start in range(0, len(chosen), _BLOCK):
        rows = chosen[start : start + _BLOCK]
        cosine = picked[rows] @ picked.T
        cosine[np.arange(len(rows)), rows] = -1
        found += int(np.count_nonzero((cosine >= NEAR).any(axis=1)))
    return found / max(1, len(chosen))


def _read(matrix: Array, rows: Rows) -> Vectors:
    return unit(as_vectors(matrix[rows]))


def _drawn(rows: Rows, k: int, rng: KeyedRandom) -> Rows:
    return top_k(rng.uniform(rows), min(k, len(rows)), largest=False)


def _effective(weights: NDArray[np.float64]) -> float:
    """(Σw)² / (n·Σw²): the share of equal weights that would tell as much."""
    return float(weights.sum() ** 2 / (weights**2).sum() / max(1, len(weights)))


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}
