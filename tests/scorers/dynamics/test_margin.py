"""Margin of the final prediction."""

import numpy as np

from curate.scorers.dynamics.margin import Margin
from curate.testing import shard_of

NAN = np.nan


def test_it_is_one_minus_the_gap_of_the_two_largest_wherever_they_stand():
    shard = shard_of({"probs.final": [[0.5, 0.25, 0.25], [0.0, 0.25, 0.75], [0.5, 0.5, 0.0], [NAN] * 3]})

    np.testing.assert_array_equal(Margin().score_rows(shard)["score"], np.float32([0.75, 0.5, 1, NAN]))


def test_a_single_class_has_nothing_to_be_confused_with():
    assert Margin().score_rows(shard_of({"probs.final": [[1.0]]}))["score"] == 0
