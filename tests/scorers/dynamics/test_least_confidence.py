"""Least confidence of the final prediction."""

import numpy as np

from curate.scorers.dynamics.least_confidence import LeastConfidence
from curate.testing import shard_of

NAN = np.nan


def test_it_is_what_the_largest_probability_lacks_to_one():
    shard = shard_of({"probs.final": [[0.75, 0.25], [0.5, 0.5], [0.0, 1.0], [NAN, NAN]]})

    np.testing.assert_array_equal(LeastConfidence().score_rows(shard)["score"], np.float32([0.25, 0.5, 0, NAN]))
