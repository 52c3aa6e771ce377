"""quality: a classifier that tells the target from the rows."""

import numpy as np
import pytest

from curate.errors import InputError, OptionError
from curate.ngram_classifier import FOLDS, SCALE, _auroc, _fold, _luck
from curate.ngrams import tokenize
from curate.protocols import Shard
from curate.scorers.target.quality import Quality
from curate.testing import check_scorer


def shard(texts, name="text", first=0):
    return Shard(np.arange(first, first + len(texts)), {name: np.array(texts, object)})


def fitted(scorer, rows, target, cuts=()):
    told = scorer.merge_target([scorer.fit_target(shard(part, "target.text")) for part in (target[:3], target[3:])])
    told = {f"target.{key}": value for key, value in told.items()}
    pieces = np.split(np.array([*rows, None], object)[:-1], cuts)
    parts = [shard(part.tolist(), first=first) for part, first in zip(pieces, (0, *cuts), strict=True)]
    state = told
    for _ in range(scorer.passes):
        state = scorer.merge([scorer.fit(part, state) for part in parts]) | told
    return np.concatenate([scorer.score(part, state)["score"] for part in parts]), state


def document(rng, good):
    return " ".join(f"w{i}" for i in rng.integers(0 if good else 40, 100 if good else 140, 60))


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(0)
    is_good = rng.random(300) < 0.3
    return [document(rng, good) for good in is_good], [document(rng, True) for _ in range(100)], is_good


def test_good_texts_are_told_from_others_that_it_has_not_seen(planted):
    rows, target, is_good = planted

    score, state = fitted(Quality(), rows, target)

    assert _auroc(score[~is_good], score[is_good]) >= 0.9 and 0 < score.min() and score.max() < 1
    assert 0.7 < Quality().conclude(state)["auroc_left_out"] < 1  # a third of the rows are like the target


def test_where_the_target_is_like_the_rows_the_fact_says_so(planted):
    rows, _, is_good = planted
    alike = np.array(rows)[~is_good].tolist()

    _, state = fitted(Quality(ngrams=1, buckets=4096), alike[::2], alike[1::2])

    assert abs(Quality().conclude(state)["auroc_left_out"] - 0.5) < 0.1


def test_a_score_is_the_weighted_mean_of_the_text_by_the_classifier_of_its_fold(planted):
    rows, target, _ = planted
    score, state = fitted(Quality(buckets=512), rows, target)

    for row in (0, 7, 100):
        tokens = tokenize([rows[row]])
        bucket, _ = Quality(buckets=512)._classifier._features(tokens)
        fold = int(_fold(_luck(tokens))[0])
        logit = state["bias"][fold] + SCALE * state["weights"][fold][bucket].mean()
        assert score[row] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)


def test_it_is_the_regression_of_scikit_learn_without_the_fold(planted):
    from sklearn.linear_model import LogisticRegression

    rows, target, _ = planted
    scorer = Quality(buckets=256)
    _, state = fitted(scorer, rows, target)

    def dense(texts):
        features = [scorer._classifier._features(tokenize([text]))[0] for text in texts]
        return np.array([np.bincount(found, minlength=256) / len(found) for found in features])

    folds = [np.array([_fold(_luck(tokenize([text])))[0] for text in texts]) for texts in (rows, target)]
    x = np.concatenate([dense(np.array(texts)[fold != 1]) for texts, fold in zip((rows, target), folds, strict=True)]) * SCALE
    y = np.repeat([0, 1], [(fold != 1).sum() for fold in folds])
    twin = LogisticRegression(class_weight="balanced", max_iter=1000).fit(x, y)

    np.testing.assert_allclose(state["weights"][1], twin.coef_[0], atol=2e-3)  # both stop within the solver's tolerance


def test_copies_share_a_fold_and_folds_are_of_one_size():
    folds = _fold(_luck(tokenize([f"text {i}" for i in range(3000)] + ["text 5"])))

    assert folds[5] == folds[-1] and np.bincount(folds, minlength=FOLDS).min() > 900


@pytest.mark.parametrize("cuts", [(1,), (5, 80, 299)])
def test_how_rows_were_cut_changes_nothing(planted, cuts):
    rows, target, _ = planted
    scorer = Quality(buckets=1024, sample=50)

    np.testing.assert_array_equal(fitted(scorer, rows, target, cuts)[0], fitted(scorer, rows, target)[0])


def test_odd_texts_have_a_score_or_none():
    score, _ = fitted(Quality(), ["a b", "", " \n", "\ufffd!", "x" * 1_000_000, "東京 都"], ["c d"])

    assert np.isnan(score[1:3]).all() and np.isfinite(score[[0, 3, 4, 5]]).all()


def test_a_target_without_words_is_refused():
    with pytest.raises(InputError, match="no words"):
        Quality().merge_target([Quality().fit_target(shard(["", " "], "target.text"))])


@pytest.mark.parametrize("options", [{"ngrams": 0}, {"buckets": 1}, {"sample": 1}, {"c": 0.0}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        Quality(**options)


def test_it_keeps_the_contract():
    check_scorer("quality")
