"""k-means: near the best inertia, the same on every run, and at ease with equal rows."""

import sys

import numpy as np
import pytest

from curate.errors import OptionError
from curate.index.kmeans import A_CENTROID, assign, kmeans
from curate.rng import KeyedRandom

RNG = KeyedRandom(0, "kmeans")


def blobs(n=2000, d=16, centres=20, seed=0):
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(centres, d)) * 3
    return (middle[rng.integers(0, centres, n)] + rng.normal(size=(n, d))).astype(np.float32)


def test_two_pairs_are_two_clusters():
    found = kmeans(np.float32([[0, 0], [0, 1], [9, 0], [9, 1]]), 2, RNG)

    assert found.of[0] == found.of[1] != found.of[2] == found.of[3]
    assert sorted(found.centroids.tolist()) == [[0, 0.5], [9, 0.5]] and found.inertia == 1  # 4 · 0.5²


@pytest.mark.parametrize("shift", [0, 1000])
def test_assignment_agrees_with_a_loop_however_far_away(shift):
    x = blobs(200) + np.float32(shift)
    centroids = x[:7]

    of, square = assign(x, centroids)

    gaps = ((x[:, None].astype(np.float64) - centroids[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(of, gaps.argmin(axis=1))
    np.testing.assert_allclose(square, gaps.min(axis=1), atol=2e-3)


@pytest.mark.parametrize("clusters", [5, 20, 60])
def test_inertia_is_within_two_in_a_hundred_of_scikit_learn(clusters):
    cluster = pytest.importorskip("sklearn.cluster")
    x = blobs()

    best = cluster.KMeans(clusters, n_init=3, random_state=0).fit(x).inertia_

    assert kmeans(x, clusters, RNG).inertia <= 1.02 * best


def test_without_faiss_the_clusters_are_the_same(monkeypatch):
    pytest.importorskip("faiss")
    x = blobs(500)
    found = kmeans(x, 20, RNG)
    monkeypatch.setitem(sys.modules, "faiss", None)

    np.testing.assert_array_equal(kmeans(x, 20, RNG).of, found.of)


def test_a_seed_is_a_result():
    x = blobs(500)

    assert np.array_equal(kmeans(x, 9, RNG).centroids, kmeans(x, 9, RNG).centroids)
    assert not np.array_equal(kmeans(x, 9, RNG).centroids, kmeans(x, 9, KeyedRandom(1, "kmeans")).centroids)


def test_many_equal_rows_leave_no_cluster_empty_that_has_a_row_to_hold():
    x = np.concatenate([np.zeros((500, 2)), np.arange(18.0).reshape(9, 2) + 5]).astype(np.float32)

    found = kmeans(x, 10, RNG)

    assert (found.sizes > 0).all() and found.inertia == 0


@pytest.mark.parametrize("clusters", [1, 3, 5, 50])
def test_equal_rows_are_one_cluster_whatever_is_asked(clusters):
    found = kmeans(np.ones((5, 2), np.float32), clusters, RNG)

    assert found.inertia == 0 and len(np.unique(found.of)) == 1 and len(found.centroids) == min(clusters, 5)


def test_spherical_centroids_have_length_one():
    from curate.index.vectors import unit

    found = kmeans(unit(blobs(300)), 8, RNG, spherical=True)

    np.testing.assert_allclose(np.linalg.norm(found.centroids, axis=1), 1, atol=1e-6)


def test_rows_beyond_what_is_trained_on_are_assigned_too():
    x = blobs(3 * A_CENTROID * 2, d=2, centres=2)

    found = kmeans(x, 2, RNG)

    assert len(found.of) == len(x) and set(found.of.tolist()) == {0, 1}
    np.testing.assert_array_equal(found.of, assign(x, found.centroids)[0])


def test_no_cluster_and_no_row_are_refused():
    with pytest.raises(OptionError, match="Clusters must be 1 or more"):
        kmeans(np.ones((2, 2), np.float32), 0, RNG)
    with pytest.raises(OptionError, match="No rows to cluster"):
        kmeans(np.ones((0, 2), np.float32), 2, RNG)
