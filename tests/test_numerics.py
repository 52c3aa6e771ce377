"""Arithmetic with missing presentations."""

import numpy as np
import pytest

from curate.numerics import compact, row_mean, row_sum, row_variance, window_moments

NAN = np.nan


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], id="nothing missing"),
        pytest.param([NAN, 1.0, NAN, 2.0], [1.0, 2.0, NAN, NAN], id="holes"),
        pytest.param([2.0, 1.0, NAN], [2.0, 1.0, NAN], id="missing at the end"),
        pytest.param([NAN, NAN], [NAN, NAN], id="never seen"),
    ],
)
def test_presentations_move_left_in_their_order(row: list[float], expected: list[float]):
    np.testing.assert_array_equal(compact(np.float32([row])), np.float32([expected]))


def test_compacting_agrees_with_a_loop_over_rows():
    rng = np.random.default_rng(0)
    values = np.where(rng.random((50, 9)) < 0.3, NAN, rng.random((50, 9)))

    packed = compact(values)

    for row, expected in zip(packed, values, strict=True):
        seen = expected[~np.isnan(expected)]
        np.testing.assert_array_equal(row, np.pad(seen, (0, 9 - len(seen)), constant_values=NAN))


def test_compacting_leaves_its_input_alone():
    values = np.array([[NAN, 1.0]])

    compact(values)

    np.testing.assert_array_equal(values, [[NAN, 1.0]])


def test_sums_means_and_variances_take_only_what_was_seen():
    values = np.float32([[1, NAN, 3], [NAN, NAN, NAN], [2, 2, 2]])

    np.testing.assert_array_equal(row_sum(values), [4, NAN, 6])
    np.testing.assert_array_equal(row_mean(values), [2, NAN, 2])
    np.testing.assert_array_equal(row_variance(values), [1, NAN, 0])


def test_a_signal_without_epochs_was_never_seen():
    np.testing.assert_array_equal(row_mean(np.empty((2, 0))), [NAN, NAN])


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_row_sums_to_the_same_bits_alone_and_among_others(order: str):
    values = np.asarray(np.random.default_rng(1).random((40, 33)), np.float32, order=order)

    alone = np.concatenate([row_sum(values[i : i + 1]) for i in range(40)])

    np.testing.assert_array_equal(row_sum(values), alone)


@pytest.mark.parametrize("ddof", [0, 1])
def test_window_moments_agree_with_numpy_window_by_window(ddof: int):
    values = np.random.default_rng(2).random((5, 7))

    mean, deviation = window_moments(values, 3, ddof=ddof)

    assert mean.shape == deviation.shape == (5, 5)
    for k in range(5):
        np.testing.assert_allclose(mean[:, k], values[:, k : k + 3].mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(deviation[:, k], values[:, k : k + 3].std(axis=1, ddof=ddof), rtol=1e-12)


def test_a_window_longer_than_the_row_is_missing():
    mean, _ = window_moments(np.array([[1.0, 2.0, NAN]]), 3, ddof=1)

    assert np.isnan(mean).all()
    assert window_moments(np.ones((2, 2)), 3, ddof=1)[0].shape == (2, 0)
