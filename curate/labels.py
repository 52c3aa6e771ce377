"""Class codes out of a label column of whatever type, and the errors for columns that hold no classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from curate.errors import ColumnError

# Fewer rows than these can be all of different classes without being ids.
_FEW_ROWS = 20


@dataclass(frozen=True)
class Classes:
    """The classes of a label column: the raw values, sorted, whose positions are the codes, and their names."""

    values: pa.Array
    names: tuple[str, ...]


def find_classes(column: pa.ChunkedArray, names: Sequence[str] | None, name: str) -> Classes:
    """The classes of a label column; `names` are those of a ClassLabel, whose codes then are the values as they stand.

    Texts and integers are sorted; -1 and null are missing. ColumnError where the values cannot be classes.
    """
    column = _plain(column, name)
    if names is not None:
        _check_range(column, len(names), name)
        return Classes(pa.array(range(len(names)), pa.int64()), tuple(names))
    values = pc.unique(column).drop_null()
    _check_text(values, name)
    values = values.take(pc.sort_indices(values))
    if pt.is_integer(values.type):
        values = _without_missing(values, name)
    if not len(values):
        raise ColumnError(f'All {len(column)} labels in column "{name}" are missing. Name another with --label COLUMN.')
    if len(column) > _FEW_ROWS and len(values) > len(column) / 2:
        raise ColumnError(
            f'Column "{name}" has {len(values)} different values in {len(column)} rows, so it looks like an id or a text, not a class. '
            "Name another with --label COLUMN, or, if these are classes, make the column a ClassLabel of `datasets`."
        )
    return Classes(values, tuple(str(value) for value in values.to_pylist()))


def encode(column: pa.ChunkedArray, classes: Classes, name: str) -> NDArray[np.int64]:
    """The code of each row, (n,) int64, -1 where missing; ColumnError for a value that is none of the classes."""
    column = _plain(column, name)
    if column.type != classes.values.type:
        raise ColumnError(f'Column "{name}" is {column.type} here, and {classes.values.type} where its classes were found. Use one type.')
    codes: NDArray[np.int64] = pc.index_in(column, classes.values).fill_null(-1).to_numpy().astype(np.int64)
    missing = pc.is_null(column).to_numpy()
    if pt.is_integer(column.type):
        missing = missing | pc.equal(column, -1).fill_null(False).to_numpy()
    unknown = np.flatnonzero((codes < 0) & ~missing)
    if len(unknown):
        raise ColumnError(
            f'Column "{name}" has {len(unknown)} labels that are none of the {len(classes.names)} classes, first in row {unknown[0]}: '
            f'"{column[int(unknown[0])].as_py()}". Mend these rows, or load the data in which every class occurs.'
        )
    return codes


@dataclass(frozen=True, eq=False)
class LabelSets:
    """Several labels a row: `member`, (n, classes) bool, the classes' `names`, and `known`, (n,), false where the list is missing."""

    member: NDArray[np.bool_]
    names: tuple[str, ...]
    known: NDArray[np.bool_]


def is_several(column: pa.ChunkedArray) -> bool:
    """Whether a label column holds a list a row."""
    return bool(pt.is_list(column.type) or pt.is_large_list(column.type) or pt.is_fixed_size_list(column.type))


def find_label_sets(column: pa.ChunkedArray, names: Sequence[str] | None, name: str) -> LabelSets:
    """The classes of a column of lists, found as those of a plain one are; an empty list is a row of no class.

    ColumnError where the values cannot be classes, as where all lists are empty or missing.
    """
    column = column.combine_chunks()
    flat = pa.chunked_array([pc.list_flatten(column)])
    if not len(flat):
        raise ColumnError(f'All {len(column)} lists in column "{name}" are empty or missing. Name another with --label COLUMN.')
    classes = find_classes(flat, names, name)
    codes, rows = encode(flat, classes, name), pc.list_parent_indices(column).to_numpy()
    member = np.zeros((len(column), len(classes.names)), np.bool_)
    member[rows[codes >= 0], codes[codes >= 0]] = True
    return LabelSets(member, classes.names, column.is_valid().to_numpy(zero_copy_only=False))


def is_all_missing(column: pa.ChunkedArray) -> bool:
    """Whether no row has a label, as in test splits whose labels are kept secret."""
    return not pt.is_nested(column.type) and pc.unique(column.drop_null()).to_pylist() in ([], [-1])


def _plain(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Labels as int64 or text; null for NaN."""
    arrow = column.type
    if pt.is_nested(arrow):
        raise ColumnError(
            f'Column "{name}" holds {arrow}, several labels a row; one class a row is expected. Name another with --label; '
            "`curate audit`, and the scorer `confident_sets`, find wrong labels among several a row."
        )
    if pt.is_dictionary(arrow):
        return _plain(column.cast(arrow.value_type), name)
    if pt.is_null(arrow) or pt.is_integer(arrow):
        return _in_64_bits(column, name)
    if pt.is_floating(arrow):
        return _whole(column, name)
    if pt.is_boolean(arrow) or pt.is_large_string(arrow):
        return column.cast(pa.string())
    if pt.is_string(arrow):
        return column
    raise ColumnError(f'Column "{name}" is {arrow}; class labels are texts, whole numbers or booleans. Name another with --label COLUMN.')


def _whole(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    values = column.cast(pa.float64()).to_numpy()
    odd = np.flatnonzero(~np.isnan(values) & (np.floor(values) != values) | np.isinf(values))
    if len(odd):
        raise ColumnError(
            f'Column "{name}" holds fractions, first {values[odd[0]]} in row {odd[0]}, and looks like a regression target; '
            "classes are expected. Name another with --label COLUMN."
        )
    missing = np.isnan(values)
    return pa.chunked_array([pa.array(np.where(missing, 0, values).astype(np.int64), mask=missing)])


def _in_64_bits(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        raise ColumnError(f'Column "{name}" holds whole numbers of 2^63 and more; classes are below. Write them as text.') from None


def _check_text(values: pa.Array, name: str) -> None:
    """ColumnError where a class's name is no UTF-8: shown otherwise, two classes could look the same."""
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        odd = next(cell for cell in values.cast(pa.binary()).to_pylist() if cell.decode(errors="replace").encode() != cell)
        raise ColumnError(
            f'Column "{name}" holds labels that are not UTF-8, first {odd!r}. Re-encode them, or write codes instead.'
        ) from None


def _without_missing(values: pa.Array, name: str) -> pa.Array:
    known = values.filter(pc.not_equal(values, -1))
    if known.to_pylist() == [1] and len(values) == 2:
        raise ColumnError(
            f'Column "{name}" holds -1 and 1, and -1 stands for a missing label. '
            "If these are two classes, write them as 0 and 1 or as names."
        )
    return known


def _check_range(column: pa.ChunkedArray, n_classes: int, name: str) -> None:
    codes = column.fill_null(-1).to_numpy()
    outside = np.flatnonzero((codes < -1) | (codes >= n_classes))
    if len(outside):
        raise ColumnError(
            f'Column "{name}" has {len(outside)} labels outside 0 … {n_classes - 1} ({n_classes} classes), '
            f"first {codes[outside[0]]} in row {outside[0]}. Mend these rows, or the ClassLabel feature."
        )
    if len(codes) and (codes == -1).all():
        raise ColumnError(f'All {len(codes)} labels in column "{name}" are missing. Name another with --label COLUMN.')
