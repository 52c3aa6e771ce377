"""k-center greedy: each pick is the row farthest from all picked before, so that every row has one of them near.

Gonzalez 1985, "Clustering to Minimize the Maximum Intercluster Distance"; for training sets Sener & Savarese 2018, "Active Learning for
Convolutional Neural Networks: A Core-Set Approach", official code ozansener/active_learning_coreset.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.errors import OptionError
from curate.index.vectors import Vectors, centred, placed, squared_norms
from curate.protocols import Array, Pool, Rows
from curate.rng import KeyedRandom

_PART: Final = 16  # one row in so many is among the farthest
_LEAST: Final = 256
_BLOCK: Final = 8192  # rows, and
_MANY: Final = 256  # picks, compared in one product


class KCenter:
    """Rows in the order picked, each of weight 1; every prefix is a k-center set, whose radius is at most twice the least possible.

    Reads `embedding`, (n, d). `metric=cosine` brings vectors to length 1 first, `euclidean` takes them as they are. `start` is the row
    nearest to the mean (`mean`) or one drawn by key (`random`). Ties go to the lower row; once every row lies on a picked one the rest
    follow in row order. `trim` leaves out that share of the rows farthest from the mean, for k-center picks outliers first. Cost:
    the product of the vectors with the picks, n·d·k; memory a float32 copy of the vectors, 4·n·d bytes, and 8 bytes a row.

    `parts` above 1 is the form of two rounds for sets that memory does not hold: k rows of each of so many runs of rows, then k of these
    (Malkomes et al. 2015, "Fast Distributed k-Center Clustering with Outliers on Modern Data Sets"); the radius is at most four times the
    least possible, memory that of a run and of parts·k picks.
    """

    requires = ("embedding",)
    version = 2

    def __init__(
        self,
        *,
        metric: Literal["cosine", "euclidean"] = "cosine",
        start: Literal["mean", "random"] = "mean",
        trim: float = 0.0,
        parts: int = 1,
    ) -> None:
        if not 0 <= trim < 1:
            raise OptionError(f"k_center: trim is the share of the farthest rows to leave out, 0 or more and below 1; got {trim}.")
        self.metric: Literal["cosine", "euclidean"] = metric
        self.start: Literal["mean", "random"] = start
        if parts < 1:
            raise OptionError(f"k_center: parts must be 1 or more, got {parts}.")
        self.trim, self.parts = trim, parts

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        values, luck = pool["embedding"], rng.uniform(pool.rows) if self.start == "random" else None
        if self.parts == 1:
            return self._picked(values, k, luck), np.ones(k)
        first = [
            run[self._picked(values[run[0] : run[-1] + 1], min(k, len(run)), None if luck is None else luck[run])]
            for run in np.array_split(np.arange(len(pool)), min(self.parts, len(pool)))
        ]
        both = np.sort(np.concatenate(first))
        again = KCenter(metric=self.metric, start=self.start)
        return both[again._picked(values[both], k, None if luck is None else luck[both])], np.ones(k)

    def _picked(self, values: Array, k: int, luck: NDArray[np.float64] | None) -> Rows:
        """The first row is that of the least luck, or of the least distance from the mean."""
        vectors = centred(placed(values, self.metric))
        far = squared_norms(vectors)  # from the mean, which is 0 now
        first = int((far if luck is None else luck).argmin())
        kept = np.sort(np.argsort(far, kind="stable")[: max(k, len(far) - int(self.trim * len(far)))])
        if first not in kept:
            first = int(kept[0])
        return kept[farthest_first(vectors if len(kept) == len(vectors) else vectors[kept], k, int(np.searchsorted(kept, first)))]

    def work(self, n: int, d: int, k: int) -> float:
        if self.parts == 1:
            return float(n * d * k)
        return float(n * d * k + min(n, self.parts * k) * d * k)

    def memory(self, n: int, d: int, k: int) -> int:
        run = -(-n // self.parts)
        most = run if self.parts == 1 else max(run, min(n, self.parts * k))
        return 4 * most * d * (3 if self.trim else 2) + 8 * min(most, _BLOCK) * (d + _MANY) + 24 * n


def farthest_first(vectors: Vectors, k: int, start: int) -> Rows:
    """Positions of `k` rows, each the farthest from those before it, (k,) int64; pass centred vectors.

    >>> farthest_first(np.array([[0.0], [1], [5], [6], [10]], np.float32), 3, 0).tolist()
    [0, 4, 2]
    """
    norms = squared_norms(vectors)
    picked = np.empty(k, np.int64)
    nearest = np.full(len(vectors), np.inf, np.float32)  # squared distance to the nearest of the first `known` picks; -1 for those picked
    few: _Few | None = None
    row, known = start, 0
    for i in range(k):
        picked[i] = row
        if few is not None and (farther := few.after(row, vectors[row : row + 1], norms[row : row + 1])) >= 0:
            row = farther
            continue
        for start in range(0, len(vectors), _BLOCK):
            here = slice(start, start + _BLOCK)
            _approach(nearest[here], vectors[here], norms[here], vectors[picked[known : i + 1]], norms[picked[known : i + 1]])
        known = i + 1
        nearest[picked[:known]] = -1
        few = _Few(vectors, norms, nearest)
        row = int(nearest.argmax())
    return picked


class _Few:
    """The rows that are the farthest now. They alone are compared with every pick, for the next one is among them for as long as any
    of them is farther than all others were; distances only shrink. The others wait, and are compared with many picks in one product.
    """

    def __init__(self, vectors: Vectors, norms: Vectors, nearest: Vectors) -> None:
        count = min(len(vectors), max(_LEAST, len(vectors) // _PART))
        self._rows = np.sort(np.argpartition(-nearest, count - 1)[:count])
        self._vectors, self._norms, self._nearest = vectors[self._rows], norms[self._rows], nearest[self._rows]
        self._bound = float(self._nearest.min()) if count < len(vectors) else -1.0

    def after(self, row: int, vector: Vectors, norm: Vectors) -> int:
        """Takes a pick, mostly one of these; says which of them is the farthest now, or -1 where that may be one of the others."""
        self._nearest[self._rows == row] = -1
        _approach(self._nearest, self._vectors, self._norms, vector, norm)
        far = int(self._nearest.argmax())
        return int(self._rows[far]) if self._nearest[far] > self._bound else -1


def _approach(nearest: Vectors, vectors: Vectors, norms: Vectors, picks: Vectors, their_norms: Vectors) -> None:
    """Lowers squared distances to those to `picks` where these are nearer, in place; none below 0."""
    for first in range(0, len(picks), _MANY):
        some = slice(first, first + _MANY)
        square = vectors @ picks[some].T
        square *= -2
        square += their_norms[some]
        closest = square[:, 0] if square.shape[1] == 1 else square.min(axis=1)
        closest += norms
        np.minimum(nearest, np.maximum(closest, 0, out=closest), out=nearest)


def radius(vectors: Vectors, picked: Rows) -> float:
    """How far the row farthest from its nearest picked one lies from it."""
    from curate.index.vectors import squared_distances

    moved = centred(vectors)
    blocks = (squared_distances(moved[start : start + 4096], moved[picked]).min(axis=1) for start in range(0, len(moved), 4096))
    return float(np.sqrt(max(float(block.max()) for block in blocks)))
