"""beta: DUAL times a Beta density."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.ranked.beta import Beta, shape

RNG = KeyedRandom(0, "beta")


def pool_of(dual, mean):
    return ArrayPool({"dual.score": np.array(dual), "dual.mean": np.array(mean)})


@pytest.mark.parametrize(("rate", "expected"), [(0.3, (5.585, 10.415)), (0.9, (12.389, 3.611))])
def test_the_density_moves_to_easy_rows_as_more_is_pruned(rate, expected):
    assert shape(0.3, rate, 4) == pytest.approx(expected, abs=5e-4)


def test_rows_are_drawn_in_proportion_to_score_times_density():
    dual, mean = np.array([0.1, 0.2, 0.05, 0.1]), np.array([0.3, 0.5, 0.8, 0.9])
    a, b = shape(mean.mean(), 0.75, 4)  # fewer than ten rows: all are anchors
    weight = dual * mean ** (a - 1) * (1 - mean) ** (b - 1)
    counts = np.zeros(4)

    for seed in range(2000):
        counts[Beta().select(pool_of(dual, mean), 1, KeyedRandom(seed, "beta"))[0]] += 1

    np.testing.assert_allclose(counts / 2000, weight / weight.sum(), atol=0.035)  # three standard errors


def test_the_anchors_are_the_ten_highest_scores():
    dual = np.r_[np.full(10, 1.0), np.full(90, 1e-3)]
    mean = np.r_[np.full(10, 0.2), np.full(90, 0.9)]
    a, b = shape(0.2, 0.9, 4)
    keys = np.log(dual) + (a - 1) * np.log(mean) + (b - 1) * np.log1p(-mean) + RNG.gumbel(np.arange(100))

    index, weights = Beta().select(pool_of(dual, mean), 10, RNG)

    assert index.tolist() == np.argsort(-keys)[:10].tolist()
    assert (weights == 1).all()


def test_certain_rows_and_scores_of_zero_keep_the_budget_exact():
    index, _ = Beta().select(pool_of([0.0, 0.1, 0.0, 0.2], [1.0, 1.0, 0.0, 0.0]), 3, RNG)

    assert set(index[:2].tolist()) == {1, 3} and len(set(index.tolist())) == 3


@pytest.mark.parametrize(("dual", "mean"), [([-0.1], [0.5]), ([0.1], [1.5])])
def test_columns_that_cannot_be_dual_are_refused(dual, mean):
    with pytest.raises(OptionError, match=r"dual\.mean"):
        Beta().select(pool_of(dual, mean), 1, RNG)


@pytest.mark.parametrize("c_d", [0.0, -1.0, float("inf"), float("nan")])
def test_a_c_d_that_is_no_positive_number_is_refused(c_d):
    with pytest.raises(OptionError, match=f"got {c_d}"):
        Beta(c_d=c_d)
