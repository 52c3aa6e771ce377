"""Density: rows where few others lie are likelier to be kept, so that crowded places shrink and rare ones stay.

Sachdeva et al. 2024, "How to Train Data-Efficient LLMs", with the sketch of Coleman & Shrivastava 2020; official code
brc7/DiversitySampling.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget
from curate.draws import gumbel_top_k
from curate.errors import OptionError
from curate.index import kept
from curate.index.sketch import BLOCK, ROWS, Kernel, Sketch, exact_density
from curate.index.vectors import Placed, typical_distance
from curate.protocols import Pool, Rows
from curate.rng import KeyedRandom

SMALL: Final = 1_000_000  # rows below which the sketch can afford more repeats
OF_TYPICAL: Final = 0.58
ALIKE: Final = 1.5  # largest over smallest weight, below which a draw by them is nearly a random one


class Density:
    """Draws rows without replacement with probability ∝ 1 / (sum of the kernel to all rows), in the order drawn, each of weight 1.

    Reads `embedding`, (n, d), brought to length 1. `variant=fixed`: six concatenated hashes of width 0.58 times the typical (root mean
    square) distance, which tell crowded from rare, also where most rows lie in one crowd and the median distance is that within it.
    `paper`: one hash of width 1 and a thousand repeats, under which all weights nearly agree and the draw is nearly uniform. `exact`
    sums pair by pair, O(n²·d), for small sets. `repeats`, `concat`, `width` and `kernel` (l2, l1, angular) override the variant.
    The paper's algorithm prints weights ∝ the sum, its text and theorem say the inverse, which is meant.

    Cost: four passes over the vectors, which stay where they are; memory the sketch, 12·repeats·65,536 bytes, and 40 bytes a row
    (`exact`: a copy of the vectors). The report says how unlike the weights are, and warns where they are nearly equal.
    """

    requires = ("embedding",)
    version = 2

    def __init__(
        self,
        *,
        variant: Literal["fixed", "paper", "exact"] = "fixed",
        kernel: Kernel = "l2",
        repeats: int | None = None,
        concat: int | None = None,
        width: float | None = None,
    ) -> None:
        for name, value in (("repeats", repeats), ("concat", concat)):
            if value is not None and value < 1:
                raise OptionError(f"density: {name} must be 1 or more, got {value}.")
        if width is not None and not width > 0:
            raise OptionError(f"density: width must be above 0, got {width}.")
        self.variant: Literal["fixed", "paper", "exact"] = variant
        self.kernel: Kernel = kernel
        self.repeats, self.concat, self.width = repeats, concat, width

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        vectors = Placed(pool["embedding"], "cosine")
        sketch = self._sketch(vectors, rng)
        if self.variant == "exact":
            crowd = exact_density(sketch, vectors[:])
        else:
            crowd = sketch.density(vectors, sketch.count(vectors))
        kept.note(weighed(1 / crowd))
        return gumbel_top_k(-np.log(crowd), pool.rows, k, rng), np.ones(k)

    def work(self, n: int, d: int, k: int) -> float:
        return float(n) * d * n if self.variant == "exact" else 6.0 * n * d + 30 * (1 << 16)  # the sketch itself is filled and read

    def memory(self, n: int, d: int, k: int) -> int:
        copied = 4 * n * d if self.variant == "exact" else 0
        repeats, concat, bins = self._shape(n)
        rows = 20 * min(n, ROWS) + 8 * min(n, BLOCK) * concat  # their bins, and the projections that these come from
        return copied + repeats * (12 * bins + rows) + 48 * n

    def _shape(self, n: int) -> tuple[int, int, int]:
        """Hashes, how many are mixed into one, and bins of each."""
        paper = self.variant == "paper"
        concat = self.concat or (1 if paper else 6)
        repeats = self.repeats or (1000 if paper else 256 if n < SMALL else 64)
        return repeats, concat, 64 if concat == 1 else 1 << 16

    def _sketch(self, vectors: Placed, rng: KeyedRandom) -> Sketch:
        paper = self.variant == "paper"
        width = self.width or (1.0 if paper else OF_TYPICAL * typical_distance(vectors) or 1.0)
        repeats, concat, bins = self._shape(len(vectors))
        return Sketch(vectors.shape[1], repeats, concat, bins, width, self.kernel, rng.seed)


def weighed(weights: NDArray[np.floating]) -> str:
    """What weights there are to draw by, in words.

    >>> weighed(np.array([1.0, 1.0, 1.25]))
    'weights from 1 to 1.25, effective sample size 99%: nearly equal, so this is little more than a random draw'
    """
    ratio = float(weights.max() / weights.min())
    effective = float(weights.sum(dtype=np.float64)) ** 2 / float(np.square(weights, dtype=np.float64).sum()) / len(weights)
    warning = ": nearly equal, so this is little more than a random draw" if ratio < ALIKE else ""
    return f"weights from 1 to {ratio:.3g}, effective sample size {effective:.0%}{warning}"
