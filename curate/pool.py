"""The candidates of a selection as arrays: what samplers are handed, and what they may rely on."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from curate.errors import ColumnError, InputError, did_you_mean
from curate.protocols import Array, Keep, Pool, Rows, Sign


class ArrayPool:
    """A pool over columns of one length, memory-mapped or not; none is copied until a subset of it is read.

    `columns` maps names to arrays of n rows; `rows` are their positions in the source, (n,) ascending, 0 … n-1 unless given.
    `keep` says which end of `score` is wanted, `hard_sign` which end is hard (0: neither).

    >>> pool = ArrayPool({"score": np.array([0.3, 0.1, 0.2])}, rows=np.array([4, 7, 9]))
    >>> pool.subset(np.array([0, 2])).rows.tolist()
    [4, 9]
    """

    def __init__(self, columns: Mapping[str, Array], *, rows: Rows | None = None, keep: Keep = "high", hard_sign: Sign = 1) -> None:
        if rows is None and not columns:
            raise InputError("A pool needs rows or at least one column, got neither.")
        self.rows: Rows = np.arange(len(next(iter(columns.values())))) if rows is None else rows
        if not (self.rows[1:] > self.rows[:-1]).all():
            raise InputError("A pool's rows must ascend and none may come twice. Sort them, and their columns alike.")
        for name, column in columns.items():
            if len(column) != len(self.rows):
                raise ColumnError(f'Column "{name}" has {len(column)} rows, but the pool has {len(self.rows)}.')
        self.keep: Keep = keep
        self.hard_sign: Sign = hard_sign
        self._columns = columns
        self._index: Rows | None = None

    @classmethod
    def among(cls, columns: Mapping[str, Array], rows: Rows, *, keep: Keep = "high", hard_sign: Sign = 1) -> "ArrayPool":
        """The pool of these rows of a source whose columns are `columns`, cut only when they are read."""
        part = cls({}, rows=rows, keep=keep, hard_sign=hard_sign)
        part._columns, part._index = columns, rows
        return part

    def __getitem__(self, name: str) -> Array:
        """The column of that name, (n,) or (n, …); a ColumnError that lists what there is where it is missing."""
        if name not in self._columns:
            known = ", ".join(self._columns) or "none"
            raise ColumnError(f'No column named "{name}".{did_you_mean(name, self._columns)} Columns here: {known}.')
        column = self._columns[name]
        if self._index is None:
            return column
        return column[self._index] if column.ndim == 1 else cast("Array", Cut(column, self._index))

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, index: Rows) -> "ArrayPool":
        """The pool of the rows at these positions, which must ascend; columns are cut only when they are read."""
        part = ArrayPool({}, rows=self.rows[index], keep=self.keep, hard_sign=self.hard_sign)
        part._columns = self._columns
        part._index = index if self._index is None else self._index[index]
        return part


class Cut(NDArrayOperatorsMixin):
    """Some rows of a matrix, read as they are asked for: of a memory-mapped one no more is in memory than that.

    Slices, lengths and shapes are an array's; whatever else one asks of it is asked of a copy.

    >>> cut = Cut(np.arange(8).reshape(4, 2), np.array([1, 3]))
    >>> len(cut), cut.shape, cut[1:].tolist(), (cut + 1).tolist(), cut.max()
    (2, (2, 2), [[6, 7]], [[3, 4], [7, 8]], np.int64(7))
    """

    def __init__(self, column: Array, index: Rows) -> None:
        self._column, self._index = column, index
        self.shape, self.ndim, self.dtype = (len(index), *column.shape[1:]), column.ndim, column.dtype

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, at: Any) -> Any:
        first, rest = (at[0], at[1:]) if isinstance(at, tuple) else (at, ())
        return self._column[(self._index[first], *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self._column[self._index], dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*(np.asarray(one) if isinstance(one, Cut) else one for one in inputs), **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)


def known_column(pool: Pool, name: str) -> Array:
    """A column of numbers; ColumnError where some are NaN, for no sampler can place a row without a score."""
    column = pool[name]
    missing = np.isnan(column)
    if missing.any():
        raise ColumnError(f'{np.count_nonzero(missing)} of {len(pool)} rows have no "{name}" (NaN). Drop them first, or score them.')
    return column


def finite_column(pool: Pool, name: str) -> Array:
    """A column of numbers, none of them NaN or infinite, for samplers that add and divide them; else ColumnError."""
    column = known_column(pool, name)
    infinite = np.isinf(column)
    if infinite.any():
        raise ColumnError(
            f'{np.count_nonzero(infinite)} of {len(pool)} rows have an infinite "{name}", which the sampler cannot add or divide. '
            "Rank by rank(…) or clip(…, low, high) of it in --by, or leave them out with --where."
        )
    return column


def wanted_score(pool: Pool) -> Array:
    """`score` turned so that the wanted end is high, (n,) float64: negated for `keep=low`, minus that to the median for `middle`."""
    score = finite_column(pool, "score").astype(np.float64)
    if pool.keep == "middle":
        return -np.abs(score - np.median(score)) if len(score) else score
    return score if pool.keep == "high" else -score
