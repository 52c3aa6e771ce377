"""Confident learning of sets of labels: what the scorer says is what the audit's functions say, and planted errors lead."""

import datasets
import numpy as np
import pytest

import curate
from curate.errors import ColumnError, OptionError
from curate.index.linear_probe import out_of_fold_sets
from curate.label_issues import set_issues
from curate.scorers.neighbours.confident_sets import ConfidentSets

N, CLASSES = 200, 3


@pytest.fixture(scope="module")
def planted():
    """Rows around corners, a class a corner or two of them; rows 0 to 4 lack class 0, row 5 has no list."""
    rng = np.random.default_rng(0)
    member = rng.random((N, CLASSES)) < 0.5
    member[:5, 0] = True
    vectors = (10 * member + rng.normal(size=(N, CLASSES))).astype(np.float32)
    tags = [np.flatnonzero(one).tolist() for one in member]
    for row in range(5):
        tags[row].remove(0)
    tags[5] = None
    return datasets.Dataset.from_dict({"vector": vectors.tolist(), "tags": tags})


@pytest.fixture(scope="module")
def scores(planted, tmp_path_factory):
    return curate.score(curate.load(planted, label="tags"), ["confident_sets"], shard_rows=70, out=tmp_path_factory.mktemp("cs") / "s")


def test_planted_errors_lead_and_name_their_class(scores):
    assert set(np.argsort(scores["confident_sets"])[:5]) == set(range(5))
    assert scores["confident_sets.worst"][:5].tolist() == [0] * 5
    # The rest are the joint's count, which rounds.
    assert scores["confident_sets.is_issue"][:5].sum() >= 4 and scores["confident_sets.is_issue"].sum() <= 5


def test_it_says_what_the_audit_says(planted, scores):
    data = curate.load(planted, label="tags")
    issues = set_issues(data.label_sets, out_of_fold_sets(data.matrix(0, N), data.label_sets.member, data.label_sets.known))

    np.testing.assert_allclose(scores["confident_sets"], issues.quality, rtol=1e-6)
    np.testing.assert_array_equal(scores["confident_sets.is_issue"], issues.wrong.any(axis=1))


def test_a_row_without_a_list_has_no_score(scores):
    assert np.flatnonzero(np.isnan(scores["confident_sets"])).tolist() == [5]
    assert scores["confident_sets.worst"][5] == -1


def test_one_label_a_row_is_sent_to_confident(tmp_path):
    data = curate.load((np.zeros((9, 2), np.float32), np.arange(9) % 2))

    with pytest.raises(ColumnError, match=r"has one. Name a column of lists.*`confident`"):
        curate.score(data, ["confident_sets"], out=tmp_path / "s")


def test_several_labels_a_row_are_sent_to_confident_sets(planted, tmp_path):
    with pytest.raises(ColumnError, match=r"several labels a row.*`confident_sets`"):
        curate.score(curate.load(planted, label="tags"), ["confident"], out=tmp_path / "s")


def test_an_alpha_that_cannot_be():
    with pytest.raises(OptionError, match="alpha must be above 0"):
        ConfidentSets(alpha=0)
