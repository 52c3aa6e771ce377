"""The index: which for what size, and files of it that are caches only."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.index import kept
from curate.index.indexes import Index, plan
from curate.index.kept import keeping
from curate.index.neighbours import nearest_by_distance

pytest.importorskip("faiss")


def cloud(n=6000, d=4):
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize(
    ("n", "d", "kind", "factory"),
    [
        (100_000, 768, "auto", "Flat"),
        (1_000_000, 64, "auto", "IVF4000,Flat"),
        (200_000_000, 768, "auto", "IVF56568,PQ64"),
        (5000, 6, "ivfpq", "IVF78,PQ2"),
        (5000, 6, "hnsw", "HNSW32"),
    ],
)
def test_the_size_decides(n, d, kind, factory):
    found = plan(n, d, kind)

    assert found.factory == factory and found.why and found.bytes > 0


def test_an_unknown_kind_is_refused():
    with pytest.raises(OptionError, match='got "annoy"'):
        plan(10, 2, "annoy")


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_equal_vectors_give_equal_indexes(kind):
    x = cloud()
    one, other = (Index.build(x, plan(*x.shape, kind), by_product=False).search(x[:100], 5) for _ in range(2))

    assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def test_neighbours_are_kept_and_found_again(tmp_path, monkeypatch):
    x = cloud()
    with keeping(tmp_path) as keeper:
        first = nearest_by_distance(x, 5, "ivf")
        files = sorted(path.name.partition("-")[0] for path in tmp_path.iterdir())
        monkeypatch.setattr(Index, "search", None)  # whoever searched again would fail
        again = nearest_by_distance(x, 5, "ivf")

    assert files == ["index", "neighbours"] and keeper.notes == ["ivf: it was asked for"]
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])


def test_other_vectors_or_numbers_are_other_files(tmp_path):
    x = cloud()
    with keeping(tmp_path):
        for vectors, k in ((x, 5), (x, 6), (x * 2, 5), (x[:1000], 5)):
            nearest_by_distance(vectors, k)

    assert len(list(tmp_path.iterdir())) == 3  # a thousand rows are not worth a file


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"x" * len(raw)], ids=["cut", "empty", "other"]
)
def test_a_damaged_file_is_made_anew(tmp_path, damage):
    x = cloud()
    with keeping(tmp_path):
        first = nearest_by_distance(x, 5, "ivf")
        for path in tmp_path.iterdir():
            path.write_bytes(damage(path.read_bytes()))
        again = nearest_by_distance(x, 5, "ivf")
        whole = [path.stat().st_size for path in tmp_path.iterdir()]

    assert np.array_equal(first[0], again[0]) and min(whole) > 5 * 6000 * 8 / 4


def test_nothing_is_kept_outside(tmp_path):
    nearest_by_distance(cloud(), 5)

    assert kept.place("neighbours", cloud()) is None
