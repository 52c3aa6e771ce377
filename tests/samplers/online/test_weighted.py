"""weighted: rows in proportion to a score, their losses corrected."""

import numpy as np
import pytest

from curate.errors import InputError
from curate.samplers import Weighted

SCORES = [0.0, 1.0, 2.0, 5.0]


def test_presentations_follow_the_scores_and_weights_undo_them():
    # p = .2/4 + .8 · score/8 = .05, .15, .25, .55; weights 1/(4p)
    p = np.array([0.05, 0.15, 0.25, 0.55])
    sampler = Weighted(SCORES, 2000, mix=0.2)

    counts = sum(np.bincount(list(sampler), minlength=4) for _ in range(2000)) / 2000

    np.testing.assert_allclose(counts, 4 * p, atol=0.04)
    np.testing.assert_allclose(sampler.weight([3]), 1 / (4 * 0.55), rtol=1e-6)


def test_the_weighted_sum_is_that_of_all_rows_on_average():
    value = np.array([3.0, -1.0, 4.0, 1.0])
    sampler = Weighted(SCORES, 3000, mix=0.3)
    totals = [float((value[rows] * sampler.weight(rows).numpy()).sum()) for rows in (list(sampler) for _ in range(3000))]

    assert np.mean(totals) == pytest.approx(value.sum(), abs=0.25)  # three standard errors


def test_even_scores_give_every_row_once():
    assert sorted(Weighted(np.ones(50), 3)) == list(range(50))


def test_without_correction_every_weight_is_one():
    sampler = Weighted(SCORES, 3, correct=False)

    assert set(sampler.weight(list(sampler)).tolist()) == {1.0}


def test_a_share_presents_fewer():
    assert len(list(Weighted(np.arange(1, 101), 3, share=0.25))) == 25


@pytest.mark.parametrize("scores", [[1.0, -1.0], [1.0, float("nan")], [float("inf"), 1.0], [0.0, 0.0]])
def test_scores_that_are_no_weights_are_refused(scores):
    with pytest.raises(InputError):
        Weighted(scores, 3)
