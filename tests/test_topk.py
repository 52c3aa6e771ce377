"""The exact order of a column, in memory and streamed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from curate import topk
from curate.errors import ColumnError, OptionError
from curate.topk import average_ranks, nearest_ranks, sortable_keys, streaming_top_k, top_k

FLOATS = hnp.arrays(np.float32, st.integers(1, 40), elements=st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, np.inf, -np.inf, 2.5]))


def naive_top_k(values, k, largest=True):
    order = sorted(range(len(values)), key=lambda row: (-values[row] if largest else values[row], row))
    return order[:k]


def hard_column(n, dtype):
    """Ties, both zeros, denormals and infinities among ordinary numbers."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=n).astype(dtype)
    places = rng.permutation(n)
    tiny = np.finfo(dtype).smallest_subnormal
    for part, value in zip(np.array_split(places[: n // 2], 7), [0.0, -0.0, tiny, -tiny, np.inf, -np.inf, 0.25], strict=True):
        values[part] = value
    return values


def test_keys_are_the_published_ones():
    keys = sortable_keys(np.float32([1.0, 0.5, 0.0, -1.0]))

    assert [hex(key) for key in keys] == ["0xbf800000", "0xbf000000", "0x80000000", "0x407fffff"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.int8])
def test_keys_order_as_the_values_do(dtype):
    values = np.array([-7, -1, 0, 1, 2, 100], dtype)

    assert (np.diff(sortable_keys(values).astype(object)) > 0).all()
    assert (np.diff(sortable_keys(values, largest=False).astype(object)) < 0).all()


@given(FLOATS, st.data(), st.booleans())
def test_top_k_is_the_naive_one(values, data, largest):
    k = data.draw(st.integers(0, len(values)))

    assert top_k(values, k, largest=largest).tolist() == naive_top_k(values.tolist(), k, largest)


@given(FLOATS, st.data(), st.booleans())
def test_streaming_gives_the_same_for_any_cut(values, data, largest):
    k = data.draw(st.integers(0, len(values)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=5)))

    rows = streaming_top_k(np.split(values, cuts), k, largest=largest)

    assert rows.tolist() == top_k(values, k, largest=largest).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("largest", [True, False])
def test_a_million_hard_values_come_in_the_order_of_a_sort(dtype, largest, monkeypatch):
    monkeypatch.setattr(topk, "_BLOCK", 99_991)
    values = hard_column(1_000_000, dtype)
    expected = np.argsort(-values if largest else values, kind="stable")[:300_000]

    for cuts in ([], [1, 2, 77_777, 500_000, 999_999]):
        np.testing.assert_array_equal(streaming_top_k(np.split(values, cuts), 300_000, largest=largest), expected)
    np.testing.assert_array_equal(top_k(values, 300_000, largest=largest), expected)


def test_a_memory_mapped_column_streams(tmp_path):
    np.save(tmp_path / "column.npy", np.float32([3, 1, 2]))

    assert streaming_top_k([np.load(tmp_path / "column.npy", mmap_mode="r")], 2).tolist() == [0, 2]


def test_chunks_of_unlike_width_are_one_column():
    chunks = [np.float32([1.0]), np.array([1.0 + 1e-12, 0.5])]

    assert streaming_top_k(chunks, 2).tolist() == [1, 0]


@pytest.mark.parametrize("choose", [top_k, lambda v, k: streaming_top_k([v], k)], ids=["memory", "stream"])
def test_nan_and_impossible_counts_are_refused(choose):
    with pytest.raises(ColumnError, match="1 of 2 values are NaN"):
        choose(np.float32([1, np.nan]), 1)
    with pytest.raises(OptionError, match="3 of 2"):
        choose(np.float32([1, 2]), 3)


@pytest.mark.parametrize(
    ("values", "centre", "k", "rows"),
    [
        (range(10), 0.5, 4, [4, 5, 3, 6]),
        ([5, 1, 4, 2, 3, 0], 0.5, 3, [3, 4, 1]),
        (range(10), 0.0, 3, [0, 1, 2]),
        (range(10), 1.0, 3, [9, 8, 7]),
        (range(10), 0.5, 10, [4, 5, 3, 6, 2, 7, 1, 8, 0, 9]),
        (range(10), 0.5, 0, []),
        ([2, 2, 2], 0.5, 1, [1]),
        ([7], 0.3, 1, [0]),
    ],
)
def test_nearest_ranks_are_those_around_the_quantile(values, centre, k, rows):
    assert nearest_ranks(np.array(values, float), centre, k).tolist() == rows


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(0, 5)), st.floats(0, 1), st.data())
def test_nearest_ranks_agree_with_a_full_sort_by_distance(values, centre, data):
    k = data.draw(st.integers(0, len(values)))
    rank = np.empty(len(values))
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    distance = np.abs(rank - centre * (len(values) - 1))

    assert nearest_ranks(values, centre, k).tolist() == np.lexsort((np.arange(len(values)), distance))[:k].tolist()


@given(hnp.arrays(np.float32, st.integers(0, 30), elements=st.sampled_from([0.0, -0.0, 1.0, 2.0, np.nan, np.inf])))
def test_average_ranks_count_what_lies_below(values):
    seen = [v for v in values.tolist() if v == v]
    expected = [
        np.nan if v != v else 0.5 if len(seen) == 1 else (sum(w < v for w in seen) + (sum(w == v for w in seen) - 1) / 2) / (len(seen) - 1)
        for v in values.tolist()
    ]

    np.testing.assert_allclose(average_ranks(values), expected, atol=1e-12)
