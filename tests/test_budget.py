"""Budgets are exact, and allocators share them out to the last row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.budget import check_budget, fill_ascending, parse_budget, per_class, power, proportional, share_of, water_fill
from curate.errors import ColumnError, OptionError
from curate.rng import KeyedRandom

RNG = KeyedRandom(0, "budget")
SIZES = st.lists(st.integers(0, 50), min_size=1, max_size=12)
ALLOCATORS = {
    "fill_ascending": fill_ascending,
    "water_fill": lambda sizes, k: water_fill(sizes, k, RNG),
    "proportional": proportional,
    "power_0": lambda sizes, k: power(sizes, k, 0),
    "power_half": lambda sizes, k: power(sizes, k, 0.5),
    "power_2": lambda sizes, k: power(sizes, k, 2),
}


@pytest.mark.parametrize(
    ("budget", "n", "k"),
    [
        ("30%", 10, 3),
        ("29%", 100, 29),
        (0.29, 100, 29),
        (0.3, 10, 3),
        (np.float32(0.3), 10, 3),
        ("0.3", 10, 3),
        (" 12.5 % ", 80, 10),
        ("99.999%", 10, 9),
        ("100%", 7, 7),
        (1.0, 7, 7),
        ("5000", 60_000, 5000),
        (1, 1, 1),
        (np.int64(5), 9, 5),
    ],
    ids=str,
)
def test_a_budget_keeps_the_floor_of_the_share_as_written(budget, n, k):
    assert parse_budget(budget, n) == k


@pytest.mark.parametrize(
    "budget",
    [
        "0",
        0,
        -1,
        "-5",
        "11",
        11,
        "101%",
        1.5,
        "1.5",
        5000.0,
        "0%",
        "1%",
        "30.5.1%",
        "%",
        "",
        "many",
        "nan",
        "inf",
        "1e3",
        "٣",
        True,
        "9" * 30,
    ],
    ids=repr,
)
def test_a_budget_that_cannot_be_kept_is_refused_by_name(budget):
    with pytest.raises(OptionError) as error:
        parse_budget(budget, 10)

    assert repr(budget) in str(error.value)


def test_no_budget_fits_an_empty_pool():
    with pytest.raises(OptionError, match="0 rows"):
        parse_budget("30%", 0)


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_share_is_floored_as_a_fraction_not_as_a_float(basis_points, n):
    assert share_of(basis_points / 10_000, n) == basis_points * n // 10_000


@pytest.mark.parametrize(
    ("sizes", "k", "taken"),
    [([1, 0, 20, 3, 8], 10, [1, 0, 3, 3, 3]), ([2, 30, 10], 21, [2, 10, 9]), ([2, 30, 10], 42, [2, 30, 10])],
)
def test_fill_ascending_serves_the_small_bins_first(sizes, k, taken):
    assert fill_ascending(np.array(sizes), k).tolist() == taken


def test_water_fill_cuts_at_one_level():
    assert water_fill(np.array([10, 4, 3, 1]), 10, RNG).tolist() == [3, 3, 3, 1]


def test_the_remainder_of_water_fill_goes_to_a_drawn_bin_above_the_cut():
    found = {tuple(water_fill(np.array([100, 50, 2, 1]), 30, KeyedRandom(seed, "w")).tolist()) for seed in range(20)}

    assert found == {(14, 13, 2, 1), (13, 14, 2, 1)}


@pytest.mark.parametrize(
    ("exponent", "taken"),
    [(0, [4, 4, 2]), (1, [5, 4, 1])],
    ids=["equal, the small bin gives all", "proportional: 5.26, 3.68, 1.05"],
)
def test_power_goes_from_equal_to_proportional(exponent, taken):
    assert power(np.array([10, 7, 2]), 10, exponent).tolist() == taken


def test_proportional_gives_the_last_row_to_the_largest_remainder():
    # quotas 1.5, 2.5, 2 (a tie goes to the lower bin); 1.33, 2, 0.67
    assert proportional(np.array([3, 5, 4]), 6).tolist() == [2, 2, 2]
    assert proportional(np.array([6, 9, 3]), 4).tolist() == [1, 2, 1]


@pytest.mark.parametrize("allocator", ALLOCATORS.values(), ids=ALLOCATORS)
@given(SIZES, st.floats(0, 1))
def test_every_allocator_spends_the_whole_budget_within_the_bins(allocator, sizes, share):
    sizes = np.array(sizes)
    k = int(share * sizes.sum())

    taken = allocator(sizes, k)

    assert taken.sum() == k
    assert ((taken >= 0) & (taken <= sizes)).all()


@pytest.mark.parametrize("allocator", ALLOCATORS.values(), ids=ALLOCATORS)
def test_no_allocator_promises_more_rows_than_there_are(allocator):
    with pytest.raises(OptionError, match="50 of 42"):
        allocator(np.array([2, 30, 10]), 50)


def test_classes_share_a_budget_in_proportion_or_equally():
    labels = np.repeat([7, 2, 5], [60, 30, 10])

    assert per_class(labels, 10, "proportional") == {2: 3, 5: 1, 7: 6}
    assert per_class(labels, 40, "equal") == {2: 15, 5: 10, 7: 15}


def test_labels_that_are_no_codes_are_refused():
    with pytest.raises(ColumnError, match="float64"):
        per_class(np.array([0.0, 1.0]), 1, "equal")


@pytest.mark.parametrize("k", [-1, 4])
def test_a_count_outside_the_pool_is_refused(k):
    with pytest.raises(OptionError, match=f"{k} of 3"):
        check_budget(k, 3)
