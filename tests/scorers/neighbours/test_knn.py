"""Scorers of neighbours: from a graph to scores, by hand, by brute force, and through a store."""

import numpy as np
import pytest

import curate
from curate.errors import OptionError, UsageError
from curate.index.label_neighbours import knn_shapley
from curate.scorers.neighbours.knn_disagreement import KNNDisagreement
from curate.scorers.neighbours.knn_shapley import KNNShapley
from curate.scorers.neighbours.typicality import Typicality
from curate.testing import check_scorer, shard_of

FIXED_POINT = 1e-6  # of float32; sums are multiples of 2^-36


@pytest.fixture(scope="module")
def rows():
    """Three heaps of 40 rows and what is said of them: every tenth label is wrong."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = (rng.normal(size=(120, 4)) + 6 * np.eye(4)[y]).astype(np.float32)
    wrong = np.arange(0, 120, 10)
    return x, np.where(np.isin(np.arange(120), wrong), (y + 1) % 3, y), wrong


def test_the_share_of_neighbours_that_differ():
    shard = shard_of({"neighbours.label@4": np.array([[0, 1, 1, -1], [0, 0, 0, 0], [-1, -1, -1, -1]]), "label": [1, 0, 0]})

    # one of the three that have a label; none; nobody is there
    np.testing.assert_array_equal(KNNDisagreement(k=4).score_rows(shard)["score"], np.float32([1 / 3, 0, np.nan]))


def test_typicality_is_one_over_the_mean_distance():
    found = Typicality(k=2).score_rows(shard_of({"neighbours.distance@2": [[1.0, 3.0], [0.5, np.nan], [np.nan, np.nan], [0, 0]]}))

    np.testing.assert_allclose(found["score"], [1 / 2.00001, 1 / 0.50001, np.nan, 1e5], rtol=1e-6)
    np.testing.assert_array_equal(found["distance"], np.float32([2, 0.5, np.nan, 0]))


@pytest.mark.parametrize("truncate", [10, 30, 119, 200])
def test_shapley_is_that_of_every_row_for_all_others(rows, tmp_path, truncate):
    x, y, _ = rows
    data = curate.load((x, y))
    made = curate.embed(data, out=tmp_path / "e")

    found = curate.score(data, [f"knn_shapley:k=5,truncate={truncate}"], embeddings=made, out=tmp_path / "s")["knn_shapley"]

    expected = np.zeros(120)
    for target in range(120):
        others = np.delete(np.arange(120), target)
        expected[others] += knn_shapley(x[others], y[others], x[target, None], y[target, None], k=5, truncate=min(truncate, 119)) / 120
    np.testing.assert_allclose(found, expected, atol=FIXED_POINT)


def test_shards_and_a_second_call_change_nothing(rows, tmp_path):
    x, y, _ = rows
    data = curate.load((x, y))
    made = curate.embed(data, out=tmp_path / "e")
    names = ["knn_shapley", "knn_disagreement", "typicality"]

    whole = curate.score(data, names, embeddings=made, out=tmp_path / "whole")
    cut = curate.score(data, names, embeddings=tmp_path / "e", shard_rows=7, workers=2, out=tmp_path / "cut")

    for name in names:
        np.testing.assert_array_equal(cut[name], whole[name])
    assert whole.about("knn_shapley")["embeddings"]["encoder"] == "column"


def test_wrong_labels_stand_out(rows, tmp_path):
    x, y, wrong = rows
    data = curate.load((x, y))

    scores = curate.score(data, ["knn_shapley", "knn_disagreement"], embeddings=curate.embed(data, out=tmp_path / "e"), out=tmp_path / "s")

    assert set(np.argsort(scores["knn_shapley"])[:12]) == set(wrong) == set(np.argsort(-scores["knn_disagreement"])[:12])


@pytest.mark.parametrize("scorer", [KNNDisagreement(k=3), KNNShapley(k=3, truncate=7), KNNShapley(k=2, truncate=100), Typicality(k=5)])
def test_the_contract_is_kept(scorer):
    check_scorer(scorer, n=30)


def test_what_cannot_be_is_refused(rows, tmp_path):
    x, y, _ = rows
    data = curate.load((x, y))

    with pytest.raises(UsageError, match="add --embeddings"):
        curate.score(data, ["knn_disagreement"], out=tmp_path / "s")
    with pytest.raises(UsageError, match="--embeddings has no use"):
        curate.score(data, ["random"], embeddings=curate.embed(data, out=tmp_path / "e"), out=tmp_path / "s")
    for bad in ("knn_shapley:k=20,truncate=10", "knn_disagreement:k=0", "typicality:k=5000"):
        with pytest.raises(OptionError, match=bad.partition(":")[0]):
            curate.score(data, [bad], embeddings=tmp_path / "e", out=tmp_path / "s")
