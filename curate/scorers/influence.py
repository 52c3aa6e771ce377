"""Influence of rows on target rows: what is kept of a row x target block, and the targets that a scorer meets."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError
from curate.protocols import Array, Columns, Shard, State

CELLS: Final = 1 << 22  # numbers of a block held at once

Block = Callable[[slice], NDArray[np.float32]]


def summary(n: int, targets: NDArray[np.int64], block: Block, *, pairs: bool) -> Columns:
    """Columns of `n` rows from `block(rows)`, (rows, targets), a piece at a time.

    `score` is the mean over the targets; `most` and `least` are the largest and the smallest influence, `most_on` and `least_on` the target
    rows that they are on; `influence`, (n, targets), is kept only where `pairs` are asked for. NaN, and -1, where anything is not finite.
    """
    columns: dict[str, Array] = {name: np.full(n, np.nan, np.float32) for name in ("score", "most", "least")}
    columns |= {name: np.full(n, -1, np.int64) for name in ("most_on", "least_on")}
    if pairs:
        columns["influence"] = np.full((n, len(targets)), np.nan, np.float32)
    step = max(1, CELLS // max(1, len(targets)))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        found = block(rows)
        known = np.isfinite(found).all(axis=1)
        at, found = np.arange(rows.start, rows.stop)[known], found[known]
        columns["score"][at] = found.mean(axis=1, dtype=np.float64)
        for name, place in (("most", found.argmax(axis=1)), ("least", found.argmin(axis=1))):
            columns[name][at] = found[np.arange(len(found)), place]
            columns[f"{name}_on"][at] = targets[place]
        if pairs:
            columns["influence"][at] = found
    return columns


def known_targets(shard: Shard, names: Sequence[str]) -> State:
    """The target's columns of those names, (targets, width), and `row`; rows that the model could not see are left out."""
    columns = {name: as_matrix(shard[f"target.swept.{name}"]) for name in names}
    known = np.all([np.isfinite(values).all(axis=1) for values in columns.values()], axis=0)
    return {"row": shard.rows[known]} | {name: values[known] for name, values in columns.items()}


def join_targets(states: Sequence[State]) -> State:
    """InputError where no target row is left."""
    if not sum(len(state["row"]) for state in states):
        raise InputError("Of no target row did the model give a finite gradient. Name another set with --target, or a lower --lr.")
    return {key: np.concatenate([state[key] for state in states]) for key in states[0]}


def as_matrix(values: Array) -> NDArray[np.float32]:
    """(n, width), where a width of 1 came as (n,)."""
    return np.asarray(values, np.float32).reshape(len(values), -1)
