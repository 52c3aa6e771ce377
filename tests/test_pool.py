"""The pool: what samplers are handed."""

import numpy as np
import pytest

from curate.errors import ColumnError, InputError, OptionError
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

    with pytest.raises(OptionError, match='1 of 3 rows have no "score"'):
        known_column(pool, "score")
    with pytest.raises(OptionError, match='1 of 2 rows have an infinite "score"'):
        finite_column(pool.subset(np.array([0, 2])), "score")
