"""gumbel: the best rows are likelier, not certain."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.ranked.gumbel import Gumbel

SCORE = np.array([1.0, 2.0, 3.0])


def first_picks(sampler, keep="high"):
    pool = ArrayPool({"score": SCORE}, keep=keep)
    picks = [int(sampler.select(pool, 1, KeyedRandom(seed, "gumbel"))[0][0]) for seed in range(2000)]
    return np.bincount(picks, minlength=3) / 2000


@pytest.mark.parametrize(
    ("keep", "law"),
    [
        # softmax of the standardised scores over 2, as QuRating draws; of the negated ones; of minus the distance to 2 over 2 sd
        ("high", [0.160049, 0.295258, 0.544693]),
        ("low", [0.544693, 0.295258, 0.160049]),
        ("middle", [0.260136, 0.479728, 0.260136]),
    ],
)
def test_the_first_pick_follows_the_softmax_of_the_wanted_end(keep, law):
    np.testing.assert_allclose(first_picks(Gumbel(), keep), law, atol=0.035)  # three standard errors


def test_raw_scores_are_log_weights():
    odds = np.exp(SCORE) / np.exp(SCORE).sum()

    np.testing.assert_allclose(first_picks(Gumbel(scale="raw", temperature=1)), odds, atol=0.035)


def test_a_low_temperature_is_top():
    pool = ArrayPool({"score": np.array([0.3, 0.9, 0.1, 0.5])})

    assert Gumbel(temperature=1e-6).select(pool, 3, KeyedRandom(0, "gumbel"))[0].tolist() == [1, 3, 0]


def test_equal_scores_far_from_zero_are_drawn_at_random():
    pool = ArrayPool({"score": np.full(50, 1e9 + 0.1)})
    rng = KeyedRandom(0, "gumbel")

    assert Gumbel(temperature=1e-3).select(pool, 50, rng)[0].tolist() == np.argsort(-rng.gumbel(np.arange(50))).tolist()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_no_positive_number_is_refused(temperature):
    with pytest.raises(OptionError, match=f"got {temperature}"):
        Gumbel(temperature=temperature)
