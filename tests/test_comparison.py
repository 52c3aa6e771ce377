import math

import numpy as np
import pytest

from curate.comparison import (
    BINS,
    Comparison,
    Estimate,
    break_even,
    calibration_error,
    estimate,
    paired_difference,
    verdict,
    worst_class,
)
from curate.errors import InputError
from curate.store import Store

ROUNDING = 1e-9  # of scipy's own inverse, which iterates


def test_the_interval_of_three_seeds_is_students():
    found = estimate([1.0, 2.0, 3.0])

    half = 0.95 / math.sqrt(2 * 0.975 * 0.025) / math.sqrt(3)  # Student's t of 2 degrees has a closed form; s = 1
    assert (found.mean, found.seeds) == (2.0, 3)
    assert found.half == pytest.approx(half, abs=ROUNDING)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), abs=ROUNDING)


@pytest.mark.parametrize(("values", "mean"), [([], None), ([0.5], 0.5)])
def test_one_seed_or_none_has_no_interval(values, mean):
    assert estimate(values) == Estimate(mean, None, None, len(values))
    assert estimate(values).half is None


def test_the_interval_agrees_with_scipy():
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(0).normal(size=7)
    interval = ttest_1samp(values, 0).confidence_interval(0.95)

    found = estimate(values)

    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=ROUNDING)


def test_the_interval_holds_the_truth_nineteen_times_in_twenty():
    draws = np.random.default_rng(1).normal(3, 2, size=(2000, 4))

    held = [one.low <= 3 <= one.high for one in map(estimate, draws)]

    # three standard errors of 2,000 draws around 0.95
    assert abs(np.mean(held) - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 2000)


def test_pairs_cancel_what_a_seed_does_to_both():
    luck = {0: -0.2, 1: 0.0, 2: 0.3}

    found = paired_difference({s: 0.51 + x for s, x in luck.items()}, {s: 0.5 + x for s, x in luck.items()})

    assert found.mean == pytest.approx(0.01) and found.half == pytest.approx(0, abs=1e-9)
    assert verdict(found) == "better than random"


def test_only_seeds_that_both_have_are_paired():
    assert paired_difference({0: 1.0, 1: 5.0}, {0: 0.5, 2: 9.0}) == Estimate(0.5, None, None, 1)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.02, "better than random"),
        (-0.02, -0.01, "worse than random"),
        (-0.01, 0.02, "no better than random"),
        (0.0, 0.02, "no better than random"),
        (0.0, 0.0, "no better than random"),
        (None, None, None),
    ],
)
def test_the_verdict_asks_whether_the_interval_covers_zero(low, high, words):
    assert verdict(Estimate(0.0, low, high, 3)) == words


@pytest.mark.parametrize(
    ("scoring", "full", "ours", "runs"), [(60, 50, 20, 2), (61, 50, 20, 3), (0, 2, 1, 0), (9, 1, 1, None), (9, 1, 2, None)]
)
def test_the_runs_that_win_scoring_back(scoring, full, ours, runs):
    assert break_even(scoring, full, ours) == runs


def test_calibration_by_hand():
    confidence, correct = np.array([0.9, 0.9, 0.5, 1.0]), np.array([True, False, True, True])

    # bins of 1/15: {0.9, 0.9} half right, off by 2 · 0.4; {0.5} right, off by 0.5; {1.0} is in the last bin and right
    assert calibration_error(confidence, correct) == pytest.approx((0.8 + 0.5) / 4)


def test_calibration_agrees_with_a_loop_over_bins():
    rng = np.random.default_rng(0)
    confidence, correct = rng.uniform(size=500), rng.uniform(size=500) < 0.7
    total = 0.0
    for i in range(BINS):
        inside = (confidence >= i / BINS) & (confidence < (i + 1) / BINS)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())

    assert calibration_error(confidence, correct) == pytest.approx(total, abs=ROUNDING)


def test_the_worst_class_is_of_those_that_were_tested():
    labels, correct = np.array([0, 0, 3, 3, 3]), np.array([True, False, True, True, False])

    assert worst_class(labels, correct) == 0.5


def test_another_store_is_no_comparison(tmp_path):
    Store.create(tmp_path / "scores", "scores", dataset={}, job={}, settled={})

    with pytest.raises(InputError, match=r'kind "scores", not "comparison". `curate compare'):
        Comparison.open(tmp_path / "scores")
