"""CCS: every level of difficulty is covered, after the rows that are probably mislabelled have gone.

Zheng et al. 2023, "Coverage-centric Coreset Selection for High Pruning Rates"; official code
haizhongzheng/Coverage-centric-coreset-selection.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.budget import check_budget, fill_ascending, share_of
from curate.draws import uniform_per_bin
from curate.errors import OptionError
from curate.pool import finite_column, known_column
from curate.protocols import Array, Pool, Rows
from curate.rng import KeyedRandom
from curate.topk import top_k

# The share that the paper drops on ImageNet, the middle one of its three data sets, by pruning rate.
_RATES: Final = (0.3, 0.5, 0.7, 0.8, 0.9)
_MOST: Final = 65_535  # strata, and one place for the rows that are dropped, in sixteen bits
_BLOCK: Final = 1 << 20  # rows held in float64 at a time
_BETAS: Final = (0.0, 0.1, 0.2, 0.2, 0.3)


class CCS:
    """Drops the ⌊beta·n⌋ likeliest mislabelled rows, cuts the score's range into strata of equal width, and draws from each.

    Reads `score` and, unless `beta=0`, a mislabel score: `mislabel=aum` means column `aum.score`, of which the low end is
    suspect; for a score like EL2N say `mislabel=el2n,mislabel_end=high`. Strata share the budget by `fill_ascending`, so the
    small ones are kept whole. Rows come in random order, each of weight 1; `keep` plays no part.

    beta is best chosen by validation. `None` follows the pruning rate 1 - k/n through the values used for ImageNet (0 at .3, .1
    at .5, .2 at .7 and .8, .3 at .9), linear between and constant beyond, rounded to four places.

    The official code widens the range to max·1.0001 and so loses the highest row where the maximum is negative; we close
    the last stratum instead. Cost O(n + k log k), memory 14 bytes a row and 40 a
    chosen one.
    """

    requires: Sequence[str] = ("score", "aum.score")
    version = 1

    def __init__(
        self, *, n_strata: int = 50, beta: float | None = None, mislabel: str = "aum", mislabel_end: Literal["low", "high"] = "low"
    ) -> None:
        if not 1 <= n_strata <= _MOST:
            raise OptionError(f"ccs: n_strata must be 1 to {_MOST:,}, got {n_strata:,}.")
        if beta is not None and not 0 <= beta < 1:
            raise OptionError(f"ccs: beta is the share of rows to drop, 0 or more and below 1; got {beta}.")
        self.n_strata = n_strata
        self.beta = beta
        self.mislabel = mislabel
        self.mislabel_end: Literal["low", "high"] = mislabel_end
        self._column = mislabel if "." in mislabel else f"{mislabel}.score"
        self.requires = ("score",) if beta == 0 else ("score", self._column)

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        check_budget(k, len(pool))
        bins = strata(finite_column(pool, "score"), self.n_strata, self._trusted(pool, k))
        sizes = np.bincount(bins, minlength=self.n_strata + 1)
        budgets = np.append(fill_ascending(sizes[:-1], k), 0)
        return uniform_per_bin(bins, budgets, pool.rows, rng), np.ones(k)

    def _trusted(self, pool: Pool, k: int) -> NDArray[np.bool_]:
        """Which rows are left when the suspect ones have gone, (n,)."""
        n = len(pool)
        beta = default_beta(k, n) if self.beta is None else self.beta
        n_dropped = share_of(beta, n)
        if n_dropped + k > n:
            raise OptionError(f"ccs: beta={beta} leaves {n - n_dropped} of {n} rows, but the budget is {k}. Lower one of them.")
        is_trusted = np.ones(n, bool)
        if n_dropped:
            is_trusted[top_k(known_column(pool, self._column), n_dropped, largest=self.mislabel_end == "high")] = False
        return is_trusted


def default_beta(k: int, n: int) -> float:
    """The share to drop when `k` of `n` rows are kept and nothing is known of the noise; never more than is pruned."""
    return round(float(np.interp(1 - k / n, _RATES, _BETAS)), 4) if n else 0.0


def strata(score: Array, n_strata: int, trusted: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """The stratum of each score, (n,) uint16 from 0; `n_strata` for a row that is not trusted.

    Equal widths from the lowest to the highest trusted score, the last one closed.
    """
    bins = np.full(len(score), n_strata, np.uint16)
    low = float(np.min(score, where=trusted, initial=np.inf))
    high = float(np.max(score, where=trusted, initial=-np.inf))
    for start in range(0, len(score), _BLOCK):
        block = slice(start, start + _BLOCK)
        width = high - low or 1.0
        place = np.minimum((score[block].astype(np.float64) - low) / width * n_strata, n_strata - 1)
        np.copyto(bins[block], place.astype(np.int64), where=trusted[block], casting="unsafe")
    return bins
