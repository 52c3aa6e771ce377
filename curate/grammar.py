"""What the expression language allows, and how its syntax becomes functions of columns.

Text is parsed, never executed: what is not listed here is refused, so an expression can neither call nor import anything, nor
run for long.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, Literal, NoReturn

import numpy as np

from curate import column_logic as columns
from curate.errors import UsageError, did_you_mean
from curate.protocols import Array, Sign
from curate.topk import average_ranks

Lookup = Callable[[str], Array]
Signs = Callable[[str], Sign]
Kind = Literal["number", "condition", "text", "column"]
Takes = Literal["number", "text column", "anything", '"text"', "share"]

_MAX_WHOLE: Final = 2**63  # beyond it a whole number is taken as a float, as no column can hold it
_SHOWN: Final = 200  # characters of an expression that a message repeats


@dataclass(frozen=True)
class Data:
    """Where a run gets its columns, and which end of each is hard."""

    lookup: Lookup
    hard_sign: Signs


Run = Callable[[Data], Any]


@dataclass(frozen=True)
class _Function:
    """What a function gives and takes, and the array function that computes it."""

    gives: Kind
    takes: tuple[Takes, ...]
    compute: Callable[..., Any]


_FUNCTIONS: Final[Mapping[str, _Function]] = {
    "abs": _Function("number", ("number",), np.abs),
    "log": _Function("number", ("number",), np.log),
    "exp": _Function("number", ("number",), np.exp),
    "sqrt": _Function("number", ("number",), np.sqrt),
    "min": _Function("number", ("number", "number"), np.minimum),
    "max": _Function("number", ("number", "number"), np.maximum),
    "clip": _Function("number", ("number", "number", "number"), np.clip),
    "zscore": _Function("number", ("number",), columns.zscore),
    "quantile": _Function("number", ("number", "share"), columns.quantile),
    "length": _Function("number", ("text column",), columns.length),
    "isnan": _Function("condition", ("number",), np.isnan),
    "is_null": _Function("condition", ("anything",), columns.missing),
    "contains": _Function("condition", ("text column", '"text"'), columns.contains),
    "startswith": _Function("condition", ("text column", '"text"'), columns.startswith),
}
_BY_NAME: Final[Mapping[str, str]] = {"col": '"name"', "rank": "column"}  # these take a column's name, not its values
_CALLABLE: Final = tuple(sorted([*_FUNCTIONS, *_BY_NAME]))
_ARITHMETIC: Final[Mapping[type, Callable[..., Any]]] = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide}
_LOGIC: Final[Mapping[type, Callable[..., Any]]] = {
    ast.And: np.logical_and,
    ast.Or: np.logical_or,
    ast.BitAnd: np.logical_and,
    ast.BitOr: np.logical_or,
}
_SIGNS: Final[Mapping[type, Callable[..., Any]]] = {ast.USub: np.negative, ast.UAdd: np.positive}
_COMPARISONS: Final[Mapping[type, Callable[..., Any]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
ALLOWED: Final = (
    'Allowed: numbers, "text", columns (`datamap.confidence`, `col("any name")`), + - * /, comparisons, and or not, & | ~, '
    f"in [...], and the functions {', '.join(_CALLABLE)}."
)


@dataclass(frozen=True)
class _Part:
    """A checked piece of an expression: what it gives (a column may hold anything) and how it is computed."""

    kind: Kind
    run: Run


class Compiler:
    """Turns syntax into functions of the data, refuses whatever is not listed, and collects the columns on its way."""

    def __init__(self, text: str) -> None:
        self.names: set[str] = set()
        self.ranked: set[str] = set()
        self._text = text
        self._encoded = text.encode()  # syntax offsets count bytes

    def part(self, node: ast.AST) -> _Part:
        match node:
            case ast.Constant(value=str() as text):
                return _Part("text", lambda _: text)
            case ast.Constant() | ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
                number = self._number_literal(node)
                return _Part("number", lambda _: number)
            case ast.Name() | ast.Attribute():
                return self._column(node)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                return _Part("number", _applied(_SIGNS[type(node.op)], [self.number(operand)]))
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                return _Part("condition", _applied(np.logical_not, [self.condition(operand)]))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _Part("number", _applied(_ARITHMETIC[type(op)], [self.number(left), self.number(right)]))
            case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr() as op, right=right):
                return self._all_or_any(op, [left, right])
            case ast.BoolOp(op=op, values=values):
                return self._all_or_any(op, values)
            case ast.Compare():
                return self._comparisons(node)
            case ast.Call():
                return self._call(node)
        self._refuse(node)

    def number(self, node: ast.AST) -> Run:
        return self._checked(node, "number", columns.as_number)

    def condition(self, node: ast.AST) -> Run:
        return self._checked(node, "condition", columns.as_condition)

    def anything(self, node: ast.AST) -> Run:
        return self.part(node).run

    def _checked(self, node: ast.AST, kind: Kind, convert: Callable[[Any, str], Array]) -> Run:
        """The node where only one kind will do; what a column holds shows when it is read, and `convert` looks."""
        part, source = self.part(node), self._source(node)
        if part.kind not in (kind, "column"):
            hint = " Beside & and | each comparison needs brackets." if "condition" in (part.kind, kind) else ""
            raise UsageError(f'`{source}` in "{short(self._text)}" is a {part.kind}, but a {kind} is needed there.{hint}')
        return lambda data: convert(part.run(data), source)

    def _column(self, node: ast.AST) -> _Part:
        name = column_name(node)
        if name is None:
            self._refuse(node)
        if not isinstance(node, ast.Call) and any(piece.startswith("__") for piece in name.split(".")):
            self._refuse(node, "No column is called like that.")
        self.names.add(name)
        return _Part("column", lambda data: data.lookup(name))

    def _all_or_any(self, op: ast.AST, nodes: Sequence[ast.AST]) -> _Part:
        runs = [self.condition(node) for node in nodes]
        return _Part("condition", _applied(lambda *masks: reduce(_LOGIC[type(op)], masks), runs))

    def _comparisons(self, node: ast.Compare) -> _Part:
        """A chain `a < b < c`: every neighbouring pair must hold."""
        pairs = zip([node.left, *node.comparators], node.ops, node.comparators, strict=False)
        runs = [self._comparison(node, left, op, right) for left, op, right in pairs]
        return _Part("condition", _applied(lambda *masks: reduce(np.logical_and, masks), runs))

    def _comparison(self, whole: ast.Compare, left: ast.AST, op: ast.cmpop, right: ast.AST) -> Run:
        source = self._source(whole)
        if isinstance(op, ast.In | ast.NotIn):
            literals = self._literals(right)
            listed, is_not = self._side(left), isinstance(op, ast.NotIn)
            return lambda data: columns.is_in(listed(data), literals, source, is_not=is_not)
        if type(op) not in _COMPARISONS:
            self._refuse(whole, "To find missing values write is_null(x).")
        compare = _COMPARISONS[type(op)]
        return _applied(lambda a, b: columns.compare(compare, a, b, source), [self._side(left), self._side(right)])

    def _side(self, node: ast.AST) -> Run:
        part = self.part(node)
        if part.kind == "condition":
            self._refuse(node, "A comparison is not compared again. Beside & and | each comparison needs brackets.")
        return part.run

    def _call(self, node: ast.Call) -> _Part:
        if not isinstance(node.func, ast.Name):
            self._refuse(node, "Only the functions listed can be called.")
        name = node.func.id
        if name not in _CALLABLE:
            self._refuse(node, f'There is no function "{name}".{did_you_mean(name, _CALLABLE)}')
        takes = (_BY_NAME[name],) if name in _BY_NAME else _FUNCTIONS[name].takes
        if node.keywords or len(node.args) != len(takes):
            self._refuse(node, f"It is written {name}({', '.join(takes)}).")
        if name in _BY_NAME:
            return self._column(node) if name == "col" else self._rank(node.args[0])
        function = _FUNCTIONS[name]
        runs = [self._argument(argument, wanted) for argument, wanted in zip(node.args, function.takes, strict=True)]
        return _Part(function.gives, _applied(function.compute, runs))

    def _argument(self, node: ast.AST, takes: Takes) -> Run:
        match takes:
            case "number":
                return self.number(node)
            case "text column":
                return self._checked(node, "column", columns.as_text)
            case '"text"' if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                return lambda _: text
            case "share" if isinstance(node, ast.Constant) and 0 <= (share := self._number_literal(node)) <= 1:
                return lambda _: share
            case "anything":
                return self.anything(node)
        self._refuse(node, {"share": "A number between 0 and 1 belongs there."}.get(takes, "Text in quotes belongs there."))

    def _rank(self, node: ast.AST) -> _Part:
        name = column_name(node)
        if name is None:
            self._refuse(node, "rank() takes one column, whose hard end is known; combine ranks, do not rank combinations.")
        run = self._column(node).run
        self.ranked.add(name)

        def ranks(data: Data) -> Array:
            found = run(data)  # first, for a name that is nowhere has no hard end either
            sign = data.hard_sign(name)
            if sign == 0:
                raise UsageError(
                    f'rank({name}) has no hard end to put at 1: "{name}" says nothing about hardness. '
                    f"Use zscore({name}) or -zscore({name}), whose direction you choose."
                )
            values = average_ranks(columns.as_real(found, name))
            return values if sign == 1 else 1 - values

        return _Part("number", ranks)

    def _number_literal(self, node: ast.AST) -> int | float:
        """The value of a written number, with its minus sign; true and false are 1 and 0."""
        inner = node.operand if isinstance(node, ast.UnaryOp) else node
        value = inner.value if isinstance(inner, ast.Constant) else None
        if not isinstance(value, int | float):
            self._refuse(node, "To find missing values write is_null(x)." if value is None else "")
        try:
            number = float(value) if abs(value) >= _MAX_WHOLE else value
        except OverflowError:
            number = math.inf
        if math.isinf(number):
            self._refuse(node, "The number is too large.")
        return -number if isinstance(node, ast.UnaryOp) else number

    def _literals(self, node: ast.AST) -> list[Any]:
        if not isinstance(node, ast.List | ast.Tuple | ast.Set):
            self._refuse(node, 'After `in` comes a list of literals, ["a", "b"]; for a part of a text write contains(x, "a").')
        values = [
            item.value if isinstance(item, ast.Constant) and isinstance(item.value, str) else self._number_literal(item)
            for item in node.elts
        ]
        if len({isinstance(value, str) for value in values}) > 1:
            self._refuse(node, "A list holds text or numbers, not both.")
        return values

    def _refuse(self, node: ast.AST, why: str = "") -> NoReturn:
        raise UsageError(f'Cannot use `{self._source(node)}` in "{short(self._text)}". {why and why + " "}{ALLOWED}')

    def _source(self, node: ast.AST) -> str:
        """The text that a node was parsed from."""
        start, end = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", None)
        return short(self._encoded[start:end].decode())


def _applied(function: Callable[..., Any], runs: Sequence[Run]) -> Run:
    return lambda data: function(*(run(data) for run in runs))


def column_name(node: ast.AST) -> str | None:
    """The column that a node names, `x`, `x.y` or `col("x")`; None where it is something else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name() | ast.Attribute() as value, attr=name):
            stem = column_name(value)
            return None if stem is None else f"{stem}.{name}"
        case ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str() as name)], keywords=[]):
            return name
    return None


def short(text: str) -> str:
    """The text as a message repeats it."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
