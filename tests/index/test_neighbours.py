"""Nearest neighbours: those of a loop over pairs, by FAISS or by numpy, and every place filled."""

import sys

import numpy as np
import pytest

from curate.index.indexes import Index, plan, search_parts
from curate.index.neighbours import in_parts, nearest_by_distance


def cloud(n=300, d=6, shift=0.0):
    return (np.random.default_rng(0).normal(size=(n, d)) + shift).astype(np.float32)


def recall(rows, truth):
    return np.mean([len(np.intersect1d(a, b)) / truth.shape[1] for a, b in zip(rows, truth, strict=True)])


@pytest.mark.parametrize("engine", ["faiss", "numpy"])
@pytest.mark.parametrize("shift", [0.0, 500.0])
def test_distances_are_those_of_a_loop(engine, shift, monkeypatch):
    if engine == "numpy":
        monkeypatch.setitem(sys.modules, "faiss", None)
    x = cloud(shift=shift)

    rows, far = nearest_by_distance(x, 4)

    exact = np.sqrt(((x[:, None].astype(np.float64) - x[None]) ** 2).sum(axis=2))
    np.fill_diagonal(exact, np.inf)
    np.testing.assert_array_equal(rows, np.argsort(exact, axis=1)[:, :4])
    np.testing.assert_allclose(far, np.sort(exact, axis=1)[:, :4], rtol=1e-3)


def test_equal_rows_do_not_find_themselves():
    rows, _ = nearest_by_distance(np.ones((40, 3), np.float32), 5)

    assert not (rows == np.arange(40)[:, None]).any() and all(len(set(row)) == 5 for row in rows.tolist())


def test_an_inverted_file_fills_every_place():
    pytest.importorskip("faiss")
    x = cloud(3000)

    rows, _ = nearest_by_distance(x, 60, "ivf")

    truth, _ = nearest_by_distance(x, 60)
    assert (rows >= 0).all() and recall(rows, truth) > 0.5


@pytest.mark.parametrize(("kind", "least"), [("ivfpq", 0.5), ("hnsw", 0.9)])
def test_other_indexes_find_most_and_say_exact_values(kind, least):
    pytest.importorskip("faiss")
    x = cloud(6000 if kind == "ivfpq" else 2000, d=8)

    rows, values = nearest_by_distance(x, 10, kind)

    assert recall(rows, nearest_by_distance(x, 10)[0]) > least
    exact = np.linalg.norm(x[:50, None] - x[rows[:50]], axis=2)
    np.testing.assert_allclose(values[:50], exact, rtol=1e-3, atol=1e-3)


def test_an_index_in_files_answers_as_the_whole_and_a_cut_file_is_made_anew(tmp_path):
    x = np.random.default_rng(3).normal(size=(3000, 8)).astype(np.float32)
    chosen = plan(*x.shape, "ivf")
    whole, _ = Index.build(x, chosen).search(x[:40], 5)

    for _ in range(2):
        found, _ = search_parts(in_parts(x, chosen, tmp_path / "index", 1100), x[:40], 5)
        np.testing.assert_array_equal(np.sort(found), np.sort(whole))
        part = tmp_path / "index-001"
        part.write_bytes(part.read_bytes()[:-100])


def test_an_index_in_files_is_trained_once_and_not_again_after_a_kill(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    x = np.random.default_rng(3).normal(size=(3000, 8)).astype(np.float32)
    chosen, trainings, train = plan(*x.shape, "ivf"), [], Index.trained

    def counted(*given):
        trainings.append(1)
        return train(*given)

    monkeypatch.setattr(Index, "trained", counted)
    in_parts(x, chosen, tmp_path / "index", 1100)
    bytes_before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    for name in ("index-001", "index-002"):
        (tmp_path / name).unlink()
    in_parts(x, chosen, tmp_path / "index", 1100)

    assert len(trainings) == 1
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == bytes_before
