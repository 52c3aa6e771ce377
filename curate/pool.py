"""The candidates of a selection as arrays: what samplers are handed, and what they may rely on."""

from collections.abc import Mapping

import numpy as np

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

    def __getitem__(self, name: str) -> Array:
        """The column of that name, (n,) or (n, …); a ColumnError that lists what there is where it is missing."""
        if name not in self._columns:
            known = ", ".join(self._columns) or "none"
            raise ColumnError(f'No column named "{name}".{did_you_mean(name, self._columns)} Columns here: {known}.')
        column = self._columns[name]
        return column if self._index is None else column[self._index]

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, index: Rows) -> "ArrayPool":
        """The pool of the rows at these positions, which must ascend; columns are cut only when they are read."""
        part = ArrayPool({}, rows=self.rows[index], keep=self.keep, hard_sign=self.hard_sign)
        part._columns = self._columns
        part._index = index if self._index is None else self._index[index]
        return part


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
