import numpy as np
import pyarrow as pa
import pytest

from curate.errors import ColumnError
from curate.labels import encode, find_classes, is_all_missing


def codes_and_names(values, names=None, arrow=None):
    column = pa.chunked_array([pa.array(values, arrow)])
    classes = find_classes(column, names, "label")
    return encode(column, classes, "label").tolist(), classes.names


@pytest.mark.parametrize(
    "values, codes, names",
    [
        (["b", "a", None, "b"], [1, 0, -1, 1], ("a", "b")),
        ([7, 3, None, -1, 7], [1, 0, -1, -1, 1], ("3", "7")),
        ([True, False, None], [1, 0, -1], ("false", "true")),
        ([2.0, 1.0, float("nan"), None], [1, 0, -1, -1], ("1", "2")),
        (["only", "only"], [0, 0], ("only",)),
        (pa.array(["b", "a", "b"]).dictionary_encode(), [1, 0, 1], ("a", "b")),
        (pa.array(["b", "a"], pa.large_string()), [1, 0], ("a", "b")),
        (pa.array([1, 0], pa.uint8()), [1, 0], ("0", "1")),
        (list(range(20)), list(range(20)), tuple(map(str, range(20)))),
    ],
    ids=["texts", "numbers", "booleans", "whole floats", "one class", "dictionary", "large texts", "bytes", "few rows"],
)
def test_sorted_values_are_the_classes_and_missing_ones_minus_one(values, codes, names):
    assert codes_and_names(values) == (codes, names)


def test_a_classlabel_keeps_its_codes_and_its_absent_classes():
    assert codes_and_names([2, -1, 0, None], names=["a", "b", "c"]) == ([2, -1, 0, -1], ("a", "b", "c"))


@pytest.mark.parametrize(
    "values, names, message",
    [
        ([0, 5, 1, 7], ["a", "b"], r"2 labels outside 0 … 1 \(2 classes\), first 5 in row 1"),
        ([0, -2], ["a", "b"], "1 labels outside .* first -2 in row 1"),
        ([0.5, 1.0], None, "looks like a regression target"),
        ([float("inf"), 1.0], None, "looks like a regression target"),
        ([[1, 2], [3]], None, "several labels a row"),
        ([None, None], None, "All 2 labels .* are missing"),
        ([-1, -1], None, "All 2 labels .* are missing"),
        ([-1, None], ["a"], "All 2 labels .* are missing"),
        ([-1, 1, 1], None, "-1 and 1"),
        (list(range(21)), None, "21 different values in 21 rows, so it looks like an id"),
        ([b"a", b"b"], None, "is binary"),
        (pa.array([2**63, 2**63 + 1], pa.uint64()), None, "2\\^63 and more"),
        (pa.array([b"a", b"\xff"]).view(pa.string()), None, r"not UTF-8, first b'\\xff'"),
    ],
    ids=[
        "range",
        "below -1",
        "fractions",
        "infinity",
        "lists",
        "null",
        "minus one",
        "null ClassLabel",
        "plus-minus one",
        "ids",
        "bytes",
        "huge",
        "no UTF-8",
    ],
)
def test_what_cannot_be_classes_is_an_error_that_names_the_column(values, names, message):
    with pytest.raises(ColumnError, match=message) as failed:
        codes_and_names(values, names)
    assert 'olumn "label"' in str(failed.value)


def test_a_value_that_is_none_of_the_classes_is_an_error_that_names_it_and_its_row():
    classes = find_classes(pa.chunked_array([["a", "b"]]), None, "label")

    with pytest.raises(ColumnError, match='1 labels that are none of the 2 classes, first in row 1: "c"'):
        encode(pa.chunked_array([["a", "c", None]]), classes, "label")


@pytest.mark.parametrize("values, missing", [([-1, -1], True), ([None], True), ([-1, 0], False), (["a"], False), ([[1]], False)], ids=str)
def test_labels_kept_secret_are_known_as_such(values, missing):
    assert is_all_missing(pa.chunked_array([values])) is missing


def test_codes_are_int64():
    column = pa.chunked_array([["a"]])

    assert encode(column, find_classes(column, None, "x"), "x").dtype == np.int64
