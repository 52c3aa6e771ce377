import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import fingerprint as fp
from curate.errors import ColumnError
from curate.loading import load

MASK = (1 << 64) - 1


def splitmix(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def naive_bytes(value: bytes) -> int:
    state = splitmix(len(value) ^ 0xE7037ED1A0B428DB)
    if len(value) > 64:
        return splitmix(state ^ xxhash.xxh3_64_intdigest(value))
    for start in range(0, len(value), 8):
        state = splitmix(state ^ int.from_bytes(value[start : start + 8], "little"))
    return state


def naive_row(columns: dict[str, int]) -> int:
    return splitmix(sum(splitmix(value ^ xxhash.xxh3_64_intdigest(name.encode())) for name, value in columns.items()) & MASK)


def of(table: pa.Table) -> str:
    return fp.fingerprint(fp.logical_schema(table.schema), table.num_rows, [fp.hash_rows(table)])


def rows_of(values: object, arrow: pa.DataType | None = None) -> list[int]:
    return fp.hash_rows(pa.table({"x": pa.array(values, arrow)})).tolist()


NESTED = [[{"role": "user", "n": [1, None, 3]}, None], None, [], [{"role": "", "n": []}], [{"role": None, "n": None}]] * 4
VALUES = {
    "int8": pa.array([1, -1, None, 0, 127], pa.int8()),
    "int64": pa.array([1, -1, None, 0, 2**62]),
    "uint64": pa.array([1, 2**64 - 1, None], pa.uint64()),
    "float32": pa.array([1.5, None, float("nan"), float("-inf")], pa.float32()),
    "bool": pa.array([True, None, False, False, True]),
    "string": pa.array(["", None, "a", "abcdefgh", "abcdefghi", "é" * 32, "é" * 33, "x" * 1000]),
    "binary": pa.array([b"", None, b"\0", b"\0\0", bytes(64), bytes(65)]),
    "decimal": pa.array([decimal.Decimal("1.20"), None, decimal.Decimal("-3.40")]),
    "time": pa.array([datetime.datetime(2020, 1, 1), None, datetime.datetime(2021, 1, 1)], pa.timestamp("us", tz="UTC")),
    "null": pa.nulls(4),
    "numbers": pa.array([[1, 2], None, [], [1, None], [None], list(range(20))]),
    "vectors": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
    "texts": pa.array([["a", None, ""], [], None, ["b" * 70]]),
    "bools": pa.array([[True, False], [], None, [None]]),
    "nested": pa.array(NESTED),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}]),
    "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
}
EVERY_TYPE = pytest.mark.parametrize("array", VALUES.values(), ids=VALUES.keys())


def test_a_number_is_mixed_once_for_itself_once_for_its_column_and_once_for_the_row():
    assert rows_of([5, -1]) == [naive_row({"x": splitmix(5)}), naive_row({"x": splitmix(MASK)})]


@given(st.lists(st.binary(max_size=90), min_size=1, max_size=30))
def test_texts_agree_with_a_loop_over_rows_and_words(values):
    assert rows_of(values, pa.binary()) == [naive_row({"x": naive_bytes(value)}) for value in values]


def test_columns_of_a_row_are_summed():
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})

    expected = [naive_row({"a": splitmix(n), "b": naive_bytes(text)}) for n, text in ((1, b"x"), (2, b"y"))]
    assert fp.hash_rows(table).tolist() == expected


@EVERY_TYPE
def test_a_row_hashes_the_same_alone_sliced_and_among_others(array):
    whole = fp.hash_rows(pa.table({"x": array}))

    alone = [fp.hash_rows(pa.table({"x": array.slice(i, 1)}))[0] for i in range(len(array))]
    chunked = pa.chunked_array([array.slice(0, 1), array.slice(1, 0), array.slice(1)])

    assert alone == whole.tolist() == fp.hash_rows(pa.table({"x": chunked})).tolist()


@EVERY_TYPE
def test_different_values_get_different_hashes(array):
    hashes = fp.hash_rows(pa.table({"x": array})).tolist()

    assert len(set(hashes)) == len({repr(value) for value in array.to_pylist()})


@EVERY_TYPE
def test_pieces_of_a_stream_give_the_hashes_of_the_whole(array):
    table = pa.table({"x": array})

    pieces = [table.slice(0, 1), table.slice(1, 1), table.slice(2)]

    np.testing.assert_array_equal(np.concatenate(list(fp.hash_pieces(pieces))), fp.hash_rows(table))


@pytest.mark.parametrize(
    "one, other",
    [
        (pa.array(["a", None, "b"]), pa.array(["a", None, "b"], pa.large_string())),
        (pa.array(["a", None, "b"]), pa.array(["a", None, "b"], pa.string_view())),
        (pa.array(["a", None, "a"]), pa.array(["a", None, "a"]).dictionary_encode()),
        (pa.array([b"abcd", None]), pa.array([b"abcd", None], pa.binary(4))),
        (pa.array([[1, 2], [3, 4]]), pa.array([[1, 2], [3, 4]], pa.large_list(pa.int64()))),
        (pa.array([[1, None], None]), pa.array([[1, None], None], pa.list_(pa.int64(), 2))),
        (pa.array([[1, 1], [2]]), pa.ListArray.from_arrays([0, 2, 3], pa.array([1, 1, 2]).dictionary_encode())),
        (pa.array([[b"ab"], [b"cd"]]), pa.array([[b"ab"], [b"cd"]], pa.list_(pa.binary(2)))),
        (pa.array([1, 1, None]), pa.compute.run_end_encode(pa.array([1, 1, None]))),
    ],
    ids=[
        "large_string",
        "string_view",
        "dictionary",
        "fixed_binary",
        "large_list",
        "fixed_list",
        "list_of_dictionary",
        "list_of_fixed",
        "runs",
    ],
)
def test_storage_does_not_matter(one, other):
    assert of(pa.table({"x": one})) == of(pa.table({"x": other}))


def test_bytes_under_a_null_do_not_matter():
    validity = pa.array([True, False]).buffers()[1]
    hidden = [pa.Array.from_buffers(pa.int64(), 2, [validity, pa.array([1, ghost]).buffers()[1]]) for ghost in (2, 3)]

    assert of(pa.table({"x": hidden[0]})) == of(pa.table({"x": hidden[1]})) == of(pa.table({"x": [1, None]}))


@pytest.mark.parametrize(
    "other",
    [
        pa.table({"a": [1, 2], "c": ["x", "y"]}),
        pa.table({"b": ["x", "y"], "a": [1, 2]}),
        pa.table({"a": pa.array([1, 2], pa.int32()), "b": ["x", "y"]}),
        pa.table({"a": [2, 1], "b": ["y", "x"]}),
        pa.table({"a": [1, 2], "b": ["y", "x"]}),
        pa.table({"a": [1, 2], "b": ["x", None]}),
        pa.table({"a": [1, 2, 2], "b": ["x", "y", "y"]}),
    ],
    ids=["name", "column order", "type", "row order", "swapped values", "null", "one more row"],
)
def test_content_matters(other):
    assert of(other) != of(pa.table({"a": [1, 2], "b": ["x", "y"]}))


def test_an_image_is_its_bytes_wherever_they_lie(tmp_path):
    (tmp_path / "a.png").write_bytes(b"pixels")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": b"pixels", "path": None}, {"bytes": None, "path": str(tmp_path / "a.png")}, {"bytes": b"pixels", "path": "b.png"}]
    table = pa.table({"image": pa.array(cells, kind)})

    assert len(set(fp.hash_rows(table, image_root=tmp_path).tolist())) == 1


def test_a_path_outside_the_root_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "data").mkdir()

    for path in (tmp_path / "secret", tmp_path / "data" / ".." / "secret", tmp_path / "data" / "absent"):
        assert fp.read_image_file(str(path), tmp_path / "data") is None
    assert fp.read_image_file(str(tmp_path / "secret"), tmp_path) == b"secret"


def test_a_type_without_a_logical_value_is_named():
    union = pa.UnionArray.from_dense(pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["a"])])

    with pytest.raises(ColumnError, match="dense_union"):
        fp.hash_rows(pa.table({"x": union}))


def test_an_empty_table_has_a_fingerprint():
    assert len(of(pa.table({"x": pa.array([], pa.int64())}))) == 32


def test_rows_without_a_partner_are_counted_once_each():
    a, b = np.array([1, 1, 2, 3], np.uint64), np.array([1, 2, 2, 4], np.uint64)

    assert fp.differing_rows(a, b) == fp.differing_rows(b, a) == 2
    assert fp.differing_rows(a, a[::-1]) == 0


TABLE = pa.table({"text": ["a", "b c", "é"], "n": [1, 2, 3], "x": [0.5, 1.5, -2.25], "flag": [True, False, True]})


def test_every_container_of_one_table_has_one_fingerprint(tmp_path):
    import datasets
    import pyarrow.csv
    import pyarrow.feather
    import pyarrow.parquet as pq

    pq.write_table(TABLE, tmp_path / "plain.parquet")
    pq.write_table(TABLE, tmp_path / "groups.parquet", row_group_size=1, compression="zstd", use_dictionary=False)
    pyarrow.csv.write_csv(TABLE, tmp_path / "t.csv")
    pyarrow.feather.write_feather(TABLE, str(tmp_path / "t.arrow"), compression="uncompressed")
    memory = datasets.Dataset(TABLE)
    memory.to_json(tmp_path / "t.jsonl")
    memory.save_to_disk(tmp_path / "saved")

    names = ["plain.parquet", "groups.parquet", "t.csv", "t.arrow", "t.jsonl", "saved"]
    found = {str(name): load(tmp_path / name, input="text").fingerprint for name in names}
    found |= {"memory": load(memory, input="text").fingerprint, "pandas": load(TABLE.to_pandas(), input="text").fingerprint}

    assert set(found.values()) == {of(TABLE)}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_selected_rows_have_the_hashes_that_they_had(rows):
    data = load(pa.table({"text": ["a", "b", "c", "d", "e"], "n": [1, 2, 3, 4, 5]}))

    np.testing.assert_array_equal(data.select(np.array(rows)).row_hashes, data.row_hashes[rows])


def test_the_fingerprint_of_a_tiny_table_is_pinned():
    # Changing it would orphan every store; it is the value of the algorithm in the module's docstring, and no one's to derive anew.
    hashes = [naive_row({"a": splitmix(1)}), naive_row({"a": splitmix(2)})]
    text = b'[[["a", "int64"]], 2]' + b"".join(value.to_bytes(8, "little") for value in hashes)

    assert load(pa.table({"a": [1, 2]})).fingerprint == xxhash.xxh3_128_hexdigest(text)
