"""rds, the sampler: turns, ties, and lists that run out."""

import numpy as np
import pytest

import curate
from curate.errors import ColumnError, CurateError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.target.rds import RDS, round_robin


def naive(similarity, k):
    """Each query in turn scans all rows for the nearest that is left."""
    left, order = set(range(len(similarity))), []
    for turn in range(k):
        column = similarity[:, turn % similarity.shape[1]]
        order.append(max(left, key=lambda row: (column[row], -row)))
        left.remove(order[-1])
    return order


def test_the_worked_example():
    similarity = np.float32([[0.9, 0.8], [0.5, 0.7], [0.1, 0.2], [0.4, 0.9]])

    assert round_robin(similarity, 4).tolist() == [0, 3, 1, 2]


@pytest.mark.parametrize(("n", "queries"), [(30, 1), (30, 4), (30, 50), (200, 3)])
@pytest.mark.parametrize("alike", [False, True], ids=["apart", "all want the same rows"])
def test_it_is_the_plain_loop(n, queries, alike):
    rng = np.random.default_rng(n + queries)
    similarity = np.round(rng.random((n, 1 if alike else queries)), 2).astype(np.float32)  # with ties
    similarity = np.broadcast_to(similarity, (n, queries))

    for k in (0, 1, n // 3, n):
        assert round_robin(similarity, k).tolist() == naive(similarity, k)


def test_picks_of_a_query_differ_by_one_at_most():
    rng = np.random.default_rng(0)
    similarity = rng.random((300, 7)).astype(np.float32)
    similarity[:, 0] += 1  # this one is nearer to everything

    picks = round_robin(similarity, 100)

    assert len(set(picks.tolist())) == 100
    for query in range(7):
        own = similarity[picks[query::7], query]
        assert len(own) in (14, 15) and (np.diff(own) <= 0).all()


def test_planted_rows_come_first():
    rng = np.random.default_rng(0)
    goal = rng.normal(size=(5, 16))
    rows = rng.normal(size=(2000, 16))
    planted = rng.choice(2000, 100, replace=False)
    rows[planted] = goal[rng.integers(0, 5, 100)] + rng.normal(size=(100, 16)) * 0.4
    cosine = (rows @ goal.T) / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(goal, axis=1)

    picks = round_robin(cosine.astype(np.float32), 100)

    assert len(np.intersect1d(picks, planted)) >= 90


def test_a_score_that_is_not_of_rds_is_refused():
    with pytest.raises(ColumnError, match='Is "other" a score of rds'):
        RDS(scores="other").select(ArrayPool({"other.similarity": np.zeros(3)}), 1, KeyedRandom(0))


def test_from_vectors_to_a_selection(tmp_path):
    rng = np.random.default_rng(0)
    rows, goal = rng.normal(size=(60, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)

    scores = curate.score(rows, ["rds"], target=goal, out=tmp_path / "scores", shard_rows=25)
    kept = curate.select(rows, scores, sampler="rds", budget=9)

    similarity = scores["rds.similarity"]
    assert similarity.shape == (60, 3)
    assert kept.rows[np.argsort(kept.order)].tolist() == naive(similarity, 9)


def test_its_lists_are_no_numbers_to_rank_or_compare_by(tmp_path):
    rows = np.eye(4, dtype=np.float32)
    scores = curate.score(rows, ["rds"], target=rows[:2], out=tmp_path / "scores")

    for asked in ({"where": "rds.similarity > 0"}, {"sampler": "top", "by": "rds.similarity", "keep": "high", "budget": 2}):
        with pytest.raises(CurateError, match="2 numbers a row"):
            curate.select(rows, scores, **asked)
