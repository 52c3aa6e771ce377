"""kmeans: every cluster gives its share."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.cover.kmeans import KMeans

# six rows about 0, three about 50, one at 100
LINE = np.float32([[-2], [-1], [0], [0.5], [1], [2], [49], [50], [51.5], [100]])


def pick(k, seed=0, **options):
    pool = ArrayPool({"embedding": LINE, "score": np.arange(10.0)})
    return KMeans(**{"clusters": 3, "metric": "euclidean", **options}).select(pool, k, KeyedRandom(seed, "kmeans"))[0].tolist()


def groups(picked):
    return [sum(row < 6 for row in picked), sum(6 <= row < 9 for row in picked), picked.count(9)]


def test_shares_follow_sizes_or_are_equal():
    assert groups(pick(7)) == [4, 2, 1]  # 4.2, 2.1 and .7
    assert groups(pick(3, power=0)) == [1, 1, 1]
    assert groups(pick(7, power=0)) == [3, 3, 1]  # the third cluster has one row only


def test_the_nearest_and_the_farthest_rows_of_each():
    # centroids are .0833, 50.1667 and 100
    assert set(pick(3, power=0, within="nearest")) == {2, 7, 9}
    assert set(pick(3, power=0, within="farthest")) == {0, 8, 9}
    assert set(pick(3, power=0, within="score")) == {5, 8, 9}


def test_random_rows_depend_on_the_seed_alone():
    assert pick(5) == pick(5) and len({tuple(pick(5, seed)) for seed in range(6)}) > 1


@pytest.mark.parametrize(("options", "message"), [({"clusters": 0}, "clusters must be 1"), ({"power": 2.0}, "power must lie")])
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        KMeans(**options)
