"""ccs: every stratum of the score is covered."""

import numpy as np
import pytest

from curate.errors import ColumnError, OptionError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.ranked.ccs import CCS, default_beta, strata

RNG = KeyedRandom(0, "ccs")
THREE = np.repeat([0.0, 1.5, 3.0], [2, 30, 10])  # strata of 2, 30 and 10 rows


def test_small_strata_are_kept_whole():
    index, weights = CCS(n_strata=3, beta=0).select(ArrayPool({"score": THREE}), 21, RNG)

    assert [int((THREE[index] == value).sum()) for value in (0.0, 1.5, 3.0)] == [2, 10, 9]
    assert (weights == 1).all()


def test_a_budget_beyond_all_strata_is_refused():
    with pytest.raises(OptionError, match="50 of 42"):
        CCS(n_strata=3, beta=0).select(ArrayPool({"score": THREE}), 50, RNG)


@pytest.mark.parametrize("score", [[-3.0, -2.0, -1.0], [-1.0, -0.5, 0.0], [5.0, 5.0, 5.0]], ids=["negative", "zero on top", "one value"])
def test_the_highest_row_can_be_chosen(score):
    index, _ = CCS(n_strata=2, beta=0).select(ArrayPool({"score": np.array(score)}), 3, RNG)

    assert sorted(index) == [0, 1, 2]


def test_strata_are_of_equal_width_with_the_last_one_closed():
    scores, trusted = np.array([0.0, 0.99, 1.0, 1.99, 3.99, 4.0, 9.0, -9.0]), np.repeat([True, False], [6, 2])

    assert strata(scores, 4, trusted).tolist() == [0, 0, 1, 1, 3, 3, 4, 4]
    assert strata(np.array([]), 4, np.array([], bool)).tolist() == []


@pytest.mark.parametrize(("end", "left"), [("low", {1, 3, 4}), ("high", {0, 2, 3})])
def test_the_suspect_end_of_the_mislabel_score_goes_first(end, left):
    pool = ArrayPool({"score": np.zeros(5), "other.score": np.array([0.1, 0.9, 0.2, 0.3, 0.8])})

    index, _ = CCS(beta=0.4, mislabel="other", mislabel_end=end).select(pool, 3, RNG)

    assert set(index.tolist()) == left


@pytest.mark.parametrize(
    ("options", "requires"),
    [({}, ("score", "aum.score")), ({"mislabel": "datamap.confidence"}, ("score", "datamap.confidence")), ({"beta": 0.0}, ("score",))],
)
def test_a_mislabel_score_is_required_only_where_rows_are_dropped(options, requires):
    assert CCS(**options).requires == requires


def test_a_missing_mislabel_score_is_named():
    with pytest.raises(ColumnError, match=r'"aum\.score"'):
        CCS(beta=0.1).select(ArrayPool({"score": np.zeros(10)}), 1, RNG)


@pytest.mark.parametrize(("kept", "beta"), [(100, 0.0), (70, 0.0), (50, 0.1), (25, 0.2), (10, 0.3), (1, 0.3), (60, 0.05)])
def test_the_default_beta_follows_the_published_values(kept, beta):
    assert default_beta(kept, 100) == beta


def test_the_default_never_drops_below_the_budget():
    for k in range(1, 1001):
        assert int(default_beta(k, 1000) * 1000) <= 1000 - k


def test_a_beta_that_leaves_too_few_is_refused():
    pool = ArrayPool({"score": np.zeros(10), "aum.score": np.zeros(10)})

    with pytest.raises(OptionError, match=r"beta=0\.5 leaves 5 of 10 rows, but the budget is 6"):
        CCS(beta=0.5).select(pool, 6, RNG)


@pytest.mark.parametrize("options", [{"n_strata": 0}, {"beta": 1.0}, {"beta": -0.1}])
def test_options_outside_their_range_are_refused(options):
    with pytest.raises(OptionError, match=f"ccs: {next(iter(options))}"):
        CCS(**options)


def test_an_infinite_score_has_no_strata():
    with pytest.raises(ColumnError, match="infinite"):
        CCS(beta=0).select(ArrayPool({"score": np.array([0.0, np.inf])}), 1, RNG)
