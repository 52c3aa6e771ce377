"""SemDeDup: the paper's rule on a toy, a naive twin, and through a store."""

import numpy as np
import pytest

import curate
from curate import plugins, testing
from curate.errors import OptionError
from curate.index.kmeans import kmeans
from curate.index.semdedup import ITERATIONS, nearest_earlier, within, within_kept
from curate.index.vectors import unit
from curate.rng import KeyedRandom
from curate.testing import check_scorer, signals_of

TOY = np.array([[1, 0.96, 0.90], [0.96, 1, 0.97], [0.90, 0.97, 1]])
ROUNDING = 1e-5


def test_a_row_goes_by_the_likest_one_before_it():
    vectors = np.linalg.cholesky(TOY).astype(np.float32)

    similarity, earlier = within(vectors)

    # of three in this order eps = .05 drops the second and the third, which is like the second though that is dropped
    np.testing.assert_allclose(similarity, [0, 0.96, 0.97], atol=ROUNDING)
    assert earlier.tolist() == [0, 0, 1]


def test_by_the_other_rule_it_goes_by_the_kept_ones_alone():
    vectors = np.linalg.cholesky(TOY).astype(np.float32)

    similarity, earlier = within_kept(vectors, 0.95)

    # eps = .05 drops the second alone: the third is like the second, which is gone, and not so like the first
    np.testing.assert_allclose(similarity, [0, 0.96, 0.90], atol=ROUNDING)
    assert earlier.tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_the_kept_ones_are_those_of_a_loop(seed):
    vectors = unit(np.random.default_rng(seed).normal(size=(1300, 3)).astype(np.float32))
    kept = []
    for row in range(1300):
        if not kept or (vectors[kept] @ vectors[row]).max() <= 0.98:
            kept.append(row)

    similarity, earlier = within_kept(vectors, 0.98)

    found = np.flatnonzero(similarity <= 0.98)
    assert len(set(found.tolist()) ^ set(kept)) <= 2  # products of blocks round otherwise
    assert set(earlier[similarity > 0.98].tolist()) <= set(found.tolist())


def test_one_cluster_is_all_pairs_with_the_farthest_from_the_centroid_first():
    vectors = unit(np.random.default_rng(0).normal(size=(700, 6)).astype(np.float32))
    centre = kmeans(vectors, 1, KeyedRandom(0, "test"), iterations=ITERATIONS, spherical=True).centroids[0]
    order = np.argsort(vectors @ centre, kind="stable")
    cosine = vectors[order] @ vectors[order].T
    expected = np.zeros(700)
    expected[order[1:]] = [max(0, cosine[j, :j].max()) for j in range(1, 700)]

    similarity, _ = nearest_earlier(vectors, 1, KeyedRandom(0, "test"))

    assert (np.abs(similarity - expected) < 1e-4).mean() > 0.99  # near ties in the distance from the centroid may change places


def test_copies_are_marked_in_a_store_and_one_of_each_group_stays(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 16)).astype(np.float32)
    x[60:80] = 3 * x[:20] + 0.01 * rng.normal(size=(20, 16))  # the length does not count
    x[80] = np.nan
    data = curate.load((x, np.arange(90) % 2))
    made = curate.embed(data, out=tmp_path / "e", max_failures=0.1)

    one = curate.score(data, ["semdedup"], embeddings=made, out=tmp_path / "one", max_failures=0.1)
    cut = curate.score(data, ["semdedup"], embeddings=made, out=tmp_path / "cut", max_failures=0.1, shard_rows=11)

    copy, group = one["semdedup.is_duplicate"], one["semdedup.component"]
    assert copy.sum() == 20 and all(copy[row] != copy[row + 60] for row in range(20))
    assert (group[60:80] == np.arange(20)).all() and group[80] == 80 and np.isnan(one["semdedup"][80])
    for column in ("score", "component", "is_duplicate"):
        np.testing.assert_array_equal(cut[f"semdedup.{column}"], one[f"semdedup.{column}"])


def test_options_and_the_contract():
    check_scorer("semdedup:eps=0.3")
    check_scorer("semdedup:clusters=4")
    check_scorer("semdedup:rule=kept,eps=0.4")
    for bad in ("eps=1", "eps=-0.1", "clusters=0"):
        with pytest.raises(OptionError, match=f"semdedup: {bad.partition('=')[0]}"):
            curate.score((np.ones((3, 2), np.float32), np.array([0, 1, 1])), [f"semdedup:{bad}"], out="never")


@pytest.mark.parametrize(
    "spec", ["semdedup", "minhash:ngram=2", "exact_duplicates", "prototypes", "prototypes:kind=supervised", "typicality"]
)
def test_shards_without_a_row_and_of_one_row_change_nothing(spec):
    scorer = plugins.parse("scorers", spec).build()
    columns = signals_of(scorer.requires, 1, 40)

    whole = testing._score(scorer, columns, [40])

    for sizes in ([0, 40], [1, 0, 39], [1, 0, 2, 3, 1, 5, 0, 4, 1, 1, 2, 6, 3, 1, 7, 2, 1]):  # the last are 17
        for column, values in testing._score(scorer, columns, sizes).items():
            np.testing.assert_allclose(values, whole[column], rtol=1e-5, err_msg=column)
