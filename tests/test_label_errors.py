import numpy as np
import pytest

from curate.errors import InputError, OptionError
from curate.label_errors import (
    class_thresholds,
    confident_class,
    confident_joint,
    find_label_errors,
    find_multilabel_errors,
    label_quality,
    multilabel_quality,
)

PROBS = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
LABELS = np.array([0, 0, 0, 1, 1])
OURS_TO_THEIRS = {
    "noise_rate": "prune_by_noise_rate",
    "class": "prune_by_class",
    "both": "both",
    "off_diagonal": "confident_learning",
    "predicted": "predicted_neq_given",
}


def test_five_rows_worked_by_hand():
    # Thresholds (0.9 + 0.8 + 0.1) / 3 and (0.8 + 0.7) / 2; the last row, at 0.3 and 0.7, meets neither.
    thresholds = class_thresholds(PROBS, LABELS)

    np.testing.assert_allclose(thresholds, [0.6, 0.75])
    np.testing.assert_array_equal(confident_class(PROBS, thresholds), [0, 0, 1, 1, -1])
    np.testing.assert_array_equal(confident_joint(PROBS, LABELS), [[2, 1], [0, 2]])


@pytest.mark.parametrize("prune", ["noise_rate", "class", "both", "off_diagonal", "predicted"])
def test_every_way_of_pruning_finds_the_one_wrong_label(prune):
    np.testing.assert_array_equal(find_label_errors(PROBS, LABELS, prune), [False, False, True, False, False])


def test_qualities_worked_by_hand():
    np.testing.assert_allclose(label_quality(PROBS, LABELS), [0.9, 0.8, 0.1, 0.8, 0.7])
    np.testing.assert_allclose(label_quality(PROBS, LABELS, "normalized_margin"), [0.9, 0.8, 0.1, 0.8, 0.7])
    certain = label_quality(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0, 0]), "confidence_weighted_entropy")
    np.testing.assert_allclose(certain, [1.0, np.log(3) / 2])  # q is 0, then log 2 / log 2 / 0.5


def test_a_class_without_rows_is_never_confident_and_a_single_row_is_kept():
    probs = np.array([[0.5, 0.1, 0.4], [0.6, 0.1, 0.3], [0.7, 0.2, 0.1]])
    labels = np.array([0, 0, 1])

    joint = confident_joint(probs, labels)

    np.testing.assert_array_equal(joint.sum(axis=1), [2, 1, 0])
    assert joint[:, 2].sum() == 0
    assert not find_label_errors(probs, labels, "noise_rate").any()


@pytest.mark.parametrize(
    ("probs", "labels", "says"),
    [
        ([[0.5, 0.6]], [0], "sums to 1.1"),
        ([[1.2, -0.2]], [0], "hold no probabilities"),
        ([[np.nan, 1.0]], [0], "sums to nan"),
        ([[0.5, 0.5]], [2], "first 2 in row 0"),
        ([[0.5, 0.5]], [-1], "Leave out rows"),
    ],
)
def test_what_are_no_probabilities_or_labels_is_refused(probs, labels, says):
    with pytest.raises(InputError, match=says):
        find_label_errors(np.array(probs), np.array(labels))


def test_an_unknown_way_is_refused():
    with pytest.raises(OptionError, match="noise_rate, class"):
        find_label_errors(PROBS, LABELS, "all")


@pytest.mark.parametrize("seed", range(3))
def test_masks_joint_and_qualities_are_cleanlabs(seed):
    count, rank, find = (pytest.importorskip(f"cleanlab.{name}") for name in ("count", "rank", "filter"))
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 4, 600)
    labels = np.where(rng.random(600) < 0.15, rng.integers(0, 4, 600), true)
    logits = rng.normal(size=(600, 4)) + 2.5 * np.eye(4)[true]
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    np.testing.assert_array_equal(confident_joint(probs, labels), count.compute_confident_joint(labels, probs))
    for ours, theirs in OURS_TO_THEIRS.items():
        expected = find.find_label_issues(labels, probs, filter_by=theirs, n_jobs=1)
        np.testing.assert_array_equal(find_label_errors(probs, labels, ours), expected, err_msg=ours)
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        np.testing.assert_allclose(
            label_quality(probs, labels, method), rank.get_label_quality_scores(labels, probs, method=method), atol=1e-6
        )


SETS = np.array([[1, 1], [1, 0], [1, 0], [0, 1], [0, 0], [0, 0]], bool)
OF_SETS = np.array([[0.9, 0.8], [0.8, 0.1], [0.1, 0.2], [0.1, 0.9], [0.9, 0.1], [0.2, 0.3]])


def test_each_class_of_a_set_is_judged_alone():
    # Class 0 alone: (0.9, 0.8, 0.1) bear it and (0.1, 0.9, 0.2) do not; means 0.6 and 0.6: rows 2 and 4. Class 1 has nothing against it.
    found = find_multilabel_errors(OF_SETS, SETS)

    assert np.argwhere(found).tolist() == [[2, 0], [4, 0]]


def test_the_worst_class_of_a_set_counts_most():
    quality = multilabel_quality(OF_SETS, SETS)

    np.testing.assert_allclose(quality[[0, 2]], [0.8 * 0.8 + 0.2 * 0.9, 0.8 * 0.1 + 0.2 * 0.8])


def test_sets_and_probabilities_of_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"both \(n, classes\)"):
        find_multilabel_errors(OF_SETS, SETS[:, 0])


@pytest.mark.parametrize("seed", range(2))
def test_masks_and_qualities_of_sets_are_cleanlabs(seed):
    peer, rank = (pytest.importorskip(f"cleanlab.multilabel_classification.{name}") for name in ("filter", "rank"))
    rng = np.random.default_rng(seed)
    true = rng.random((500, 5)) < 0.3
    given = true ^ (rng.random((500, 5)) < 0.06)
    probs = 1 / (1 + np.exp(-rng.normal(size=(500, 5)) - 4 * true + 2))
    lists = [np.flatnonzero(one).tolist() for one in given]

    for ours, theirs in OURS_TO_THEIRS.items():
        found = peer.find_multilabel_issues_per_class(lists, probs, filter_by=theirs, n_jobs=1)
        np.testing.assert_array_equal(find_multilabel_errors(probs, given, ours), found, err_msg=ours)
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        np.testing.assert_allclose(
            multilabel_quality(probs, given, method), rank.get_label_quality_scores(lists, probs, method=method), atol=1e-6
        )


@pytest.mark.parametrize("seed", range(2))
def test_a_known_noise_matrix_is_found_again_on_digits(seed):
    """Nine in ten labels are right, the others one or three further; the model is another library's, out of fold."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    x, true = load_digits(return_X_y=True)
    given = (true + np.random.default_rng(seed).choice([0, 1, 3], size=len(true), p=[0.9, 0.06, 0.04])) % 10
    folds = StratifiedKFold(5, shuffle=True, random_state=0)  # the rows come writer by writer
    probs = cross_val_predict(LogisticRegression(max_iter=100, C=0.1), x / 16, given, cv=folds, method="predict_proba")
    known = np.bincount(given * 10 + true, minlength=100).reshape(10, 10) / len(true)

    found, wrong = find_label_errors(probs, given), given != true

    assert np.abs(confident_joint(probs, given) / len(true) - known).mean() <= 0.003
    assert (found & wrong).sum() >= 0.85 * found.sum()
    assert (found & wrong).sum() >= 0.6 * wrong.sum()
