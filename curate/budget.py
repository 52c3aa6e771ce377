"""How many rows to keep: budgets as users write them, and how a budget is shared out among bins or classes."""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.errors import ColumnError, OptionError
from curate.protocols import Array
from curate.rng import KeyedRandom

Balance = Literal["proportional", "equal"]
Counts = NDArray[np.int64]

# Eighteen digits are more rows than any disk holds, and keep int() away from hostile input.
_ROWS: Final = re.compile(r"[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18}")
_HOW: Final = 'Write a share ("30%", 0.3) or a number of rows ("5000", 5000).'


def parse_budget(budget: str | int | float, n: int) -> int:
    """The number of rows that a budget means for a pool of `n`: "30%" and 0.3 keep ⌊0.3·n⌋, "5000" and 5000 that many.

    A share is taken as the decimal that was written, not as the nearest binary fraction, so that 30% of 10 is 3. A number
    with a point is a share and at most 1. OptionError for anything that keeps no row or more than there are.

    >>> parse_budget("30%", 10), parse_budget(0.29, 100), parse_budget("5000", 60_000)
    (3, 29, 5000)
    """
    share = _share(budget)
    k = int(share * n) if share is not None else int(budget)
    if share is not None and share > 1:
        raise OptionError(f"Budget {budget!r} is a share of more than all {n} rows. {_HOW}")
    if k < 1:
        raise OptionError(f"Budget {budget!r} keeps none of {n} rows; it must keep at least one. {_HOW}")
    if k > n:
        raise OptionError(f"Budget {budget!r} is more than the {n} rows there are. Ask for at most {n}.")
    return k


def share_of(share: float, n: int) -> int:
    """⌊share·n⌋ with the share taken as the decimal that it prints as.

    >>> share_of(0.29, 100), int(0.29 * 100)
    (29, 28)
    """
    return int(Fraction(Decimal(str(share))) * n)


def check_budget(k: int, n: int) -> None:
    """OptionError unless `k` rows can be chosen from `n`; none is a legal choice here (a class may get nothing)."""
    if not 0 <= k <= n:
        raise OptionError(f"Cannot choose {k} of {n} rows. The budget must lie between 0 and {n}.")


def fill_ascending(sizes: Counts, k: int) -> Counts:
    """Budgets that CCS gives to bins: the smallest first, each at most an even share of what is left; (bins,) int64, sum `k`.

    >>> fill_ascending(np.array([1, 0, 20, 3, 8]), 10).tolist()
    [1, 0, 3, 3, 3]
    """
    check_budget(k, int(sizes.sum()))
    taken = np.zeros(len(sizes), np.int64)
    rest = k
    for done, bin_ in enumerate(np.argsort(sizes, kind="stable")):
        taken[bin_] = min(int(sizes[bin_]), rest // (len(sizes) - done))
        rest -= int(taken[bin_])
    return taken


def water_fill(sizes: Counts, k: int, rng: KeyedRandom) -> Counts:
    """Budgets of one common level: the largest whole cut c with Σ min(c, size) ≤ k, (bins,) int64, sum `k`.

    What remains goes, one each, to bins drawn among those larger than the cut (ssl-data-curation). Cost O(bins · log largest).
    """
    check_budget(k, int(sizes.sum()))
    low, high = 0, int(sizes.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.minimum(sizes, middle).sum()) <= k:
            low = middle
        else:
            high = middle - 1
    taken = np.minimum(sizes, low).astype(np.int64)
    larger = np.flatnonzero(sizes > low)
    lucky = larger[np.argsort(rng.uniform(larger), kind="stable")]
    taken[lucky[: k - int(taken.sum())]] += 1
    return taken


def proportional(sizes: Counts, k: int) -> Counts:
    """Budgets in proportion to the sizes by largest remainder, ties to the lower bin; (bins,) int64, sum `k`.

    Whole-number arithmetic: exact up to three billion rows, and never above a bin's size.
    """
    total = int(sizes.sum())
    check_budget(k, total)
    taken, remainder = np.divmod(sizes.astype(np.int64) * k, max(total, 1))
    return _one_more(taken, remainder, k)


def power(sizes: Counts, k: int, exponent: float) -> Counts:
    """Budgets in proportion to size**exponent, (bins,) int64, sum `k`: 0 shares equally among bins that hold rows, 1 is `proportional`.

    A bin that would get more than it holds gives all, and the surplus is spread again over the others by the same rule.
    """
    check_budget(k, int(sizes.sum()))
    share = np.where(sizes > 0, np.maximum(sizes, 1) ** float(exponent), 0.0)
    quota = np.zeros(len(sizes))
    is_open = sizes > 0
    rest = float(k)
    while is_open.any():
        quota[is_open] = rest * share[is_open] / share[is_open].sum()
        is_full = is_open & (quota >= sizes)
        if not is_full.any():
            break
        quota[is_full] = sizes[is_full]
        rest -= float(sizes[is_full].sum())
        is_open &= ~is_full
    taken = np.floor(quota).astype(np.int64)
    return _one_more(taken, quota - taken, k)


def per_class(labels: Array, k: int, balance: Balance) -> dict[int, int]:
    """How many of `k` rows each class code gets, codes ascending; `labels` is (n,) of whole numbers.

    `proportional` keeps the classes' shares; `equal` gives the same to each, and what a small class cannot give is spread
    over the others. Cost O(n log n).
    """
    if labels.dtype.kind not in "iub":
        raise ColumnError(f"Labels must be class codes (whole numbers), but they are {labels.dtype}. Encode them first.")
    codes, sizes = np.unique(labels, return_counts=True)
    budgets = power(sizes, k, 0) if balance == "equal" else proportional(sizes, k)
    return {int(code): int(budget) for code, budget in zip(codes, budgets, strict=True)}


def _share(budget: str | int | float) -> Fraction | None:
    """The exact share that a budget names, or None where it names a number of rows."""
    text = str(budget).strip()
    if isinstance(budget, bool):
        raise OptionError(f"Budget {budget!r} is no number. {_HOW}")
    if text.endswith("%") and _DECIMAL.fullmatch(text[:-1].strip()):
        return Fraction(Decimal(text[:-1].strip())) / 100
    if isinstance(budget, float | np.floating) and 0 < budget <= 1:
        return Fraction(Decimal(text))
    if _ROWS.fullmatch(text):
        return None
    if _DECIMAL.fullmatch(text):
        return Fraction(Decimal(text))
    raise OptionError(f"Cannot read budget {budget!r}. {_HOW}")


def _one_more(taken: Counts, remainder: Array, k: int) -> Counts:
    """`taken` with one more for the bins of the largest remainders until the sum is `k`."""
    largest = np.argsort(-remainder, kind="stable")
    taken[largest[: k - int(taken.sum())]] += 1
    return taken
