"""Loss, final and mean."""

import numpy as np

from curate.scorers.dynamics.loss import Loss
from curate.testing import shard_of

NAN = np.nan


def test_the_final_loss_is_the_last_evaluation():
    score = Loss().settle(8).score_rows(shard_of({"eval.loss@8": [0.5, NAN]}))["score"]

    np.testing.assert_array_equal(score, np.float32([0.5, NAN]))


def test_the_mean_loss_takes_only_what_was_seen():
    shard = shard_of({"dynamics.loss": [[1.0, 2.0, 3.0], [NAN, 2.0, 4.0], [NAN, NAN, NAN]]})

    np.testing.assert_array_equal(Loss(over="mean").score_rows(shard)["score"], np.float32([2, 3, NAN]))
