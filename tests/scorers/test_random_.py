"""Random numbers by row."""

import numpy as np

from curate.scorers.random_ import Random
from curate.testing import shard_of


def test_a_row_has_the_same_number_in_any_shard_and_another_with_another_seed():
    def of(rows: list[int], seed: int = 0) -> list[float]:
        return Random().score_rows(shard_of({}, rows=rows, seed=seed))["score"].tolist()

    assert of([0, 1, 2, 3])[1:3] == of([1, 2])
    assert of([1, 2]) != of([1, 2], seed=1)


def test_numbers_are_uniform():
    score = Random().score_rows(shard_of({}, rows=np.arange(10_000)))["score"]

    # The mean of 10 000 uniform numbers strays by .003; five times that never happens.
    assert abs(score.mean() - 0.5) < 0.015
    assert 0 <= score.min() and score.max() <= 1
