"""The sum of probability margins."""

import numpy as np

from curate.scorers.dynamics.margin_sum import MarginSum
from curate.testing import shard_of

NAN = np.nan


def test_margins_are_added_not_averaged():
    shard = shard_of({"dynamics.m_prob": [[0.5, 0.25, -0.25], [NAN, -1.0, NAN], [NAN, NAN, NAN]]})

    np.testing.assert_array_equal(MarginSum().score_rows(shard)["score"], np.float32([0.5, -1, NAN]))
