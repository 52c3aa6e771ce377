"""hierarchical_kmeans: the budget falls evenly from the top, so that crowds do not rule."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.index.kmeans import Clusters
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.cover.hierarchical_kmeans import HierarchicalKMeans, build, share_down

RNG = KeyedRandom(0, "hierarchical_kmeans")


def levels_of(leaf_sizes, parents):
    nothing = np.zeros((len(leaf_sizes), 1), np.float32)
    of = np.repeat(np.arange(len(leaf_sizes)), leaf_sizes)
    top = np.zeros((max(parents) + 1, 1), np.float32)
    return [Clusters(nothing, of, of.astype(np.float32)), Clusters(top, np.array(parents), nothing[:, 0])]


def test_a_budget_falls_through_two_levels_by_hand():
    # leaves of 10, 4, 3 and 1 rows, one a branch: cut 3. Then one branch of 10 and 2, the other of 5: 6 and 4 of 10 … 5 each, 3 + 2
    assert share_down(levels_of([10, 4, 3, 1], [0, 1, 2, 3]), 10, RNG).tolist() == [3, 3, 3, 1]
    assert share_down(levels_of([10, 2, 5], [0, 0, 1]), 10, RNG).tolist() == [3, 2, 5]


def crowd(seed=0):
    rng = np.random.default_rng(seed)
    sizes = [900, 40, 30, 30]
    middle = np.array([[0, 0], [60, 0], [0, 60], [60, 60]])
    return np.concatenate([m + rng.normal(size=(s, 2)) for m, s in zip(middle, sizes, strict=True)]), np.repeat(np.arange(4), sizes)


@pytest.mark.parametrize("leaves", ["random", "nearest"])
def test_a_crowd_gets_no_more_than_the_others(leaves):
    x, place = crowd()

    sampler = HierarchicalKMeans(clusters=(100, 4), leaves=leaves, metric="euclidean")
    picked = sampler.select(ArrayPool({"embedding": x}), 80, RNG)[0]

    assert np.bincount(place[picked]).tolist() == [20, 20, 20, 20]


def test_resampling_flattens_centroids():
    x, place = crowd()
    few, many = (build(x.astype(np.float32), (100, 4), rounds, RNG) for rounds in (0, 10))

    assert len({place[many[0].of == leaf][0] for leaf in range(100) if (many[0].of == leaf).any()}) == 4
    assert np.array_equal(few[0].of, many[0].of)  # level 1 is never resampled


@pytest.mark.parametrize("options", [{"clusters": ()}, {"clusters": (3, 9)}, {"clusters": (0,)}, {"resample": -1}])
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(OptionError, match="hierarchical_kmeans"):
        HierarchicalKMeans(**options)
