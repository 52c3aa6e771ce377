"""Vectors: what is refused, and that lengths and distances survive zero, large and shifted rows."""

import numpy as np
import pytest

from curate.errors import ColumnError
from curate.index.vectors import Placed, as_vectors, centred, squared_distances, typical_distance, unit


def test_rows_with_nan_or_infinity_are_counted_and_float16_is_named():
    with pytest.raises(ColumnError, match=r"2 of 3 rows.*float16 ends at 65504"):
        as_vectors(np.array([[1, 2], [np.nan, 0], [np.inf, 0]], np.float16))


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((3, 0)), np.array([["a"]])], ids=["flat", "no columns", "words"])
def test_what_is_no_matrix_of_numbers_is_refused(values):
    with pytest.raises(ColumnError, match="Embeddings have shape"):
        as_vectors(values)


def test_unit_rows_keep_zero_and_survive_squares_that_overflow():
    found = unit(np.float32([[3, 4], [0, 0], [3e30, 4e30]]))

    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [0.6, 0.8]], rtol=1e-6)


def test_distances_of_a_far_away_set_do_not_cancel_once_centred():
    vectors = centred(np.float32([[1000, 0], [1001, 0], [1003, 0]]))

    np.testing.assert_allclose(squared_distances(vectors, vectors), [[0, 1, 9], [1, 0, 4], [9, 4, 0]], atol=1e-4)


def test_the_typical_distance_of_equal_rows_is_zero():
    assert typical_distance(np.full((5, 3), 0.1, np.float32)) == 0
    assert typical_distance(np.float32([[0], [2]])) == pytest.approx(2**0.5)  # pairs 0-0, 0-2, 2-0, 2-2: the mean square is 2


def test_vectors_read_by_block_are_those_of_the_whole():
    values = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float16)
    values[7] = 0

    whole, lazy = unit(as_vectors(values)), Placed(values, "cosine")

    np.testing.assert_array_equal(lazy[:], whole)
    np.testing.assert_array_equal(lazy[10:20], whole[10:20])
    np.testing.assert_array_equal(lazy[np.array([3, 7])], whole[[3, 7]])
    assert typical_distance(lazy) == typical_distance(whole)


def test_a_row_of_length_one_stays_what_it_is_among_others():
    row = unit(np.float32([[1, 2, 3]]))

    assert unit(np.concatenate((row, np.float32([[3, 0, 4]]))))[0].tolist() == row[0].tolist()
