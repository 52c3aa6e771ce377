"""Reads a store of scores: what `curate.score` returns and what every later stage opens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.data import Dataset
from curate.errors import OtherDatasetError, UnknownNameError, did_you_mean
from curate.kinds import open_kind
from curate.protocols import Keep, Sign
from curate.store import Store

ROWS = "rows"


class Scores:
    """Scores by name. `scores["aum"]` is (n,) float32, NaN where a row has none; `scores["datamap.variability"]` a further column."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def open(cls, path: str | Path) -> "Scores":
        """InputError where the folder holds no scores."""
        return cls(open_kind(path, "scores"))

    @property
    def path(self) -> Path:
        return self.store.path

    @property
    def names(self) -> Sequence[str]:
        return [name for name in self.store.tables if name != ROWS]

    def __len__(self) -> int:
        return int(self.store.dataset["rows"])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.partition(".")[0] in self.names

    def __getitem__(self, name: str) -> NDArray[Any]:
        scorer, _, column = name.partition(".")
        self.about(scorer)
        return self.store.column(scorer, column or "score")

    def columns(self, scorer: str) -> list[str]:
        """What a scorer wrote beside `row` and `status`."""
        self.about(scorer)
        return [name for name in self.store.read(scorer).column_names if name not in ("row", "status", "id")]

    def table(self, scorer: str) -> pa.Table:
        """A scorer's shards as one memory-mapped Arrow table."""
        self.about(scorer)
        return self.store.read(scorer)

    def about(self, scorer: str) -> dict[str, Any]:
        """What made a score: parameters, version, direction, signals, seeds."""
        if scorer not in self.names:
            raise UnknownNameError(
                f'Store "{self.path}" has no score "{scorer}".{did_you_mean(scorer, self.names)} '
                f"It holds: {', '.join(self.names) or 'none'}."
            )
        return self.store.about(scorer)

    def hard_sign(self, scorer: str) -> Sign:
        """+1 where a high score is hard, -1 where a low one is, 0 where it says nothing of hardness."""
        return cast("Sign", self.about(scorer)["hard_sign"])

    def keep(self, scorer: str) -> Keep:
        """The end that `select` keeps unless told."""
        return cast("Keep", self.about(scorer)["keep"])

    def failed(self, scorer: str) -> dict[str, int]:
        """How many rows have no score, by reason."""
        return self.store.failed(scorer)

    def require_dataset(self, data: Dataset) -> None:
        """OtherDatasetError, with how many rows differ, unless these scores are of this very dataset."""
        require_same_dataset(self.store, data)


def describe_dataset(data: Dataset) -> dict[str, Any]:
    """What a manifest says of a dataset: content and roles, no path."""
    described: dict[str, Any] = {
        "fingerprint": data.fingerprint,
        "rows": len(data),
        "schema": dict(data.schema),
        "inputs": list(data.inputs),
        "label": data.label,
        "modality": data.modality,
    }
    return described | ({"id": data.id} if data.id else {})


def require_same_dataset(store: Store, data: Dataset) -> None:
    """OtherDatasetError that names both datasets and how many rows differ."""
    theirs = store.dataset
    if theirs["fingerprint"] == data.fingerprint:
        return
    raise OtherDatasetError(
        f'Store "{store.path}" was made from dataset {theirs["fingerprint"][:8]}… ({theirs["rows"]:,} rows), but "{data.source}" is '
        f"{data.fingerprint[:8]}… ({len(data):,} rows){_how_they_differ(store, data)}. "
        "Pass the dataset it came from (the same --split and --limit), or point at another folder."
    )


def _how_they_differ(store: Store, data: Dataset) -> str:
    schema: Mapping[str, str] = store.dataset["schema"]
    if dict(schema) != dict(data.schema):
        odd = sorted(set(schema.items()) ^ set(data.schema.items()))
        return (
            f"; columns or types differ: {', '.join(sorted({name for name, _ in odd}))}" if odd else "; the columns stand in another order"
        )
    if ROWS not in store.tables:
        return ""
    from curate.fingerprint import differing_rows

    count = differing_rows(store.column(ROWS, "hash"), data.row_hashes)
    return f"; {count:,} rows differ" if count else "; the same rows in another order"


def join_seeds(parts: Sequence[Mapping[str, NDArray[Any]]], combine: str, seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Joins the seeds' columns of one shard: the score by mean or sum, with a column a seed beside it.

    Of the other columns floats and small counts are averaged, truths hold where all seeds agree, and of words and 64-bit numbers, which
    may be row numbers, the most frequent is taken.
    """
    if len(parts) == 1:
        return dict(parts[0])
    joined: dict[str, NDArray[Any]] = {}
    for name in parts[0]:
        stack = np.stack([np.asarray(part[name]) for part in parts])
        if name == "score" and combine == "sum":
            joined[name] = stack.sum(axis=0, dtype=np.float64).astype(np.float32)
        elif stack.dtype == bool:
            joined[name] = np.all(stack, axis=0)
        elif stack.dtype.kind in "OUS" or (stack.dtype.kind in "iu" and stack.dtype.itemsize == 8):
            joined[name] = _most_frequent(stack)
        else:
            joined[name] = stack.mean(axis=0, dtype=np.float64).astype(np.float32)
    return joined | {f"score_seed{seed}": np.asarray(part["score"]) for seed, part in zip(seeds, parts, strict=True)}


def _most_frequent(stack: NDArray[Any]) -> NDArray[Any]:
    """The most frequent word of each column of (seeds, n); of equals, the first seed's."""
    votes = (stack[:, None, :] == stack[None, :, :]).sum(axis=1)  # (seeds, n)
    winners: NDArray[Any] = np.take_along_axis(stack, votes.argmax(axis=0)[None], axis=0)[0]
    return winners
