"""DPP: the rows whose kernel matrix has the largest determinant, picked greedily: good ones that are unlike each other.

Chen, Zhang, Zhou 2018, "Fast Greedy MAP Inference for Determinantal Point Process to Improve Recommendation Diversity"; official code
laming-chen/fast-map-dpp.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.draws import filled
from curate.errors import OptionError
from curate.index.vectors import BLOCK, Metric, Vectors, centred, placed, squared_norms, typical_distance
from curate.pool import wanted_score
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom
from curate.topk import average_ranks

Float64 = NDArray[np.float64]

_RANK: Final = 1e-10  # what is left of a row that lies in the span of the picked ones


class DPP:
    """Greedily maximises log det of the kernel of the picked, in the order picked, each of weight 1.

    Reads `embedding`, (n, d), and with `alpha` above 0 also `score`. The kernel is q_i·S_ij·q_j: S is exp(-d²/2σ²) with σ = `width` times
    the typical distance (`rbf`), or the inner product (`linear`), whose rank is at most d, so no more than d rows can be told apart; q =
    exp(alpha·rank), the rank of the score from 0 to 1 at the end that `keep` names. Once nothing is left to gain, the rest are drawn at
    random. `window` bounds the picks that a row must differ from to the last so many, as the paper does for long lists. Ties go to the
    lower row. Cost 2·n·k² and memory 8·n·k bytes; with `window` w 8·n·k·w and 8·n·w.
    """

    requires: Sequence[str] = ("embedding",)
    version = 1

    def __init__(
        self,
        *,
        kernel: Literal["rbf", "linear"] = "rbf",
        width: float = 0.5,
        alpha: float = 0.0,
        window: int | None = None,
        metric: Metric = "cosine",
    ) -> None:
        if not width > 0:
            raise OptionError(f"dpp: width must be above 0, got {width}.")
        if not alpha >= 0:
            raise OptionError(f"dpp: alpha must be 0 or more, got {alpha}; --keep low turns the score round.")
        if window is not None and window < 1:
            raise OptionError(f"dpp: window must be 1 or more, got {window}.")
        self.kernel: Literal["rbf", "linear"] = kernel
        self.width, self.alpha, self.window = width, alpha, window
        self.metric: Metric = metric
        self.requires = ("embedding", "score") if alpha > 0 else ("embedding",)

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, Float64]:
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        quality = np.exp(self.alpha * average_ranks(wanted_score(pool))) if self.alpha else np.ones(len(pool))
        vectors = placed(pool["embedding"], self.metric)
        rows = _Radial(vectors, self.width, quality) if self.kernel == "rbf" else _Linear(vectors, quality)
        return filled(greedy_map(rows, k, self.window), k, pool.rows, rng), np.ones(k)

    def work(self, n: int, d: int, k: int) -> float:
        return float(n * k * (d + min(k, 4 * (self.window or k))))

    def memory(self, n: int, d: int, k: int) -> int:
        return 8 * (n + min(n, BLOCK)) * d + 8 * n * min(k, self.window or k) + 60 * n


class _Radial:
    """The kernel exp(-d²/2σ²), a column at a time."""

    def __init__(self, vectors: Vectors, width: float, quality: Float64) -> None:
        self.vectors = centred(vectors)
        self.norms = squared_norms(self.vectors)
        self.scale = 2 * (width * typical_distance(self.vectors)) ** 2 or 1.0
        self.quality = quality
        self.diagonal: Float64 = quality**2

    def column(self, row: int) -> Float64:
        square = self.norms + self.norms[row] - 2 * (self.vectors @ self.vectors[row])
        square[row] = 0
        found: Float64 = np.exp(-np.maximum(square, 0).astype(np.float64) / self.scale) * self.quality * self.quality[row]
        return found


class _Linear:
    """The kernel of inner products, a column at a time."""

    def __init__(self, vectors: Vectors, quality: Float64) -> None:
        self.vectors = vectors.astype(np.float64) * quality[:, None]
        self.diagonal: Float64 = np.einsum("nd,nd->n", self.vectors, self.vectors)

    def column(self, row: int) -> Float64:
        found: Float64 = self.vectors @ self.vectors[row]
        return found


class Matrix:
    """A kernel that is there as a matrix, (n, n)."""

    def __init__(self, values: Float64) -> None:
        self.values = values
        self.diagonal: Float64 = values.diagonal().copy()

    def column(self, row: int) -> Float64:
        return self.values[:, row]


def greedy_map(kernel: _Radial | _Linear | Matrix, k: int, window: int | None = None) -> Rows:
    """Up to `k` rows, each adding most to the determinant given the last `window` picked ones (all of them); fewer once none adds.

    >>> greedy_map(Matrix(np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]])), 3).tolist()
    [0, 2, 1]
    """
    n, most = len(kernel.diagonal), min(k, window or k)
    factor = np.empty((most, n))  # column j of the Cholesky factor, over all rows, is factor[j]
    left = kernel.diagonal.copy()  # what each row would multiply the determinant by
    floor = _RANK * float(left.max(initial=0.0))
    taken = np.zeros(n, bool)
    picked: list[int] = []
    held: list[int] = []
    for _ in range(k):
        row = int(np.where(taken, -np.inf, left).argmax())
        if taken[row] or left[row] <= floor:
            break
        picked.append(row)
        taken[row] = True
        if len(held) == most and len(picked) < k:
            left = left + _forget_first(factor, held)
        if len(held) < most:
            size = len(held)
            rest = kernel.column(row) - factor[:size, row] @ factor[:size]
            factor[size] = rest / np.sqrt(max(left[row], floor))
            left = left - factor[size] ** 2
            held.append(row)
    return np.array(picked, np.int64)


def _forget_first(factor: Float64, held: list[int]) -> Float64:
    """Takes the first held row out of the factor, by rotations; gives back what every row's `left` grows by, (n,)."""
    first = factor[0].copy()
    held.pop(0)
    for j, row in enumerate(held):
        column = factor[j + 1]
        length = np.hypot(column[row], first[row])
        cosine, sine = column[row] / length, first[row] / length
        factor[j] = cosine * column + sine * first
        first = cosine * first - sine * column
    grown: Float64 = first**2
    return grown
