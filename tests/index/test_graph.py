"""The graph of neighbours: exact, shared, kept beside the vectors."""

import sys

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.embeddings import Embeddings
from curate.errors import InputError
from curate.index.graph import Graph, graph_of, nearest_between, shared_graph
from curate.index.indexes import Index
from curate.index.kept import keeping
from curate.index.neighbours import nearest_by_distance
from curate.index.vectors import placed, unit

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
    assert graph_of(x[1:3], 2).k == 0


def test_a_store_with_one_vector_has_no_graph(tmp_path):
    made = curate.embed(curate.load(np.float32([[1], [np.nan]])), out=tmp_path / "e", max_failures=1.0)

    with pytest.raises(InputError, match="1 of 2 rows have a vector"):
        shared_graph(made)


@pytest.fixture(autouse=True)
def small_sets_are_worth_a_file(monkeypatch):
    monkeypatch.setattr("curate.index.kept.WORTH", 500)


def cloud(n=700, d=4):
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)


def same(one, other):
    return np.array_equal(one.rows, other.rows) and np.array_equal(one.distance, other.distance)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_a_graph_is_kept_for_all_who_ask_for_as_many_neighbours_or_fewer(tmp_path, monkeypatch, kind):
    x = cloud()
    found = Graph(*nearest_by_distance(x, 7, kind))
    with keeping(tmp_path) as keeper:
        first = graph_of(x, 7, kind)
        monkeypatch.setattr(Index, "search", None)  # whoever searched again would fail
        again, narrower, wider = (graph_of(x, k, kind) for k in (7, 3, 16))

    assert same(first, found) and same(first, again) and same(narrower, first.nearest(3)) and wider.k == 16
    assert keeper.notes == [f"neighbours by index {kind}: it was asked for"]


def test_a_wider_graph_takes_the_narrower_ones_place(tmp_path):
    x = cloud()
    with keeping(tmp_path):
        graph_of(x, 5)
        wide = graph_of(x, 20)

    assert wide.k == 20 and len(list(tmp_path.iterdir())) == 1


def test_other_vectors_are_other_files(tmp_path):
    x = cloud()
    with keeping(tmp_path):
        for vectors in (x, x * 2, x[:600], x[:400]):
            graph_of(vectors, 5)

    assert len(list(tmp_path.iterdir())) == 3  # four hundred rows are not worth a file


def flipped(raw):
    return raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"x" * len(raw), flipped],
    ids=["cut", "empty", "other", "flipped"],
)
def test_a_damaged_file_is_made_anew(tmp_path, damage):
    x = cloud()
    with keeping(tmp_path):
        first = Graph(*nearest_by_distance(x, 5, "ivf"))
        graph_of(x, 5, "ivf")
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        for path, raw in before.items():
            path.write_bytes(damage(raw))
        again = graph_of(x, 5, "ivf")
        after = {path: path.read_bytes() for path in tmp_path.iterdir()}

    assert same(first, again) and before == after and len(after) == 3


def test_any_arrow_reader_opens_a_kept_graph(tmp_path):
    x = cloud()
    with keeping(tmp_path):
        graph = graph_of(x, 5)
    (file,) = tmp_path.iterdir()

    table = pa.ipc.open_file(file).read_all()

    assert table.schema.names == ["neighbour", "distance"] and table["neighbour"].type == pa.list_(pa.int32(), 16)
    assert table["neighbour"][3].as_py()[:5] == graph.rows[3].tolist()


def test_a_store_keeps_its_graph_and_samplers_of_equal_vectors_find_it(tmp_path, monkeypatch):
    x = unit(cloud())
    x[17] = np.nan
    made = curate.embed(curate.load(x), out=tmp_path / "e")
    first = shared_graph(made, 5)

    monkeypatch.setattr(Index, "search", None)
    again = shared_graph(Embeddings.open(tmp_path / "e"), 16)
    with keeping(made.kept):
        of_sampler = graph_of(placed(np.delete(x, 17, axis=0), "cosine"), 5)

    assert same(first, again.nearest(5)) and (first.rows[17] == -1).all() and not (first.rows == 17).any()
    np.testing.assert_array_equal(np.delete(first.distance, 17, axis=0), of_sampler.distance)


def test_the_graph_of_a_store_that_may_not_be_written_is_made_in_memory(tmp_path, monkeypatch):
    made = curate.embed(curate.load(cloud()), out=tmp_path / "e")
    monkeypatch.setattr(Embeddings, "kept", None)

    assert shared_graph(made, 5).k == 5 and not (tmp_path / "e" / "kept").exists()
