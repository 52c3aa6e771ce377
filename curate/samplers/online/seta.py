"""SeTa: a window that slides from easy to hard groups of losses, over a random part of the rows.

Zhou et al. 2025, "Scale Efficient Training for Large Datasets"; official code mrazhou/SeTa.
"""

import numpy as np
from numpy.typing import NDArray

from curate.errors import OptionError
from curate.rng import KeyedRandom
from curate.samplers.online.abstract import AbstractOnline, Floats, Plan, check_annealing, check_share, chooses, shuffled

_CELLS = 1024  # so many cells of equal counts stand for the sorted losses: the best groups of them are found exactly


class SeTa(AbstractOnline):
    """Each epoch drops `share` of the rows at random, sorts the rest into `groups` by loss, and presents a window of neighbouring groups.

    The window is round(groups·window) groups wide; in epoch e it starts at group e mod (groups - width + 1), from easy to hard and
    over again. The first epoch has all groups, those beyond ⌊delta·epochs⌋ a random 1-share of all rows. No weights: unlike InfoBatch
    the sum of losses is not that of all rows. Groups are those of one-dimensional k-means, found exactly (up to 1,024 distinct
    losses, beyond on as many quantile cells) instead of by a random start as in the official code. A row without a loss counts
    as hard as the hardest. Defaults are the package's; its scripts use share .1, 5 groups and window .9 for CIFAR, 5 groups and window .6
    for ImageNet. Where rows or epochs are few take window .8: most losses fall into the easiest groups, so that a window of half of
    them passes over most rows in most epochs (benchmarks/online.py).
    """

    name = "seta"
    reads_losses = True

    def __init__(
        self,
        n: int,
        epochs: int,
        *,
        share: float = 0.0,
        groups: int = 10,
        window: float = 0.5,
        delta: float = 0.875,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        super().__init__(n, epochs, seed, rank, world)
        check_annealing(self.name, share, delta)
        check_share(self.name, "window", window)
        if groups < 1 or round(groups * window) < 1:
            raise OptionError(f"seta: the window must hold a group or more; {groups} groups x {window} round to {round(groups * window)}.")
        self.share, self.groups, self.window, self.delta = share, groups, window, delta
        self.width = round(groups * window)

    def plan(self, epoch: int, losses: Floats, rng: KeyedRandom) -> Plan:
        rows = shuffled(np.arange(self.n), rng.child("drop"))[: max(1, int((1 - self.share) * self.n))]
        if chooses(epoch, self.epochs, self.delta):
            rows = self._window(epoch, rows, losses, rng)
        return Plan(shuffled(rows, rng), np.ones(len(rows), np.float32))

    def expected_rows(self, epoch: int) -> float:
        kept = max(1, int((1 - self.share) * self.n))
        if not chooses(epoch, self.epochs, self.delta):
            return float(kept)
        known = self._known_losses()
        if np.isnan(known).all():
            return kept * self.width / self.groups
        return float(len(self._window(epoch, np.arange(self.n), known, self._rng())) * kept / self.n)

    def _window(self, epoch: int, rows: NDArray[np.int64], losses: Floats, rng: KeyedRandom) -> NDArray[np.int64]:
        values = losses[rows]
        hardest = np.nanmax(values) if not np.isnan(values).all() else np.float32(0)
        values = np.where(np.isnan(values), hardest, values)
        order = np.lexsort((rng.child("tie").uniform(rows), values))
        start = epoch % (self.groups - self.width + 1)
        edges = group_edges(values[order], self.groups)
        chosen = rows[order[edges[start] : edges[start + self.width]]]
        return chosen if len(chosen) else rows[order[:1]]


def group_edges(ordered: NDArray[np.floating], groups: int) -> NDArray[np.int64]:
    """Where each of `groups` groups of ascending numbers begins, and the end, (groups + 1,): least squared distances to the means.

    Exact for up to 1,024 distinct numbers; more are first put into as many cells of equal counts. Fewer distinct numbers than groups
    are cut into groups of equal size. Cost: groups · 1,024² additions.

    >>> group_edges(np.array([0.0, 0.1, 0.2, 5.0, 5.1, 9.0]), 3).tolist()
    [0, 3, 5, 6]
    """
    n = len(ordered)
    starts = np.flatnonzero(np.r_[True, np.diff(ordered) > 0])
    if len(starts) > _CELLS:
        starts = np.unique(starts[np.searchsorted(starts, np.linspace(0, n, _CELLS, endpoint=False), side="right") - 1])
    if len(starts) < groups:
        return np.linspace(0, n, groups + 1).round().astype(np.int64)
    spread = _spreads(ordered.astype(np.float64), np.r_[starts, n])
    best, cuts = spread[0], []
    for _ in range(groups - 1):
        through = best[:-1, None] + spread[1:]  # the last group begins with cell i + 1
        cut = np.argmin(through, axis=0)
        cuts.append(cut + 1)
        best = np.take_along_axis(through, cut[None], axis=0)[0]
    edges, cell = [n], len(starts)
    for cut in reversed(cuts):
        cell = int(cut[cell - 1])
        edges.append(int(starts[cell]))
    return np.array([0, *edges[:0:-1], n], np.int64)


def _spreads(ordered: NDArray[np.float64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """The squared distances to their mean of cells i … j as one group, (cells, cells); infinite where j < i."""
    centred = ordered - ordered.mean()  # sums of squares lose fewer digits
    total = np.r_[0.0, np.cumsum(centred)][edges]
    squares = np.r_[0.0, np.cumsum(centred**2)][edges]
    count = np.maximum(edges[None, 1:] - edges[:-1, None], 1)
    spread = squares[None, 1:] - squares[:-1, None] - (total[None, 1:] - total[:-1, None]) ** 2 / count
    return np.where(np.tri(len(edges) - 1, k=-1, dtype=bool), np.inf, spread)
