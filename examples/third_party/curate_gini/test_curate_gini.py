"""The whole test that a scorer of one's own needs, beside an example worked by hand."""

import numpy as np
from curate_gini import Gini

from curate.testing import check_scorer, shard_of


def test_gini_keeps_what_every_scorer_promises():
    check_scorer(Gini)


def test_a_certain_prediction_has_no_impurity():
    score = Gini().score_rows(shard_of({"probs.final": [[1.0, 0.0], [0.5, 0.5]]}))["score"]

    np.testing.assert_array_equal(score, np.float32([0.0, 0.5]))
