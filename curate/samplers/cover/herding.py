"""Herding: each pick pulls the mean of the picked rows towards the mean of all.

Welling 2009, "Herding Dynamical Weights to Learn"; for classes of a training set Rebuffi et al. 2017, "iCaRL: Incremental Classifier and
Representation Learning", official code srebuffi/iCaRL.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.index.vectors import BLOCK, Vectors, as_vectors, unit
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom


class Herding:
    """Rows in the order picked, each of weight 1; use it with --per-class, as the papers do.

    Reads `embedding`, (n, d). `rule=welling` picks the row of largest ⟨w, x⟩, w starting at the mean and growing by mean - x;
    `rule=mean` the row that brings the mean of the picked nearest to the mean of all (iCaRL). Ties go to the lower row. The herding of
    DeepCore takes the farthest row instead and is not followed. Cost n·d·k; memory a float32 copy of the vectors, 4·n·d bytes.
    """

    requires = ("embedding",)
    version = 1

    def __init__(self, *, rule: Literal["welling", "mean"] = "welling", metric: Literal["cosine", "euclidean"] = "cosine") -> None:
        self.rule: Literal["welling", "mean"] = rule
        self.metric: Literal["cosine", "euclidean"] = metric

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        vectors = as_vectors(pool["embedding"])
        vectors = unit(vectors) if self.metric == "cosine" else vectors
        return (herd if self.rule == "welling" else match_mean)(vectors, k), np.ones(k)

    def work(self, n: int, d: int, k: int) -> float:
        return float(n * d * k)

    def memory(self, n: int, d: int, k: int) -> int:
        return 4 * n * d + 16 * min(n, BLOCK) * d + 48 * n


def herd(vectors: Vectors, k: int) -> Rows:
    """Welling's rule, (k,) int64.

    >>> herd(np.array([[1, 0], [0, 1], [-1, 0], [0.2, 0.2]], np.float32), 2).tolist()
    [1, 0]
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    return _greedy(vectors, k, 0, _products(vectors, mean), mean)


def match_mean(vectors: Vectors, k: int) -> Rows:
    """iCaRL's rule, (k,) int64: the least ‖mean - (picked + x) / i‖².

    >>> match_mean(np.array([[1, 0], [0, 1], [-1, 0], [0.2, 0.2]], np.float32), 2).tolist()
    [3, 1]
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    norms = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    return _greedy(vectors, k, norms, _products(vectors, mean), mean)


def _products(vectors: Vectors, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row's with the mean in float64, (n,), of which a block of rows is made at a time."""
    blocks = (vectors[start : start + BLOCK] @ mean for start in range(0, len(vectors), BLOCK))
    return np.concatenate([np.empty(0), *blocks])


def _greedy(vectors: Vectors, k: int, norms: NDArray[np.float64] | int, to_mean: NDArray[np.float64], mean: NDArray[np.float64]) -> Rows:
    """Both rules, each pick i from 1 on: Welling's gain ⟨i·mean - picked, x⟩; iCaRL's is twice that less ‖x‖²."""
    picked = np.empty(k, np.int64)
    free = np.zeros(len(vectors))
    overlap = np.zeros(len(vectors))  # ⟨picked, x⟩
    for i in range(1, k + 1):
        gain = (i * to_mean - overlap) * 2 - norms + free
        row = int(gain.argmax())
        picked[i - 1] = row
        free[row] = -np.inf
        overlap += vectors @ vectors[row]
    return picked
