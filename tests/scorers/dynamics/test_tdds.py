"""TDDS: spread of the changes within windows, and its moving average."""

import numpy as np
import pytest

from curate.scorers.dynamics.tdds import TDDS
from curate.testing import shard_of

NAN = np.nan
P = np.array([[0.5, 0.5], [0.8, 0.2], [0.6, 0.4], [0.9, 0.1]])
KAPPA = [NAN, *np.abs(P[1:] * (np.log(P[1:] + 1e-8) - np.log(P[:-1] + 1e-8))).sum(axis=1)]


def scored(kappa: list[list[float]], **options) -> np.ndarray:
    return TDDS(**options).settle(np.shape(kappa)[1]).score_rows(shard_of({"dynamics.kappa": kappa}))["score"]


def test_four_presentations_of_two_classes():
    np.testing.assert_allclose(KAPPA, [NAN, 0.559261, 0.449868, 0.503548], atol=1e-6)

    # the windows stray by .0773525 and .0379574; the later one has nine tenths of the weight
    assert scored([KAPPA], window=3) == pytest.approx(0.0411234, abs=1e-6)


@pytest.mark.parametrize(("window", "epochs", "beta"), [(3, 12, 0.9), (5, 12, 0.5), (10, 11, 0.9), (4, 6, 1.0)])
def test_the_moving_average_agrees_with_the_weights_written_out(window: int, epochs: int, beta: float):
    kappa = np.random.default_rng(10).random((20, 12))
    kappa[:, 0] = NAN

    naive = []
    for row in kappa[:, 1:epochs]:
        total = 0.0
        for k in range(epochs - window + 1):
            part = row[k : k + window - 1]
            total += beta * (1 - beta) ** (epochs - window - k) * np.sqrt(((part - part.mean()) ** 2).sum())
        naive.append(total)

    np.testing.assert_allclose(scored(kappa, window=window, epochs=epochs, beta=beta), naive, rtol=1e-5)


def test_windows_advance_only_when_the_row_was_seen():
    a, b, c = KAPPA[1:]

    score = scored([[NAN, a, NAN, b, c, NAN], [NAN, NAN, a, b, NAN, c]], window=3)

    np.testing.assert_allclose(score, [0.0411234] * 2, atol=1e-6)


def test_a_row_with_fewer_presentations_than_a_window_has_no_score():
    score = scored([[NAN, 0.5, NAN, NAN], [NAN] * 4, [NAN, 0.5, 0.5, 0.5]], window=3)

    np.testing.assert_array_equal(score, np.float32([NAN, NAN, 0]))
