"""EL2N against the worked example of one prediction, (.786986, .106507, .106507)."""

import numpy as np
import pytest

from curate.scorers.dynamics.el2n import EL2N
from curate.testing import shard_of

NAN = np.nan
P = np.exp([2.0, 0.0, 0.0]) / np.exp([2.0, 0.0, 0.0]).sum()


@pytest.mark.parametrize(("label", "norm", "expected"), [(0, 2, 0.260888), (1, 2, 1.195416), (0, 1, 0.426028)])
def test_one_epoch_gives_the_norm_itself(label: int, norm: int, expected: float):
    error = np.linalg.norm(P - np.eye(3)[label], ord=norm)
    scorer = EL2N(epochs=(3,), norm=norm)

    score = scorer.score_rows(shard_of({scorer.requires[0]: [error]}))["score"]

    np.testing.assert_allclose(score, [expected], atol=1e-6)


def test_several_epochs_are_averaged_over_those_that_saw_the_row():
    columns = {"eval.el2n@2": [0.2, NAN, NAN], "eval.el2n@5": [0.6, 0.4, NAN]}

    score = EL2N(epochs=(2, 5)).score_rows(shard_of(columns))["score"]

    np.testing.assert_allclose(score, [0.4, 0.4, NAN], atol=1e-7)
