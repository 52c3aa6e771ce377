from itertools import permutations

import numpy as np
import pytest

from curate.errors import InputError, OptionError
from curate.index.label_neighbours import knn_shapley, neighbour_disagreement

LINE = np.array([[0.0], [1.0], [2.0]])


@pytest.mark.parametrize(
    ("k", "expected"),
    [(1, [0.833333, -0.166667, 0.333333]), (2, [0.333333, -0.166667, 0.333333]), (5, [0.2, 0, 0.2])],
)
def test_matches_1_0_1_give_the_values_worked_by_hand(k, expected):
    values = knn_shapley(LINE, np.array([1, 0, 1]), np.array([[-1.0]]), np.array([1]), k=k)

    np.testing.assert_allclose(values, expected, atol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_it_is_the_mean_marginal_gain_over_all_orders(k):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 2)), rng.integers(0, 2, 5)
    tx, ty = rng.normal(size=(3, 2)), rng.integers(0, 2, 3)

    np.testing.assert_allclose(knn_shapley(x, y, tx, ty, k=k), brute_force(x, y, tx, ty, k), atol=1e-12)


def brute_force(x, y, tx, ty, k):
    def utility(rows, point, label):
        near = sorted(rows, key=lambda row: np.sum((x[row] - point) ** 2))[:k]
        return sum(y[row] == label for row in near) / k

    orders, gains = list(permutations(range(len(x)))), np.zeros(len(x))
    for point, label in zip(tx, ty, strict=True):
        for order in orders:
            for i, row in enumerate(order):
                gains[row] += utility(order[: i + 1], point, label) - utility(order[:i], point, label)
    return gains / len(orders) / len(tx)


def test_truncation_is_off_by_at_most_its_bound_and_zero_beyond():
    rng = np.random.default_rng(1)
    x, y, tx = rng.normal(size=(200, 3)), rng.integers(0, 3, 200), rng.normal(size=(1, 3))
    whole = knn_shapley(x, y, tx, np.array([1]), k=5)

    cut = knn_shapley(x, y, tx, np.array([1]), k=5, truncate=50)

    assert np.abs(cut - whole).max() <= 1 / 50
    assert np.count_nonzero(cut) <= 50
    np.testing.assert_array_equal(knn_shapley(x, y, tx, np.array([1]), k=5, truncate=200), whole)


def test_options_and_shapes_that_make_no_sense_are_refused():
    with pytest.raises(OptionError, match="k=3, truncate=2"):
        knn_shapley(LINE, np.array([0, 1, 0]), LINE, np.array([0, 1, 0]), k=3, truncate=2)
    with pytest.raises(InputError, match=r"\(3, 2\)"):
        knn_shapley(LINE, np.array([0, 1, 0]), np.zeros((3, 2)), np.array([0, 1, 0]))


def test_disagreement_counts_labelled_neighbours_only():
    labels = np.array([0, 1, 0, -1])
    neighbours = np.array([[1, 2], [0, 3], [3, -1], [0, 1]])

    np.testing.assert_array_equal(neighbour_disagreement(neighbours, labels), [0.5, 1.0, np.nan, np.nan])
