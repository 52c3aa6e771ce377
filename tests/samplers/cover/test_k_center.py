"""k_center: each pick is the row farthest from all picked before."""

from itertools import combinations

import numpy as np
import pytest

from curate.errors import ColumnError, OptionError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.cover.k_center import KCenter, farthest_first, radius

ROUNDING = 1e-3  # of float32 squares
LINE = np.array([[0.0], [1], [5], [6], [10]], np.float32)


def pick(vectors, k, **options):
    pool = ArrayPool({"embedding": np.asarray(vectors)})
    return KCenter(**{"metric": "euclidean", **options}).select(pool, k, KeyedRandom(0, "k_center"))[0]


def test_the_farthest_row_comes_next():
    assert farthest_first(LINE, 3, 0).tolist() == [0, 4, 2]
    assert radius(LINE, np.array([0, 4, 2])) == 1  # rows 1 and 3


def naive(vectors, k, first):
    picked = [first]
    while len(picked) < k:
        gaps = [min(float(((x - vectors[p]) ** 2).sum()) for p in picked) if i not in picked else -1 for i, x in enumerate(vectors)]
        picked.append(int(np.argmax(gaps)))
    return picked


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_a_loop_over_pairs(seed):
    vectors = np.random.default_rng(seed).normal(size=(60, 4)).astype(np.float32)
    centred = vectors - vectors.mean(axis=0)
    first = int((centred**2).sum(axis=1).argmin())

    assert pick(vectors, 15).tolist() == naive(vectors, 15, first)


def one_at_a_time(vectors, k, row):
    """The same with every row compared with every pick."""
    picked, gaps = [], np.full(len(vectors), np.inf)
    for _ in range(k):
        picked.append(row)
        gaps = np.minimum(gaps, np.square(vectors - vectors[row], dtype=np.float64).sum(axis=1))
        gaps[picked] = -1
        row = int(gaps.argmax())
    return picked


@pytest.mark.parametrize("kind", ["spread", "clumps", "a line", "three places"])
def test_rows_that_wait_are_picked_as_if_they_had_been_looked_at_every_time(kind):
    rng = np.random.default_rng(0)
    vectors = {
        "spread": rng.normal(size=(5000, 3)),
        "clumps": rng.normal(size=(40, 6))[rng.integers(0, 40, 5000)] * 9 + rng.normal(size=(5000, 6)),
        "a line": np.arange(5000.0)[:, None] - 2500,
        "three places": np.eye(3)[np.arange(2000) % 3],
    }[kind].astype(np.float32)

    assert farthest_first(vectors, 300, 7).tolist() == one_at_a_time(vectors, 300, 7)


def test_every_prefix_is_a_selection_of_its_own():
    vectors = np.random.default_rng(0).normal(size=(50, 3))

    assert pick(vectors, 20)[:7].tolist() == pick(vectors, 7).tolist()


@pytest.mark.parametrize(
    ("options", "bound"), [({}, 2), ({"start": "random"}, 2), ({"parts": 2}, 4), ({"parts": 3}, 4), ({"parts": 99}, 4)]
)
def test_the_radius_is_within_its_bound_of_the_least_possible(options, bound):
    threes = np.array([*combinations(range(10), 3)])
    for seed in range(20):
        vectors = np.random.default_rng(seed).normal(size=(10, 2)).astype(np.float32)
        gaps = np.linalg.norm(vectors[:, None] - vectors, axis=2)
        least = gaps[:, threes].min(axis=2).max(axis=0).min()

        assert radius(vectors, pick(vectors, 3, **options)) <= bound * least * (1 + ROUNDING)


def test_of_two_rounds_the_first_picks_in_every_part_and_the_second_among_those_picked():
    vectors = np.float32([[0], [1], [9], [10], [50], [51], [58], [59]])
    first = [pick(vectors[:4], 2), 4 + pick(vectors[4:], 2)]
    both = np.sort(np.concatenate(first))

    assert pick(vectors, 2, parts=2).tolist() == both[pick(vectors[both], 2)].tolist()
    assert set(pick(vectors, 8, parts=2).tolist()) == set(range(8))


def test_no_parts_are_refused():
    with pytest.raises(OptionError, match="parts must be 1 or more, got 0"):
        KCenter(parts=0)


def test_lengths_do_not_count_under_cosine():
    vectors = np.array([[1.0, 0], [100, 0], [0, 1], [-1, 0.1]])

    assert set(pick(vectors, 3, metric="cosine").tolist()) >= {2, 3}


@pytest.mark.parametrize("k", [1, 4, 6])
def test_equal_rows_are_picked_once_each(k):
    assert len(set(pick(np.ones((6, 2)), k).tolist())) == k


def test_outliers_are_left_out_where_asked():
    vectors = np.random.default_rng(0).normal(size=(100, 3))
    vectors[7] = 1e4

    assert 7 in pick(vectors, 5) and 7 not in pick(vectors, 5, trim=0.01)
    assert sorted(pick(vectors, 100, trim=0.5).tolist()) == list(range(100))  # the budget goes before the trimming


@pytest.mark.parametrize("trim", [-0.1, 1.0])
def test_a_share_that_cannot_be_trimmed_is_refused(trim):
    with pytest.raises(OptionError, match="trim"):
        KCenter(trim=trim)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_lie_nowhere_are_refused(value):
    vectors = np.ones((4, 2))
    vectors[1, 0] = value

    with pytest.raises(ColumnError, match="1 of 4 rows have an embedding with NaN or infinite"):
        pick(vectors, 2)
