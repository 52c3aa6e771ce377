"""Entropy of the final prediction."""

import numpy as np

from curate.scorers.dynamics.entropy import Entropy
from curate.testing import shard_of

NAN = np.nan


def test_entropy_runs_from_certain_to_undecided_in_nats():
    shard = shard_of({"probs.final": [[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.25] * 4, [NAN] * 4]})

    score = Entropy().score_rows(shard)["score"]

    np.testing.assert_allclose(score, [0, np.log(2), np.log(4), NAN], rtol=1e-6)


def test_a_single_class_leaves_nothing_undecided():
    assert Entropy().score_rows(shard_of({"probs.final": [[1.0]]}))["score"] == 0
