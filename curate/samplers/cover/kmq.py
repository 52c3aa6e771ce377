"""kMQ: clusters give their share, and in a cluster good rows are likelier; the shares may follow what a model learns from each.

Yu et al. 2024, "Diversify and Conquer: Diversity-Centric Data Selection with Iterative Refinement"; official code
for-ai/iterative-data-selection.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.budget import check_budget
from curate.budget import proportional as in_proportion
from curate.draws import best_per_bin
from curate.embeddings import Embeddings
from curate.errors import OptionError
from curate.index.kmeans import A_CENTROID, kmeans, kmeans_work
from curate.index.vectors import Metric, Placed
from curate.pool import ArrayPool, wanted_score
from curate.protocols import Array, Pool, Rows
from curate.rng import KeyedRandom

Float64 = NDArray[np.float64]
Draw = Literal["proportional", "softmax"]


class KMQ:
    """Draws from every k-means cluster in proportion to its size, inside it in proportion to `score`; weight 1 a row.

    Reads `embedding`, (n, d), and `score` turned so that the wanted end is high. `draw=proportional` needs scores of 0 or more, as
    rewards are; `softmax` takes exp(score), as the code does, which also gives each cluster the same budget and not, as here and in the
    paper, that of its size. `clusters=512` are the code's, fewer where rows are fewer. A cluster's rows of weight 0 come last. For
    rounds with feedback see `Refinement`. Cost 2·n·K·d a round of k-means; memory two copies of the rows trained on, 256 a cluster.
    """

    requires = ("embedding", "score")
    version = 1

    def __init__(self, *, clusters: int = 512, draw: Draw = "proportional", metric: Metric = "cosine") -> None:
        if clusters < 1:
            raise OptionError(f"kmq: clusters must be 1 or more, got {clusters}.")
        self.clusters = clusters
        self.draw: Draw = draw
        self.metric: Metric = metric

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, Float64]:
        check_budget(k, len(pool))
        keys = _log_quality(pool, self.draw) + rng.gumbel(pool.rows)
        if k == 0:
            return np.empty(0, np.int64), np.ones(0)
        found = kmeans(Placed(pool["embedding"], self.metric), self.clusters, rng)
        return best_per_bin(keys, found.of, in_proportion(found.sizes, k)), np.ones(k)

    def work(self, n: int, d: int, k: int) -> float:
        return kmeans_work(n, d, self.clusters)

    def memory(self, n: int, d: int, k: int) -> int:
        return 8 * d * min(n, A_CENTROID * self.clusters) + 80 * n


class Refinement:
    """kMQ in rounds: draw some rows, train on all drawn so far, say how much each taught, and the next draw follows.

        rounds = Refinement(vectors, quality, k=10_000, rounds=3)
        while not rounds.is_finished:
            rows = rounds.draw()          # the new rows; rounds.rows are all of them
            ...                           # train on rounds.rows
            rounds.learn(signal)          # one number a new row: its score under the reference minus that of what the model says;
                                          # or rounds.learn_clusters(signal), one number a cluster

    Round r draws its part of k. Budgets of clusters are in proportion to their weights, at first their sizes; a cluster that has no more
    rows passes its part on. After a round a cluster's signal s is the mean over its new rows, and w ← s·w, normalised (`update=paper`), or
    w ← exp(s), normalised (`code`, which forgets what was before). A negative mean teaches nothing and counts as 0; a cluster of which
    nothing was drawn keeps its share. The code divides a round's draw by the number of clusters once too often, so that later rounds
    add almost nothing; that is not followed.
    """

    def __init__(
        self,
        vectors: Array | Embeddings,
        quality: Array,
        *,
        k: int,
        rounds: int = 3,
        clusters: int = 512,
        draw: Draw = "proportional",
        update: Literal["paper", "code"] = "paper",
        metric: Metric = "cosine",
        seed: int = 0,
    ) -> None:
        values = vectors.matrix if isinstance(vectors, Embeddings) else np.asarray(vectors)
        if values.ndim != 2:
            raise OptionError(f"kmq: vectors have shape {values.shape}; (n, d) numbers are expected, or what `curate.embed` returns.")
        check_budget(k, len(values))
        if not 1 <= rounds <= max(k, 1):
            raise OptionError(f"kmq: rounds must lie between 1 and the budget of {k}, got {rounds}.")
        KMQ(clusters=clusters, draw=draw, metric=metric)  # refuses what the sampler refuses
        self._rng = KeyedRandom(seed, "kmq")
        pool = ArrayPool({"score": np.asarray(quality)})
        if len(pool) != len(values):
            raise OptionError(f"kmq: {len(values)} vectors but {len(pool)} quality scores; give one of each a row.")
        self._keys = _log_quality(pool, draw) + self._rng.gumbel(pool.rows)
        self.k, self.rounds, self.update = k, rounds, update
        self.clusters = kmeans(Placed(values, metric), clusters, self._rng)
        self.weights: Float64 = self.clusters.sizes / len(values)
        self._drawn: list[Rows] = []
        self._heard = 0  # rounds of which the signal is known

    @property
    def rows(self) -> Rows:
        """All rows drawn so far, in the order drawn."""
        return np.concatenate([np.empty(0, np.int64), *self._drawn])

    @property
    def is_finished(self) -> bool:
        return len(self._drawn) == self.rounds

    def draw(self) -> Rows:
        """The rows of the next round, none of them drawn before; OptionError where the last round's signal is owed."""
        if self.is_finished:
            raise OptionError(f"All {self.rounds} rounds are drawn; {len(self.rows)} rows are in `rows`.")
        if self._heard < len(self._drawn):
            raise OptionError("What the last round taught is not known yet: call `learn` with one number for each of its rows.")
        turn = len(self._drawn)
        size = (turn + 1) * self.k // self.rounds - turn * self.k // self.rounds
        free = np.ones(len(self._keys), bool)
        free[self.rows] = False
        rest = np.flatnonzero(free)
        left = np.bincount(self.clusters.of[rest], minlength=len(self.weights))
        budgets = shared(self.weights, left, size)
        new = rest[best_per_bin(self._keys[rest], self.clusters.of[rest], budgets)]
        self._drawn.append(new)
        return new

    def learn(self, signal: ArrayLike) -> None:
        """Takes one number for each row of the last draw, in its order, and sets the weights of the clusters."""
        values = np.asarray(signal, np.float64)
        last = self._drawn[-1] if self._drawn else np.empty(0, np.int64)
        if values.shape != last.shape or not np.isfinite(values).all():
            raise OptionError(
                f"The signal has shape {values.shape}; {len(last)} finite numbers are expected, one for each row of the last draw."
            )
        of = self.clusters.of[last]
        count = np.bincount(of, minlength=len(self.weights))
        mean = np.bincount(of, values, minlength=len(self.weights)) / np.maximum(count, 1)
        self._reweigh(np.where(count > 0, mean, np.nan))

    def learn_clusters(self, signal: ArrayLike) -> None:
        """As `learn`, where the signal is one number a cluster already, (clusters,); NaN for those of which it says nothing.

        `clusters.of` is the cluster of every row, so `clusters.of[rounds.draw()]` those of a round.
        """
        values = np.asarray(signal, np.float64)
        if values.shape != self.weights.shape or np.isinf(values).any():
            raise OptionError(
                f"The signal has shape {values.shape}; {len(self.weights)} numbers are expected, one for each cluster, NaN where "
                "nothing is known."
            )
        self._reweigh(values)

    def _reweigh(self, signal: Float64) -> None:
        if self._heard == len(self._drawn):
            raise OptionError("Nothing was drawn since `learn` was called last; call `draw` first.")
        self._heard = len(self._drawn)
        self.weights = reweighted(self.weights, np.nan_to_num(signal), np.isfinite(signal), self.update)


def reweighted(weights: Float64, signal: Float64, seen: NDArray[np.bool_], update: Literal["paper", "code"]) -> Float64:
    """The next weights, sum 1; those not seen keep their share. Where no signal is above 0 nothing changes.

    >>> reweighted(np.array([0.5, 0.25, 0.25]), np.array([1.0, 2.0, 9.0]), np.array([True, True, False]), "paper").tolist()
    [0.375, 0.375, 0.25]
    """
    gained = np.maximum(signal, 0) * weights if update == "paper" else np.exp(signal - signal[seen].max(initial=-np.inf))
    total = float(gained[seen].sum())
    if total <= 0:
        return weights
    found: Float64 = np.where(seen, gained / total * weights[seen].sum(), weights)
    found /= found.sum()
    return found


def shared(weights: Float64, left: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """k in proportion to the weights by largest remainder, no cluster above what it has left; what is over goes to the others alike.

    >>> shared(np.array([0.8, 0.1, 0.1]), np.array([2, 9, 9]), 6).tolist()
    [2, 2, 2]
    """
    taken = np.zeros(len(left), np.int64)
    while int(taken.sum()) < k:
        is_open = taken < left
        part = np.where(is_open, weights, 0)
        part = part if part.sum() > 0 else is_open.astype(np.float64)
        wanted = (k - int(taken.sum())) * part / part.sum()
        more = np.minimum(np.floor(wanted).astype(np.int64), left - taken)
        if not more.any():
            largest = np.argsort(-np.where(is_open, wanted, -1), kind="stable")[: min(k - int(taken.sum()), int(is_open.sum()))]
            more[largest] = 1
        taken += more
    return taken


def _log_quality(pool: Pool, draw: Draw) -> Float64:
    quality = wanted_score(pool)
    if draw == "softmax":
        return quality
    if (quality < 0).any():
        raise OptionError(
            f"kmq: {np.count_nonzero(quality < 0)} of {len(quality)} scores are below 0 at the wanted end, and cannot be proportions. "
            'Use draw=softmax, or --by "rank(SCORE)" --keep high.'
        )
    with np.errstate(divide="ignore"):
        found: Float64 = np.log(quality)
    return found
