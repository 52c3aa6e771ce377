"""random: the baseline."""

import numpy as np

from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.ranked.random_ import Random


def test_the_rows_with_the_lowest_luck_come_first():
    rows, rng = np.array([3, 5, 8, 13]), KeyedRandom(1, "random")

    index, weights = Random().select(ArrayPool({}, rows=rows), 2, rng)

    assert index.tolist() == np.argsort(rng.uniform(rows))[:2].tolist()
    assert weights.tolist() == [1, 1]


def test_every_row_is_equally_likely():
    counts = np.zeros(5)
    pool = ArrayPool({}, rows=np.arange(5))

    for seed in range(2000):
        counts[Random().select(pool, 2, KeyedRandom(seed, "random"))[0]] += 1

    np.testing.assert_allclose(counts / 2000, 0.4, atol=0.035)  # three standard errors
