"""The one small, safe language of `--by` and `--where`: Python's syntax for columns, none of its powers.

0.7*rank(el2n) + 0.3*rank(aum)
datamap.confidence > 0.2 and length(text) < 2000 and lang not in ["xx", "und"]
"""

import ast
import warnings
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate import column_logic as columns
from curate.errors import ColumnError, UsageError
from curate.grammar import ALLOWED, Compiler, Data, Lookup, Signs, column_name, short
from curate.protocols import Array

_MAX_LENGTH: Final = 10_000
_MAX_DEPTH: Final = 50


class Expression:
    """A checked expression over columns.

    `kind` demands a number (`--by`) or a condition (`--where`); None takes what comes. A mistake is a UsageError here, not
    in `evaluate`. `names` are the columns it reads; `ranked` those inside rank(), whose hard end must be known; `plain_name` is
    the column where the expression is nothing but a column, else None.

    Numbers are float64. A column compared with a literal keeps its own type: whole numbers are exact, and `x == 0.6` finds
    the 0.6 stored as float32. Division by zero gives infinity, the logarithm of a negative number NaN. A comparison with a
    missing value (NaN, None) is false, with `!=` and `not in` too, so `not (x > 3)` is true where x is missing.

    rank(x) is 0 … 1 with 1 at the hard end; equal values share their mean rank, and a single row has 0.5. zscore uses the
    population's deviation and is 0 where all are equal. rank, zscore and quantile leave missing values out. A sort for each
    rank or quantile, O(n) for all else, and a float64 a row for each step.
    """

    def __init__(self, text: str, *, kind: Literal["number", "condition"] | None = None) -> None:
        self.text = text
        self.kind = kind
        clean, body = _parse(text)
        compiler = Compiler(clean)
        compile_body = {"number": compiler.number, "condition": compiler.condition, None: compiler.anything}[kind]
        self._run = compile_body(body)
        if not compiler.names:
            raise UsageError(f'"{short(text)}" reads no column, so it is the same for every row. Name at least one.')
        self.names = frozenset(compiler.names)
        self.ranked = frozenset(compiler.ranked)
        self.plain_name = column_name(body)

    def evaluate(self, lookup: Lookup, hard_sign: Signs) -> NDArray[Any]:
        """One value a row, (n,): bool for a condition, float64 for a number.

        `lookup` gives a column, (n,), by its name and raises ColumnError where there is none; each is asked for once.
        `hard_sign` gives the sign of each column in `ranked`.
        """
        read: dict[str, Array] = {}

        def once(name: str) -> Array:
            if name not in read:
                read[name] = lookup(name)
            if read[name].ndim != 1:
                raise ColumnError(
                    f'"{name}" holds {read[name].shape[1]} numbers a row, where an expression takes one. Name another column.'
                )
            return read[name]

        with np.errstate(all="ignore"):
            values = np.asarray(self._run(Data(once, hard_sign)))
        if values.dtype != bool:
            values = columns.as_number(values, self.text)
        n = len(next(iter(read.values())))
        return values if values.shape == (n,) else np.full(n, values)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def _parse(text: str) -> tuple[str, ast.expr]:
    """The text as it was parsed, and its syntax; UsageError where it is no expression, or too long or deep to be one."""
    clean = " ".join(text.splitlines()).strip()
    if len(clean) > _MAX_LENGTH:
        raise UsageError(f'"{short(clean)}" has {len(clean)} characters; an expression may have {_MAX_LENGTH}. Say it in fewer.')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's advice about escapes in text is not for our users
            body = ast.parse(clean, mode="eval").body
    except SyntaxError as error:
        raise UsageError(f'Cannot read "{short(clean)}": {error.msg} at character {error.offset or 1}. {ALLOWED}') from None
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes; nesting beyond what Python's own parser bears
        raise UsageError(f'Cannot read "{short(clean)}": {error or "nested too deeply"}. {ALLOWED}') from None
    if b"#" in clean.encode()[body.end_col_offset :]:  # with its lines joined, a comment would hide what follows it
        raise UsageError(f'Cannot read "{short(clean)}": an expression holds no comment. Leave out what follows the #.')
    level: list[ast.AST] = [body]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise UsageError(f'"{short(clean)}" is nested more than {_MAX_DEPTH} deep. Say it in fewer steps.')
    return clean, body
