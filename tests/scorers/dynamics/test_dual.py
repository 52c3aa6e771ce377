"""DUAL: uncertainty times difficulty."""

import numpy as np
import pytest

from curate.scorers.dynamics.dual import DUAL
from curate.testing import shard_of

NAN = np.nan


def scored(p: list[list[float]], **options) -> dict[str, np.ndarray]:
    scorer = DUAL(**options).settle(np.shape(p)[1])
    return dict(scorer.score_rows(shard_of({"dynamics.loss": -np.log(p)})))


def test_windows_of_three_over_four_presentations():
    found = scored([[0.2, 0.6, 0.9, 0.7]], window=3)

    assert found["score"] == pytest.approx(0.0964578, abs=1e-6)
    assert found["mean"] == pytest.approx(0.6, abs=1e-6)


def test_only_the_first_presentations_of_each_row_are_read():
    found = scored([[0.2, 0.6, 0.9, 0.7, 0.1], [NAN, 0.2, 0.6, 0.9, 0.7]], window=3, epochs=4)

    np.testing.assert_allclose(found["score"], [0.0964578] * 2, atol=1e-6)
    np.testing.assert_allclose(found["mean"], [0.6] * 2, atol=1e-6)


def test_a_row_with_fewer_presentations_than_a_window_has_a_mean_but_no_score():
    found = scored([[0.2, 0.6, NAN], [NAN] * 3], window=3)

    assert np.isnan(found["score"]).all()
    np.testing.assert_allclose(found["mean"], [0.4, NAN], rtol=1e-6)
