"""Random draws without replacement, keyed by (seed, method, row): a row's luck never depends on its neighbours."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from curate.budget import Counts, check_budget
from curate.errors import OptionError
from curate.protocols import Array, Rows
from curate.rng import KeyedRandom
from curate.topk import top_k

Floats = NDArray[np.float64]

_FEW = 64  # bins
_WHOLE = 1e-6  # how far a sum of probabilities may be from a whole number and still count as one


def uniform_k(rows: Rows, k: int, rng: KeyedRandom) -> Rows:
    """Positions of `k` rows, each subset equally likely, in random order; a larger `k` only adds. O(n)."""
    return top_k(rng.uniform(rows), k, largest=False)


def uniform_per_bin(bins: Array, budgets: Counts, rows: Rows, rng: KeyedRandom) -> Rows:
    """Positions of `budgets[b]` rows drawn uniformly from each bin b, all in one random order; `bins` is (n,), bin numbers from 0.

    Cost O(n) up to 65,536 bins, beyond O(n log n); memory 24 bytes a row of the largest bin, and of all rows beyond 64 bins.
    """
    edges = np.append(0, np.cumsum(budgets))
    chosen = np.empty(edges[-1], np.int64)
    for bin_, inside in enumerate(_members(bins, len(budgets))):
        if budgets[bin_]:
            best = top_k(rng.uniform(rows[inside]), int(budgets[bin_]), largest=False)
            chosen[edges[bin_] : edges[bin_ + 1]] = inside[best]
    return chosen[np.argsort(rng.uniform(rows[chosen]), kind="stable")]


def _members(bins: Array, n_bins: int) -> Iterator[Rows]:
    """The positions, ascending, of each bin's rows: by a look at all rows a bin, or by a sort where bins are many."""
    if n_bins <= _FEW:
        for bin_ in range(n_bins):
            yield np.flatnonzero(bins == bin_)
        return
    narrow = bins.astype(np.uint16, copy=False) if n_bins <= 1 << 16 else bins
    ends = np.cumsum(np.bincount(narrow, minlength=n_bins))
    yield from np.split(np.argsort(narrow, kind="stable"), ends[:-1])


def filled(picked: Rows, k: int, rows: Rows, rng: KeyedRandom) -> Rows:
    """`picked` and, up to `k` in all, positions drawn from the others; for a greedy pick that ran out of anything to gain."""
    rest = np.setdiff1d(np.arange(len(rows)), picked)
    return np.concatenate((picked, rest[uniform_k(rows[rest], k - len(picked), rng)])).astype(np.int64)


def best_per_bin(values: Array, bins: Array, budgets: Counts) -> Rows:
    """Positions of the `budgets[b]` largest values of each bin b, best first; ties to the lower position.

    Bins take turns, each at its own pace, so that a beginning of the list is shared out alike. Cost O(n log n).

    >>> best_per_bin(np.array([0.1, 0.9, 0.5, 0.7]), np.array([0, 0, 0, 1]), np.array([2, 1])).tolist()
    [1, 3, 2]
    """
    order = np.lexsort((-values, bins))
    sizes = np.bincount(bins, minlength=len(budgets))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    mine = np.repeat(budgets, sizes)
    taken = rank < mine
    pace = rank[taken] / mine[taken]
    return order[taken][np.argsort(pace, kind="stable")].astype(np.int64)


def gumbel_top_k(log_weights: Floats, rows: Rows, k: int, rng: KeyedRandom) -> Rows:
    """Positions of `k` rows drawn one at a time in proportion to their weights and removed, in that order; (k,) int64.

    Keys ln w + Gumbel, the k largest (Efraimidis & Spirakis 2006). Inclusion probabilities are *not* k·w/Σw. Weights come as
    logarithms, (n,), since real ones span more than float64; -inf (weight 0) rows follow, in random order, only when no other
    is left. Cost O(n).
    """
    check_budget(k, len(log_weights))
    if np.isnan(log_weights).any() or np.isposinf(log_weights).any():
        raise OptionError("Cannot draw: some log-weights are NaN or infinite. Drop those rows or cap their scores first.")
    keys = log_weights + rng.gumbel(rows)
    possible = np.flatnonzero(log_weights > -np.inf)
    if k <= len(possible):
        return possible[top_k(keys[possible], k)]
    rest = np.flatnonzero(np.isneginf(log_weights))
    fill = rest[uniform_k(rows[rest], k - len(possible), rng)]
    return np.concatenate((possible[top_k(keys[possible], len(possible))], fill))


def inclusion_probabilities(log_weights: Floats, k: int) -> Floats:
    """min(1, c·w) for the c that makes them sum to `k`, (n,) float64; what `poisson` and `systematic` draw with.

    Found exactly from the sorted weights and the log-sums of their tails, O(n log n).

    >>> inclusion_probabilities(np.log([1.0, 2.0, 3.0, 14.0]), 2).round(6).tolist()
    [0.166667, 0.333333, 0.5, 1.0]
    """
    n_possible = int(np.count_nonzero(log_weights > -np.inf))
    if not 0 < k <= n_possible:
        raise OptionError(f"Cannot expect {k} rows where {n_possible} have a weight above 0. Ask for 1 to {n_possible}.")
    ordered = np.sort(log_weights)[::-1][:n_possible]
    tail: Floats = np.logaddexp.accumulate(ordered[::-1])[::-1]  # ln Σ w from each place down
    # With the first m rows certain, the others share k - m; the first m for which none of them exceeds 1 is the answer.
    # There always is one: at m = k - 1 a single draw is left, and w / Σw is at most 1.
    log_c: Floats = np.log(k - np.arange(k)) - tail[:k]
    fits = np.flatnonzero(log_c + ordered[:k] <= 0)
    probabilities: Floats = np.exp(np.minimum(log_weights + log_c[fits[0]], 0.0))
    return probabilities


def poisson(probabilities: Floats, rows: Rows, rng: KeyedRandom) -> tuple[Rows, Floats]:
    """Positions, ascending, of the rows that came up, each on its own with its probability; and their weights 1/probability.

    The number of rows is random, with standard deviation at most √Σp. Row-local: needs no other row. O(n).
    """
    _check_probabilities(probabilities)
    chosen = np.flatnonzero(rng.uniform(rows) < probabilities)
    return chosen.astype(np.int64), 1 / probabilities[chosen]


def systematic(probabilities: Floats, rows: Rows, rng: KeyedRandom) -> tuple[Rows, Floats]:
    """Positions of exactly Σp rows, each included with its probability, in random order; and their weights 1/probability.

    One uniform offset steps through the summed probabilities in keyed random order, O(n log n). Σp must be whole.
    """
    _check_probabilities(probabilities)
    total = float(probabilities.sum())
    k = round(total)
    if abs(total - k) > _WHOLE * max(1.0, total):
        raise OptionError(f"Systematic draws need probabilities that sum to a whole number, got {total}. Scale them first.")
    order = np.argsort(rng.uniform(rows), kind="stable")
    certain = probabilities[order] >= 1  # apart from the rest, so that rounding in the sum cannot lose one
    edges = np.cumsum(np.where(certain, 0.0, probabilities[order]))
    k_rest = k - int(certain.sum())
    offset = float(rng.child("offset").uniform(np.zeros(1, np.int64))[0])
    steps = np.clip(np.ceil(edges - offset), 0, k_rest)  # how many steps lie below each edge
    if k_rest:
        steps[np.flatnonzero(~certain & (probabilities[order] > 0))[-1] :] = k_rest
    chosen = order[certain | (np.diff(steps, prepend=0.0) > 0)].astype(np.int64)
    return chosen, 1 / probabilities[chosen]


def _check_probabilities(probabilities: Floats) -> None:
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise OptionError("Inclusion probabilities must lie between 0 and 1; some do not. `inclusion_probabilities` makes them.")
