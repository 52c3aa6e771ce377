"""What can be asked of a whole column: what is missing, how it compares, what text it holds. Vectorised, missing values never match.

A column is (n,) of bool, whole numbers or floats (NaN is missing), or of text: dtype object (None is missing) or str.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.errors import ColumnError
from curate.protocols import Array

Mask = NDArray[np.bool_]


def is_text(values: Any) -> bool:
    """Whether a column or literal holds text."""
    return np.asarray(values).dtype.kind in "OUT"


def as_number(values: Any, source: str) -> Array:
    """The values as float64; a ColumnError that names `source` where they are none."""
    return as_real(values, source).astype(np.float64)


def as_real(values: Any, source: str) -> Array:
    """The values as they are; a ColumnError where they are no numbers."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ColumnError(f"`{source}` holds {_holds(array)}, but numbers are needed there.")
    return array


def as_condition(values: Any, source: str) -> Mask:
    """The values as bool; a ColumnError where they are not true and false already."""
    array = np.asarray(values)
    if array.dtype != bool:
        raise ColumnError(f"`{source}` holds {_holds(array)}, not true and false. Compare it with something: `{source} > 0`.")
    return array


def as_text(values: Any, source: str) -> Array:
    """The values as they are; a ColumnError where they are no text."""
    array = np.asarray(values)
    if not is_text(array):
        raise ColumnError(f"`{source}` holds {_holds(array)}, but text is needed there.")
    return array


def missing(values: Any) -> Mask:
    """Where a column has no value: NaN or None."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        return np.asarray(np.isnan(array))
    if array.dtype.kind == "O":
        return np.asarray((array == None) | (array != array)).astype(np.bool_)  # noqa: E711  # row by row
    return np.zeros(array.shape, bool)


def compare(op: Callable[[Any, Any], Any], left: Any, right: Any, source: str) -> Mask:
    """`left op right` row by row, false where either is missing; text knows only equality and never equals a number.

    Python numbers take the column's own width, so that a float32 column equals the 0.6 that was stored in it.
    """
    if is_text(left) != is_text(right):
        raise ColumnError(f"`{source}` compares text with numbers. Put quotes around text, and none around numbers.")
    if is_text(left) and op not in (operator.eq, operator.ne):
        raise ColumnError(f"`{source}` orders text, but text can only be compared with == and !=, or in [...].")
    return np.asarray(op(left, right), bool) & ~missing(left) & ~missing(right)


def is_in(values: Any, literals: Sequence[str] | Sequence[float], source: str, *, is_not: bool = False) -> Mask:
    """Whether each value is one of the literals (or none of them), which are all text or all numbers; false where it is missing."""
    array = np.asarray(values)
    if len(literals) and is_text(array) != isinstance(literals[0], str):
        raise ColumnError(f"`{source}` compares text with numbers. Put quotes around text, and none around numbers.")
    if is_text(array):
        import pyarrow as pa
        import pyarrow.compute as pc

        found = _mask(pc.is_in(_strings(array, source), value_set=pa.array(literals, pa.large_string())))
    else:
        found = np.isin(array, np.asarray(literals, array.dtype if array.dtype.kind == "f" else None))
    return (found ^ is_not) & ~missing(array)


def contains(values: Array, pattern: str) -> Mask:
    """Whether the text holds the pattern, letter for letter; false where it is missing."""
    import pyarrow.compute as pc

    return _mask(pc.match_substring(_strings(values, "contains()"), pattern))


def startswith(values: Array, pattern: str) -> Mask:
    """Whether the text begins with the pattern; false where it is missing."""
    import pyarrow.compute as pc

    return _mask(pc.starts_with(_strings(values, "startswith()"), pattern))


def length(values: Array) -> NDArray[np.float64]:
    """The text's length in characters (code points), NaN where it is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counted = pc.utf8_length(_strings(values, "length()")).cast(pa.float64())
    return np.asarray(counted.to_numpy(zero_copy_only=False), np.float64)


def zscore(values: Array) -> NDArray[np.float64]:
    """(x - mean) / population standard deviation over what is not missing; 0 where all are equal, NaN stays NaN."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return values
    if known.min() == known.max():
        return np.where(np.isnan(values), np.nan, 0.0)
    return np.asarray((values - known.mean()) / known.std(), np.float64)


def quantile(values: Array, share: float) -> np.float64:
    """The value below which a share of what is not missing lies, interpolated; NaN where all is missing."""
    known = values[~np.isnan(values)]
    return np.float64(np.quantile(known, share) if len(known) else np.nan)


def _strings(values: Array, source: str) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values, type=pa.large_string(), from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ColumnError(f"`{source}` needs text in every row, or nothing, but found something else: {error}.") from None


def _mask(values: Any) -> Mask:
    return np.asarray(values.fill_null(False).to_numpy(zero_copy_only=False), bool)


def _holds(array: Array) -> str:
    return "text" if is_text(array) else "true and false" if array.dtype == bool else f"values of type {array.dtype}"
