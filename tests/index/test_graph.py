"""The graph of neighbours: exact, shared, kept beside the vectors."""

import sys

import numpy as np
import pytest

import curate
from curate.embeddings import Embeddings
from curate.errors import InputError
from curate.index.graph import graph_of, nearest_between, shared_graph
from curate.index.neighbours import nearest_by_distance

ROUNDING = 1e-3  # of float32 squares


def naive(x, k):
    distance = np.linalg.norm(x[:, None].astype(np.float64) - x[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    order = np.lexsort((np.broadcast_to(np.arange(len(x)), distance.shape), distance), axis=1)[:, :k]
    return order, np.take_along_axis(distance, order, axis=1)


@pytest.mark.parametrize("how", ["faiss", "numpy"])
def test_neighbours_are_those_of_all_pairs(how, monkeypatch):
    if how == "numpy":
        monkeypatch.setitem(sys.modules, "faiss", None)
    x = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32) + 50  # far from the origin
    rows, distance = naive(x, 7)

    found, far = nearest_by_distance(x, 7)

    np.testing.assert_array_equal(found, rows)
    np.testing.assert_allclose(far, distance, rtol=ROUNDING)


def test_of_equal_rows_the_earlier_comes_first_and_none_is_its_own_neighbour():
    found, far = nearest_by_distance(np.ones((6, 3), np.float32), 2)

    np.testing.assert_array_equal(far, np.zeros((6, 2)))
    assert not (found == np.arange(6)[:, None]).any()


def test_another_set_is_searched_as_well():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)

    found, far = nearest_between(x[5:8] + np.float32(1e-4), x, 1)

    assert found[:, 0].tolist() == [5, 6, 7] and (far < 1e-2).all()


def test_rows_without_a_vector_have_no_neighbours_and_are_nobodys():
    x = np.array([[0.0], [1.0], [np.nan], [3.0]], np.float32)

    graph = graph_of(x, 2)

    assert graph.rows.tolist() == [[1, 3], [0, 3], [-1, -1], [1, 0]]
    np.testing.assert_array_equal(graph.distance, [[1, 3], [1, 2], [np.inf, np.inf], [2, 3]])
    with pytest.raises(InputError, match="1 of 2 rows have a vector"):
        graph_of(x[1:3])


def test_it_is_made_once_and_again_where_it_is_damaged_or_too_narrow(tmp_path, monkeypatch):
    x = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    made = curate.embed(curate.load(x), out=tmp_path / "e")
    first = shared_graph(made, 5)
    assert first.k == 16

    with monkeypatch.context() as patch:
        patch.setattr("curate.index.graph.graph_of", lambda *_: pytest.fail("made twice"))
        again = shared_graph(Embeddings.open(tmp_path / "e"), 16)
    np.testing.assert_array_equal(again.rows, first.rows)
    assert shared_graph(Embeddings.open(tmp_path / "e"), 20).k == 20
    file = tmp_path / "e" / "neighbours" / "part-00000.arrow"
    file.write_bytes(file.read_bytes()[:-9])
    np.testing.assert_array_equal(shared_graph(Embeddings.open(tmp_path / "e"), 20).rows[:, :16], first.rows)
