"""Draws follow their laws and depend on nothing but the seed and the row."""

from typing import Any

import numpy as np
import pytest

from curate.draws import gumbel_top_k, inclusion_probabilities, poisson, systematic, uniform_k, uniform_per_bin
from curate.errors import OptionError
from curate.rng import KeyedRandom, splitmix64

RNG = KeyedRandom(0, "draws")
WEIGHTS = np.array([1.0, 2.0, 3.0, 14.0])
N_SEEDS = 20_000
LAW = 0.01  # three standard errors of a share of 0.5 over 20,000 seeds


def test_uniform_numbers_are_the_published_ones():
    bits = splitmix64(np.array([0], np.uint64))

    assert ((bits >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53 == pytest.approx(0.8833108082)


def test_gumbel_inclusion_is_that_of_drawing_one_at_a_time():
    # One table of rows stands for all seeds: row 4·s + i is row i under seed s, so that one call draws them all.
    luck = RNG.gumbel(np.arange(4 * N_SEEDS)).reshape(N_SEEDS, 4)
    included = np.argsort(-(np.log(WEIGHTS) + luck), axis=1)[:, :2]

    share = np.bincount(included.ravel(), minlength=4) / N_SEEDS

    np.testing.assert_allclose(share, [0.181046, 0.356244, 0.524561, 0.938149], atol=LAW)


def test_gumbel_top_k_is_what_that_table_does():
    rows = np.arange(4 * 50).reshape(50, 4)
    expected = np.argsort(-(np.log(WEIGHTS) + RNG.gumbel(rows.ravel()).reshape(50, 4)), axis=1)[:, :2]

    found = [gumbel_top_k(np.log(WEIGHTS), four, 2, RNG) for four in rows]

    np.testing.assert_array_equal(found, expected)


def test_weights_beyond_float64_are_drawn_in_log_space():
    log_weights = np.array([-5000.0, 5000.0, 0.0])

    assert gumbel_top_k(log_weights, np.arange(3), 3, RNG).tolist() == [1, 2, 0]


def test_rows_of_weight_zero_come_last():
    log_weights = np.array([-np.inf, -800.0, -np.inf, 0.0])

    assert gumbel_top_k(log_weights, np.arange(4), 2, RNG).tolist() == [3, 1]
    assert set(gumbel_top_k(log_weights, np.arange(4), 4, RNG)[2:]) == {0, 2}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_log_weight_that_is_no_number_is_refused(bad):
    with pytest.raises(OptionError, match="NaN or infinite"):
        gumbel_top_k(np.array([0.0, bad]), np.arange(2), 1, RNG)


@pytest.mark.parametrize(
    "draw", [uniform_k, lambda rows, k, rng: gumbel_top_k(np.zeros(len(rows)), rows, k, rng)], ids=["uniform", "gumbel"]
)
def test_a_draw_keeps_its_rows_when_others_leave(draw):
    chosen = draw(np.arange(100), 30, RNG)
    others = np.setdiff1d(np.arange(100), chosen)[::2]
    left = np.setdiff1d(np.arange(100), others)

    assert left[draw(left, 30, RNG)].tolist() == chosen.tolist()


def test_a_larger_uniform_draw_only_adds():
    assert uniform_k(np.arange(50), 40, RNG)[:10].tolist() == uniform_k(np.arange(50), 10, RNG).tolist()


def test_each_bin_gives_its_budget_by_lowest_luck():
    bins, budgets = np.array([2, 0, 2, 2, 0, 3]), np.array([1, 0, 2, 0])
    luck = RNG.uniform(np.arange(6))

    chosen = uniform_per_bin(bins, budgets, np.arange(6), RNG)

    expected = [min([1, 4], key=luck.__getitem__), *sorted([0, 2, 3], key=luck.__getitem__)[:2]]
    assert chosen.tolist() == sorted(expected, key=luck.__getitem__)


def test_inclusion_probabilities_sum_to_the_budget():
    np.testing.assert_allclose(inclusion_probabilities(np.log(WEIGHTS), 2), [1 / 6, 1 / 3, 1 / 2, 1], atol=1e-12)
    for k in (1, 2, 3, 4):
        assert inclusion_probabilities(np.log(WEIGHTS), k).sum() == pytest.approx(k)
    assert inclusion_probabilities(np.array([-np.inf, 9e5, -9e5]), 2).tolist() == [0, 1, 1]


@pytest.mark.parametrize("k", [0, 3])
def test_more_rows_than_have_a_weight_cannot_be_expected(k):
    with pytest.raises(OptionError, match="2 have a weight"):
        inclusion_probabilities(np.array([0.0, 0.0, -np.inf]), k)


def frequency(draw: Any) -> np.ndarray[Any, Any]:
    probabilities = inclusion_probabilities(np.log(WEIGHTS), 2)
    counts = np.zeros(4)
    for seed in range(2000):
        counts[draw(probabilities, np.arange(4), KeyedRandom(seed, "law"))[0]] += 1
    return counts / 2000


@pytest.mark.parametrize("draw", [poisson, systematic])
def test_rows_come_up_with_their_probability(draw):
    np.testing.assert_allclose(frequency(draw), [1 / 6, 1 / 3, 1 / 2, 1], atol=0.035)  # three standard errors over 2,000 seeds


@pytest.mark.parametrize("draw", [poisson, systematic])
def test_weights_are_one_over_the_probability(draw):
    probabilities = np.array([0.25, 0.75, 1.0])

    chosen, weights = draw(probabilities, np.arange(3), RNG)

    np.testing.assert_array_equal(weights, 1 / probabilities[chosen])


def test_systematic_draws_give_exactly_their_sum():
    for seed in range(200):
        rng = KeyedRandom(seed, "exact")
        probabilities = inclusion_probabilities(3 * rng.gumbel(np.arange(40)), 1 + seed % 40)
        chosen, _ = systematic(probabilities, np.arange(40), rng)
        assert len(set(chosen.tolist())) == 1 + seed % 40


def test_probabilities_that_are_none_are_refused():
    with pytest.raises(OptionError, match="between 0 and 1"):
        poisson(np.array([1.5]), np.arange(1), RNG)
    with pytest.raises(OptionError, match="whole number"):
        systematic(np.array([0.5, 0.25]), np.arange(2), RNG)
