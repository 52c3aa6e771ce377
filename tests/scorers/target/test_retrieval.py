"""retrieval: nearest rows, and no copies."""

import numpy as np
import pytest

import curate
from curate.errors import InputError, OptionError
from curate.scorers.target.retrieval import Retrieval
from curate.testing import check_scorer, shard_of


def scored(scorer, rows, goal, content=None, theirs=None):
    content = np.arange(1, len(rows) + 1, dtype=np.uint64) if content is None else np.array(content, np.uint64)
    theirs = np.arange(901, len(goal) + 901, dtype=np.uint64) if theirs is None else np.array(theirs, np.uint64)
    told = scorer.merge_target([scorer.fit_target(shard_of({"target.embedding": goal, "target.content": theirs}))])
    state = {f"target.{key}": value for key, value in told.items()}
    return scorer.score(shard_of({"embedding": rows, "content": content}), state)


def test_the_worked_example():
    found = scored(Retrieval(k=2), [[3.0, 4.0], [1.0, -1.0]], [[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])

    np.testing.assert_allclose(found["score"], [(0.6 + 0.8) / 2, (2**-0.5 - 2**-0.5) / 2], atol=1e-6)
    assert found["target_row"].tolist() == [1, 0]


def test_copies_have_no_score_by_content_or_by_vector():
    found = scored(Retrieval(), [[1.0, 0.0], [1.0, 1.0], [0.0, 5.0], [np.nan, 0]], [[1.0, 0.1], [0.0, 1.0]], [7, 8, 9, 0], [7, 1])

    assert found["status"].tolist() == ["copy_of_target", "", "copy_of_target", "no_vector"]
    assert np.isnan(found["score"]).tolist() == [True, False, True, True]


def test_no_budget_brings_a_copy_back(tmp_path):
    rng = np.random.default_rng(0)
    goal = rng.normal(size=(10, 4)).astype(np.float32)
    rows = np.concatenate([rng.normal(size=(50, 4)), goal]).astype(np.float32)

    scores = curate.score(rows, ["retrieval"], target=goal, out=tmp_path / "scores")  # a sixth are copies, and none has failed
    kept = curate.select(rows, scores, sampler="top", budget=50)

    assert kept.rows.tolist() == list(range(50))


def test_digits_learn_from_what_is_like_a_few_of_them(tmp_path):
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    few, pool, test = order[:20], order[20:1200], order[1200:]
    rows = x.astype(np.float32)

    scores = curate.score(rows[pool], ["retrieval"], target=rows[few], out=tmp_path / "scores")
    kept = curate.select(rows[pool], scores, sampler="top", budget=300).rows
    guess = y[few][scores["retrieval.target_row"][kept]]

    alone = LogisticRegression(max_iter=200).fit(x[few] / 16, y[few]).score(x[test] / 16, y[test])
    more = (
        LogisticRegression(max_iter=200)
        .fit(np.concatenate([x[few], x[pool][kept]]) / 16, np.concatenate([y[few], guess]))
        .score(x[test] / 16, y[test])
    )
    assert more > alone


def test_what_means_nothing_is_refused():
    with pytest.raises(OptionError, match="k must be"):
        Retrieval(k=0)
    with pytest.raises(InputError, match="no row of the target"):
        scored(Retrieval(), [[1.0]], [[np.nan]])
    with pytest.raises(InputError, match="2 numbers, the target of 1"):
        scored(Retrieval(), [[1.0, 2.0]], [[1.0]])


def test_it_keeps_the_contract():
    check_scorer("retrieval:k=3")
