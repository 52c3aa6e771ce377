"""The pool: what samplers are handed."""

import tracemalloc

import numpy as np
import pytest

from curate.errors import ColumnError, InputError
from curate.pool import ArrayPool, finite_column, known_column


def test_a_pool_copies_no_column():
    score = np.arange(3.0)

    assert ArrayPool({"score": score})["score"] is score


def test_rows_count_from_zero_unless_given():
    assert ArrayPool({"score": np.zeros(3)}).rows.tolist() == [0, 1, 2]
    assert ArrayPool({}, rows=np.array([5, 8])).rows.tolist() == [5, 8]


def test_a_subset_of_a_subset_cuts_every_column():
    pool = ArrayPool({"score": np.array([0.0, 0.1, 0.2, 0.3])}, rows=np.array([2, 4, 6, 8]), keep="low", hard_sign=-1)

    part = pool.subset(np.array([1, 2, 3])).subset(np.array([0, 2]))

    assert (part.rows.tolist(), part["score"].tolist(), len(part), part.keep, part.hard_sign) == ([4, 8], [0.1, 0.3], 2, "low", -1)


def test_vectors_of_a_subset_are_read_as_they_are_asked_for():
    vectors = np.arange(4_000_000.0).reshape(-1, 4)
    index = np.arange(0, 1_000_000, 2)
    part = ArrayPool({"embedding": vectors}).subset(index)

    tracemalloc.start()
    cut = part["embedding"]
    few = cut[10:12]
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert held < 1e5 and len(cut) == 500_000 and cut.shape == (500_000, 4) and cut.dtype == np.float64
    np.testing.assert_array_equal(few, vectors[[20, 22]])


def test_what_an_array_can_do_a_cut_can():
    vectors, index = np.random.default_rng(0).normal(size=(9, 3)), np.array([1, 4, 8])
    cut, copy = ArrayPool({"embedding": vectors}).subset(index)["embedding"], vectors[index]

    for made, expected in (
        (np.asarray(cut, np.float32), copy.astype(np.float32)),
        (cut - 1, copy - 1),
        (cut @ cut.T, copy @ copy.T),
        (cut[[2, 0]], copy[[2, 0]]),
        (cut[:, 1], copy[:, 1]),
        (cut[copy[:, 0] > 0], copy[copy[:, 0] > 0]),
        (np.linalg.norm(cut, axis=1), np.linalg.norm(copy, axis=1)),
        (cut.mean(axis=0), copy.mean(axis=0)),
        (np.array([*cut]), copy),
    ):
        np.testing.assert_array_equal(made, expected)
    with pytest.raises(AttributeError, match="lenght"):
        cut.lenght()


def test_a_missing_column_is_named_with_those_there_are():
    with pytest.raises(ColumnError, match=r'"aum\.scor".*Did you mean "aum\.score"\? Columns here: score, aum\.score'):
        ArrayPool({"score": np.zeros(1), "aum.score": np.zeros(1)})["aum.scor"]


@pytest.mark.parametrize("rows", [[1, 0], [0, 0]], ids=["descending", "twice"])
def test_rows_must_ascend(rows):
    with pytest.raises(InputError, match="ascend"):
        ArrayPool({}, rows=np.array(rows))


def test_columns_of_unlike_length_are_refused():
    with pytest.raises(ColumnError, match='"label" has 2 rows, but the pool has 3'):
        ArrayPool({"score": np.zeros(3), "label": np.zeros(2)})
    with pytest.raises(InputError, match="neither"):
        ArrayPool({})


def test_rows_without_a_score_reach_no_sampler():
    pool = ArrayPool({"score": np.array([1.0, np.nan, np.inf])})

    with pytest.raises(ColumnError, match='1 of 3 rows have no "score"'):
        known_column(pool, "score")
    with pytest.raises(ColumnError, match='1 of 2 rows have an infinite "score"'):
        finite_column(pool.subset(np.array([0, 2])), "score")
