"""pvi: how many bits a model gets out of the input for the given label."""

import numpy as np
import pytest

from curate.scorers.dynamics.pvi import PVI
from curate.testing import shard_of

NAN = np.nan


def scored(p, labels):
    scorer, shard = PVI(), shard_of({"probs.oos": np.float32(p), "label": labels})
    return scorer.score(shard, scorer.merge([scorer.fit(shard, None)]))["score"]


def test_the_bits_beyond_the_prior():
    # three balanced classes: log2 .9 + log2 3 and log2 .05 + log2 3
    score = scored([[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.05, 0.05, 0.9]], [0, 1, 2])

    np.testing.assert_allclose(score, [1.432959, -2.736966, 1.432959], rtol=1e-6)


def test_a_model_that_knows_nothing_but_the_prior_has_no_information():
    p = np.tile([0.75, 0.25], (8, 1))

    np.testing.assert_allclose(scored(p, [0, 0, 0, 0, 0, 0, 1, 1]), 0, atol=1e-6)


def test_a_row_without_a_label_or_probabilities_scores_nan():
    score = scored([[0.5, 0.5], [NAN, NAN], [0.0, 1.0], [0.5, 0.5]], [0, 1, 0, -1])

    assert np.isnan(score[[1, 3]]).all() and np.isfinite(score[[0, 2]]).all()


def test_a_noisy_channel_has_its_capacity():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 20_000)
    seen = np.where(rng.random(20_000) < 0.2, rng.integers(0, 4, 20_000), y)  # wrong in .15 of the cases
    p = np.full((20_000, 4), 0.05)
    p[np.arange(20_000), seen] = 0.85

    analytic = 2 + 0.85 * np.log2(0.85) + 0.15 * np.log2(0.05)
    assert scored(p, y).mean() == pytest.approx(analytic, abs=0.05)
