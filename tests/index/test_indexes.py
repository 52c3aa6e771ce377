"""The index: which for what size, and files of it that are caches only."""

from dataclasses import replace

import numpy as np
import pytest

from curate.errors import OptionError
from curate.index import kept
from curate.index.indexes import Index, plan, search_parts, signature
from curate.index.neighbours import nearest_by_distance

pytest.importorskip("faiss")


def cloud(n=2000, d=4):
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize(
    ("n", "d", "kind", "factory"),
    [
        (100_000, 768, "auto", "Flat"),
        (1_000_000, 64, "auto", "IVF4000,Flat"),
        (200_000_000, 768, "auto", "IVF56568,PQ64np"),
        (5000, 6, "ivfpq", "IVF78,PQ2np"),
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
    one, other = (Index.build(x, plan(*x.shape, kind)).search(x[:100], 5) for _ in range(2))

    assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def ragged(x):
    """Shards, one of them empty and one of a single row."""
    return np.split(x, [0, 1, 700, 1500, 1500, 1999])


@pytest.mark.parametrize("kind", ["flat", "ivf", "ivfpq"])
def test_parts_are_searched_and_joined_as_one_index_of_all_rows(kind):
    x = cloud(2000)
    chosen = plan(*x.shape, kind)
    trained = Index.trained(x, chosen)
    whole, *parts = (trained.emptied() for _ in (x, *ragged(x)))
    whole.add(x)
    rows, square = whole.search(x[:200], 7)
    for part, shard in zip(reversed(parts), reversed(ragged(x)), strict=True):  # whoever comes first
        part.add(shard)

    found, far = search_parts(parts, x[:200], 7)
    for part in parts[1:]:
        parts[0].absorb(part)
    joined = parts[0].search(x[:200], 7)

    assert len(parts[0]) == 2000 and len(parts[1]) == 0
    assert np.array_equal(joined[0], rows) and np.array_equal(joined[1], square)
    np.testing.assert_array_equal(np.sort(far, axis=1), np.sort(square, axis=1))
    if kind != "ivfpq":  # equal codes are equally far
        assert np.array_equal(np.sort(found, axis=1), np.sort(rows, axis=1))


def test_parts_with_too_few_rows_in_their_cells_look_in_all_cells():
    x = cloud(2000)
    chosen = replace(plan(*x.shape, "ivf"), probes=1)
    trained = Index.trained(x, chosen)
    parts = [trained.emptied() for _ in ragged(x)]
    for part, shard in zip(parts, ragged(x), strict=True):
        part.add(shard)

    assert (search_parts(parts, x[:5], 1500)[0] >= 0).all()
    assert (search_parts(parts[:2], x[:5], 3)[0] >= 0).sum() == 5  # there is one row in all


def test_an_index_of_links_does_not_join():
    x = cloud(500)
    one, other = (Index.build(x, plan(*x.shape, "hnsw")) for _ in range(2))

    with pytest.raises(OptionError, match="hnsw index cannot be joined"):
        one.absorb(other)


def test_rows_may_stay_on_disk(tmp_path):
    x = cloud()
    chosen = plan(*x.shape, "ivf")
    index = Index.build(x, chosen)
    index.save(tmp_path / "index")

    mapped = Index.open(tmp_path / "index", chosen, mapped=True)

    assert mapped is not None and np.array_equal(mapped.search(x[:50], 5)[0], index.search(x[:50], 5)[0])


def test_half_precision_is_indexed_block_by_block(monkeypatch):
    x = cloud().astype(np.float16)
    monkeypatch.setattr("curate.index.indexes._BLOCK", 999)

    rows, _ = Index.build(x, plan(*x.shape, "ivf")).search(x[:50].astype(np.float32), 1)

    assert np.array_equal(x[rows[:, 0]], x[:50])


def test_a_gpu_is_used_where_faiss_has_one_and_allows_it(monkeypatch):
    x = cloud()
    moved = []
    monkeypatch.setattr("curate.index.indexes.gpus", lambda: 1)
    monkeypatch.setattr("curate.index.indexes.to_gpu", lambda index: moved.append(index.ntotal) or index)
    index = Index.build(x, plan(*x.shape, "ivf"))

    index.search(x[:9], 3)
    index.search(x[:9], 3)
    index.search(x[:9], 2049)  # more than it allows
    Index.build(x[:99], plan(99, 4, "hnsw")).search(x[:9], 3)

    assert moved == [2000] and "gpu" in signature(index.plan)


def test_nothing_is_kept_outside(tmp_path):
    nearest_by_distance(cloud(), 5)

    assert kept.place("neighbours", cloud()) is None
