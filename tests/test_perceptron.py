"""The perceptron simulator: the student by hand, the published crossover, and the theory."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.perceptron import max_margin, predicted, simulate

FINITE = 0.03  # two deviations of six trials in 60 dimensions, and what the dimensions still move


def test_the_student_is_the_separator_of_largest_margin():
    # symmetric about the diagonal; and (1, 0), (-1, 1): w is as far from both, (1, 2) / sqrt 5, the margin 1 / sqrt 5
    np.testing.assert_allclose(max_margin(np.array([[2.0, 1.0], [1.0, 2.0]])), [0.5**0.5, 0.5**0.5])
    np.testing.assert_allclose(max_margin(np.array([[1.0, 0.0], [-1.0, 1.0]])), [0.2**0.5, 0.8**0.5])


def test_no_direction_has_a_larger_margin():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((30, 3))
    rows *= np.sign(rows[:, :1])
    margin = (rows @ max_margin(rows)).min()
    tried = rng.standard_normal((20_000, 3))

    assert margin > 0
    assert (rows @ (tried / np.linalg.norm(tried, axis=1, keepdims=True)).T).min(0).max() <= margin


def test_rows_without_a_separator_are_refused():
    with pytest.raises(OptionError, match="no separating direction"):
        max_margin(np.array([[1.0, 0.0], [-1.0, 0.0]]))


def test_hard_rows_win_where_rows_abound_and_lose_where_they_are_scarce():
    found = {(one.samples, one.kept): one for one in simulate([2, 4, 8, 32], parameters=60, trials=6)}

    def lead(samples):
        return found[samples, "random"].each - found[samples, "hard"].each

    assert (lead(2) < 0).all() and (lead(4) < 0).all()
    assert lead(8).mean() > 0 and (lead(32) > 0).all()
    for (samples, kept), one in found.items():
        assert one.mean == pytest.approx(predicted(samples, kept), abs=FINITE)


def test_the_theory_crosses_where_the_trials_do():
    assert predicted(4, "hard") > predicted(4, "random") + 0.1
    assert predicted(8, "hard") < predicted(8, "random") - 0.05


def test_all_rows_are_the_same_whatever_is_kept_of_them():
    found = simulate([3], share=1.0, parameters=20, trials=2)

    assert np.ptp([one.each for one in found], axis=0).max() < 1e-12  # the order of the rows moves the last digit
    assert predicted(3, "hard", share=1.0) == pytest.approx(predicted(6, "random", share=0.5), abs=1e-9)  # as many rows a parameter


def test_a_poor_probe_makes_hard_rows_worth_no_more_than_random_ones():
    hard, random = (one.each for one in simulate([8], kept=["hard", "random"], angle=90, parameters=40, trials=6))

    assert abs((hard - random).mean()) < 0.05


@pytest.mark.parametrize(
    ("samples", "options", "says"),
    [([], {}, "numbers above 0"), ([2], {"share": 0}, "share"), ([2], {"parameters": 1}, "parameters"), ([2], {"angle": 91}, "angle"),
     ([2], {"trials": 0}, "trials")],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(samples, options, says):
    with pytest.raises(OptionError, match=says):
        simulate(samples, **options)
