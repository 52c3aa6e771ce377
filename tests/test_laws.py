"""Laws of data give the numbers of their papers, and find the truth behind simulated errors again."""

import itertools
import math

import numpy as np
import pytest

from curate.errors import InputError
from curate.laws import DRAWS, FilterLaw, Measured, fit_filter_law, fit_piecewise, fit_power, repeated

EXACT = 1e-6  # the worked numbers have six digits


def law(a, b, tau, floor):
    return FilterLaw(*(np.array([value]) for value in (math.log(a), b, tau, floor)))


@pytest.mark.parametrize(("visits", "error"), [(12.8e6, 0.968488), (25.6e6, 0.906928), (64e6, 0.864483), (128e6, 0.855896)])
def test_the_filter_law_gives_the_worked_numbers(visits, error):
    assert law(0.02, -0.15, 2.0, 0.1).errors(visits, 12.8e6)[0] == pytest.approx(error, abs=EXACT)


@pytest.mark.parametrize("visits", [500.0, 1000.0, 2500.0, 7000.0])
def test_repetition_is_worth_what_the_product_over_epochs_says(visits):
    rows, tau = 1000.0, 3.0
    ends = [min(j * rows, visits) for j in range(1, math.ceil(visits / rows) + 1)]

    product = math.prod((after / before) ** (0.5 ** (j / tau)) for j, (before, after) in enumerate(itertools.pairwise(ends), 1))

    assert repeated(visits, rows, np.array([tau]))[0] == pytest.approx(math.log(product), abs=1e-12)


def test_the_truth_behind_noisy_errors_lies_in_the_intervals():
    truth = law(3000.0, -0.35, 4.0, 0.05)
    rows = [250, 500, 1000, 2000, 5000, 10_000] * 2
    visits = [20_000.0] * 6 + [100_000.0] * 6
    held = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        seen = [truth.errors(n, s)[0] + 0.003 * rng.standard_normal(5) for n, s in zip(visits, rows, strict=True)]
        fitted = fit_filter_law(visits, rows, Measured.of(seen).draws(0.0, rng), floor=0.05)
        for found, real in ((fitted.log_a, math.log(3000)), (fitted.b, -0.35), (fitted.tau, 4.0)):
            low, high = np.nanpercentile(found, [2.5, 97.5])
            held.append(low <= real <= high)

    assert np.mean(held) >= 0.8  # of 95 % each; thirty, not independent


def test_the_floor_is_found_where_none_is_given():
    truth = law(3000.0, -0.35, 4.0, 0.05)
    rows, visits = [250, 500, 1000, 2000, 5000, 10_000] * 2, [20_000.0] * 6 + [200_000.0] * 6

    fitted = fit_filter_law(visits, rows, np.array([[truth.errors(n, s)[0] for n, s in zip(visits, rows, strict=True)]]))

    assert fitted.floor[0] == pytest.approx(0.05, abs=0.01)  # half a step of the grid, and what τ's grid adds
    assert fitted.tau[0] == pytest.approx(4, rel=0.3)


def test_a_pools_own_b_is_recovered_from_its_error():
    common, better = law(3000.0, -0.35, 4.0, 0.05), np.array([-0.4])

    error = common.errors(30_000, 3000, better)

    np.testing.assert_allclose(common.utility(error, 30_000, 3000), better)
    assert np.isnan(common.utility(np.array([0.04]), 30_000, 3000))[0]


def test_pools_seen_equally_often_say_nothing_of_repetition():
    with pytest.raises(InputError, match="equally often"):
        fit_filter_law([1000, 2000, 4000], [100, 200, 400], np.array([[0.5, 0.4, 0.3]]))


def test_a_power_law_is_found_exactly():
    rows = [100, 300, 1000]

    fitted = fit_power(rows, Measured.of([[2 * n**-0.4] for n in rows]))

    assert fitted.slope[0] == pytest.approx(-0.4)
    assert fitted.at(10_000).value == pytest.approx(2 * 10_000**-0.4)
    assert len(fitted.slope) == 1 + DRAWS


def test_the_piecewise_law_bends_below_its_knee_and_is_a_power_law_beyond():
    rows = [50, 100, 200, 400, 800, 1600, 3200]
    knee = math.log(400)
    errors = [[math.exp(-0.2 - 0.3 * math.log(n) - 0.1 * min(0, math.log(n) - knee) ** 2)] for n in rows]

    fitted = fit_piecewise(rows, Measured.of(errors))

    assert fitted.knee[0] == 400
    assert fitted.slope[0] == pytest.approx(-0.3)
    assert fitted.bend[0] == pytest.approx(-0.1)
    assert fitted.at(12_800).value == pytest.approx(math.exp(-0.2 - 0.3 * math.log(12_800)))


@pytest.mark.parametrize(("fit", "sizes"), [(fit_power, 2), (fit_piecewise, 4)])
def test_too_few_sizes_are_refused(fit, sizes):
    rows = list(range(100, 100 + sizes))

    with pytest.raises(InputError, match=f"there are {sizes}"):
        fit(rows, Measured.of([[0.1]] * sizes))


@pytest.mark.parametrize("fit", [fit_power, fit_piecewise])
def test_the_error_on_all_digits_is_foretold_from_thirty_per_cent_of_them(fit):
    sizes = [round(share * 1397) for share in (0.05, 0.08, 0.12, 0.18, 0.3)]

    foretold = fit(sizes, Measured.of([errors_on_digits(rows) for rows in sizes])).at(1397)

    truth = float(np.mean(errors_on_digits(1397)))
    assert foretold.value == pytest.approx(truth, rel=0.2)
    assert foretold.low <= truth <= foretold.high


def errors_on_digits(rows):
    """Of three nearest neighbours among so many rows, ten draws, on 400 others."""
    from sklearn.datasets import load_digits
    from sklearn.neighbors import KNeighborsClassifier

    x, y = load_digits(return_X_y=True)
    orders = [np.random.default_rng(seed).permutation(len(y)) for seed in range(10)]
    cut = [(order[:400], order[400 : 400 + rows]) for order in orders]
    return [1 - KNeighborsClassifier(3).fit(x[train], y[train]).score(x[test], y[test]) for test, train in cut]
