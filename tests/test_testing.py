"""The conformance kit finds each broken promise and names it."""

import numpy as np
import pytest

from curate.errors import UnknownNameError
from curate.protocols import PerRow, Shard
from curate.testing import SIGNALS, check_sampler, check_scorer, shard_of


class Mean(PerRow):
    """Mean loss, a scorer without a fault."""

    requires = ("dynamics.loss",)
    hard_sign = 1

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale

    def score_rows(self, shard: Shard) -> dict[str, np.ndarray]:
        loss = shard["dynamics.loss"]
        seen = ~np.isnan(loss)
        count = seen.sum(axis=1)
        mean = np.where(seen, loss, 0).sum(axis=1) / np.maximum(count, 1)
        return {"score": np.where(count > 0, self.scale * mean, np.nan).astype(np.float32)}


class Centred(Mean):
    """Loss against the mean of whatever rows lie in the same shard."""

    def score_rows(self, shard: Shard) -> dict[str, np.ndarray]:
        score = super().score_rows(shard)["score"]
        return {"score": score - np.nanmean(np.append(score, np.float32(0)))}


class Double(Mean):
    """A float64 score."""

    def score_rows(self, shard: Shard) -> dict[str, np.ndarray]:
        return {"score": super().score_rows(shard)["score"].astype(np.float64)}


class Short(Mean):
    """One row too few."""

    def score_rows(self, shard: Shard) -> dict[str, np.ndarray]:
        return {"score": super().score_rows(shard)["score"][1:]}


class Infinite(Mean):
    """Infinite where nothing was seen."""

    def score_rows(self, shard: Shard) -> dict[str, np.ndarray]:
        return {"score": np.nan_to_num(super().score_rows(shard)["score"], nan=np.inf)}


class Forgetful(Mean):
    """NaN for every row that missed one epoch."""

    def score_rows(self, shard: Shard) -> dict[str, np.ndarray]:
        return {"score": shard["dynamics.loss"].mean(axis=1)}


class Writing(Mean):
    """Replaces NaN in the signal itself."""

    def score_rows(self, shard: Shard) -> dict[str, np.ndarray]:
        np.nan_to_num(shard["dynamics.loss"], copy=False)
        return super().score_rows(shard)


class Moody(Mean):
    """Another number each time."""

    def score_rows(self, shard: Shard) -> dict[str, np.ndarray]:
        self.scale += 1
        return super().score_rows(shard)


class Renaming(Mean):
    """Keeps its option otherwise than it was given."""

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale + 1


class Sideways(Mean):
    """Keeps an end that there is not."""

    keep = "left"  # type: ignore[assignment]


class Nameless(Mean):
    """Gives no score."""

    def score_rows(self, shard: Shard) -> dict[str, np.ndarray]:
        return {"loss": super().score_rows(shard)["score"]}


class Bare(Mean):
    requires = ("dynamics.loss",)


class ObjectState(Mean):
    """A state that only pickle could save."""

    passes = 1

    def fit(self, shard: Shard, state: dict | None) -> dict:
        return {"rows": list(shard.rows)}

    def merge(self, states: list[dict]) -> dict:
        return states[0]


def test_a_faultless_scorer_passes_as_class_as_instance_and_by_name():
    check_scorer(Mean)
    check_scorer(Mean(scale=2.0))
    check_scorer("aum:skip=0")


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        (Centred, "cut into 3 shards"),
        (Double, "must be float32, got float64"),
        (Short, r"shape \(60,\), got \(59,\)"),
        (Infinite, "score is infinite in row 0"),
        (Forgetful, "was seen, but its score is NaN"),
        (Writing, "wrote into dynamics.loss"),
        (Moody, "when it runs again"),
        (Renaming, "rebuilt from its own options"),
        (Sideways, "keep must be high, low or middle"),
        (Nameless, 'no column "score", only loss'),
        (Bare, "has no docstring"),
        (ObjectState, "saved without pickle"),
    ],
)
def test_a_broken_promise_is_named(scorer: type, words: str):
    with pytest.raises(AssertionError, match=words):
        check_scorer(scorer)


@pytest.mark.parametrize("name", ["dynamics.los", "checkpoints", "eval.loss@99", "eval.loss@last", "dynamics.probs"])
def test_a_signal_that_the_kit_cannot_make_is_named(name: str):
    class Asking(Mean):
        """Asks for more than there is."""

        requires = (name,)

    with pytest.raises(UnknownNameError, match=name):
        check_scorer(Asking)


@pytest.mark.parametrize("name", [*(f"eval.{x}" for x in SIGNALS), "dynamics.kappa@2", "probs.oos", "label", "embedding", "text"])
def test_every_documented_signal_is_there(name: str):
    class Asking(PerRow):
        """Whether the first value of a row is there."""

        requires = (name,)

        def score_rows(self, shard: Shard) -> dict[str, np.ndarray]:
            assert len(shard[name]) == len(shard)
            return {"score": np.zeros(len(shard), np.float32)}

    check_scorer(Asking)


def test_a_shard_has_the_types_that_signals_have():
    shard = shard_of({"dynamics.loss": [[1.0, 2.0]], "label": [3], "text": ["a"]}, rows=[7], seed=2)

    assert [shard[name].dtype.kind for name in ("dynamics.loss", "label", "text")] == ["f", "i", "U"]
    assert (shard["dynamics.loss"].dtype, shard.rows.tolist(), shard.seed) == (np.float32, [7], 2)


class Best:
    """The rows with the highest score."""

    requires = ("score", "label", "datamap.confidence")
    version = 1

    def select(self, pool, k, rng):
        chosen = np.argsort(-pool["score"], kind="stable")[:k]
        return chosen, np.ones(k)


class SourceRows(Best):
    """Positions in the source where indices are wanted."""

    def select(self, pool, k, rng):
        chosen, weights = super().select(pool, k, rng)
        return pool.rows[chosen], weights


class Twice(Best):
    """The best row over and over."""

    def select(self, pool, k, rng):
        chosen, weights = super().select(pool, k, rng)
        return np.full_like(chosen, chosen[0]), weights


class OneFewer(Best):
    """One row too few."""

    def select(self, pool, k, rng):
        return super().select(pool, k - 1, rng)


class Weightless(Best):
    """Weights of zero."""

    def select(self, pool, k, rng):
        return super().select(pool, k, rng)[0], np.zeros(k)


class GlobalRandom(Best):
    """Draws from a stream that the caller does not control."""

    stream = np.random.default_rng(0)

    def select(self, pool, k, rng):
        return self.stream.permutation(len(pool))[:k], np.ones(k)


class Sorting(Best):
    """Sorts the pool itself."""

    def select(self, pool, k, rng):
        pool["score"].sort()
        return super().select(pool, k, rng)


def test_a_faultless_sampler_passes():
    check_sampler(Best)
    check_sampler(Best())


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        (SourceRows, "indices into the pool"),
        (Twice, "chose a row twice"),
        (OneFewer, r"gave \(0,\)"),
        (Weightless, "finite and above 0"),
        (GlobalRandom, "with the same rng, chose otherwise"),
        (Sorting, "wrote into score"),
    ],
)
def test_a_sampler_that_breaks_a_promise_is_named(sampler: type, words: str):
    with pytest.raises(AssertionError, match=words):
        check_sampler(sampler)


def test_a_pool_column_that_the_kit_cannot_make_is_named():
    class Asking(Best):
        """Asks for more than there is."""

        requires = ("scor",)

    with pytest.raises(UnknownNameError, match="scor"):
        check_sampler(Asking)
