"""prototypes: rows by their distance from the nearest prototype."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.cover.prototypes import Prototypes

LINE = np.float32([[-2], [0], [1], [50], [51], [53]])  # prototypes -1/3 and 51 1/3


def pick(k, label=(0, 0, 0, 1, 1, 1), **options):
    pool = ArrayPool({"embedding": LINE, "label": np.array(label)})
    return Prototypes(**{"metric": "euclidean", **options}).select(pool, k, KeyedRandom(0, "prototypes"))[0].tolist()


@pytest.mark.parametrize("options", [{"clusters": 2}, {"kind": "supervised"}], ids=["self", "supervised"])
def test_both_ends_by_hand(options):
    # distances 1.667, .333, 1.333, 1.333, .333, 1.667
    assert set(pick(2, **options)) == {0, 5}
    assert set(pick(2, end="near", **options)) == {1, 4}


def test_a_wrong_label_is_far_from_its_class():
    assert pick(1, label=(0, 0, 0, 1, 1, 0), kind="supervised") == [5]


@pytest.mark.parametrize("clusters", [1, 4])
def test_distances_are_those_of_a_loop(clusters):
    from curate.index.kmeans import kmeans

    x = np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32)
    rng = KeyedRandom(0, "prototypes")
    far = [min(float(np.linalg.norm(row - c)) for c in kmeans(x, clusters, rng).centroids) for row in x]

    picked = Prototypes(clusters=clusters, metric="euclidean").select(ArrayPool({"embedding": x}), 80, rng)[0]

    np.testing.assert_allclose(np.array(far)[picked], np.sort(far)[::-1], rtol=1e-4)


@pytest.mark.parametrize("options", [{"clusters": 0}, {"kind": "supervised", "clusters": 3}])
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(OptionError, match="clusters"):
        Prototypes(**options)
