"""The arms of a comparison: which rows each one trains on, and which rows none may, because the test set holds them."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from curate.comparison import BASELINES, EVERYTHING
from curate.data import Dataset
from curate.errors import ColumnError, InputError, UsageError
from curate.loading import load
from curate.plugins import methods, parse
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.selection import Selection

HELD_OUT_SHARE: Final = 0.2
SAME_SIZE: Final = 1.01  # selections within one per cent share a baseline, as large as the largest of them

Kind = Literal["everything", "selection", "random", "class_random", "online"]
Rows = NDArray[np.int64]
Weights = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Held:
    """The rows that test: a dataset with the classes of the training set, where it came from, and which training rows it took."""

    data: Dataset
    origin: str
    taken: Rows = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, eq=False)
class Arm:
    """One way to choose rows. `rows` and `weights` are None for the baselines, which draw `size` rows anew for every seed."""

    name: str
    kind: Kind
    size: int
    policy: str
    rows: Rows | None = None
    weights: Weights | None = None
    baselines: tuple[str, ...] = ()
    sampler: str | None = None  # an online one: it has all available rows, and chooses in every epoch

    def draw(self, seed: int, available: Rows, labels: Rows | None) -> tuple[Rows, Weights]:
        """The arm's rows for one seed, ascending, and their weights."""
        if self.sampler is not None:
            return available, np.ones(len(available))
        if self.rows is not None and self.weights is not None:
            return self.rows, self.weights
        rows = _drawn(self.kind, available, labels, self.size, KeyedRandom(seed, "compare", self.kind))
        return rows, np.ones(len(rows))

    def about(self) -> dict[str, Any]:
        """What the manifest says of it, with a digest of its rows and weights."""
        digest = xxhash.xxh3_64()
        for part in (self.rows, self.weights):
            digest.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
        baselines = list(self.baselines)
        about = {"name": self.name, "kind": self.kind, "rows": self.size, "policy": self.policy, "baselines": baselines}
        return about | {"digest": digest.hexdigest()}


def held_rows(data: Dataset, test: Any, seed: int, met: str = "which the scores may have seen") -> Held:
    """The test set: the one named, else the source's own split, else a fifth of the rows, drawn within each class from the seed.

    `met` says, where a reader will ask, who saw that fifth.
    """
    if test is not None:
        named = load(test, input=list(data.inputs), label=data.label)
        return Held(with_classes(named.test or named, data), "named by --test")
    if data.test is not None:
        return Held(data.test, "the source's own test split")
    labels = data.labels if data.label is not None else None
    rows = np.arange(len(data)) if labels is None else np.flatnonzero(labels >= 0)
    kind = "random" if labels is None else "class_random"
    taken = _drawn(kind, rows, labels, round(HELD_OUT_SHARE * len(rows)), KeyedRandom(seed, "held out"))
    if not len(taken):
        raise InputError(f'"{data.source}" has {len(data)} rows, too few to hold a fifth out for testing. Name a test set with --test.')
    return Held(data.select(taken), f"a fifth of the rows, {met}", taken)


def excluded_rows(data: Dataset, held: Held | None, failed: Mapping[int, str]) -> dict[int, str]:
    """Rows that no arm may train on, and why: unreadable, held out for testing, or with the same input as a test row ("in_test")."""
    if held is None:
        return dict(failed)
    same = np.flatnonzero(np.isin(data.input_hashes, held.data.input_hashes))
    return {**dict.fromkeys(same.tolist(), "in_test"), **dict.fromkeys(held.taken.tolist(), "held_out"), **failed}


def open_selections(selections: Any, data: Dataset) -> dict[str, Selection | str]:
    """Selections, and the specs of online samplers, by the name that their arm bears; OtherDatasetError unless all are of `data`."""
    given = selections if isinstance(selections, Mapping) else _named(selections)
    if not given:
        raise UsageError("No selection is given. Name one or more folders that `curate select` wrote, or samplers such as rs2:share=0.3.")
    online = {name: str(one) for name, one in given.items() if is_online(one)}
    for spec in online.values():
        _require_plain_online(spec)
    given = {name: one for name, one in given.items() if name not in online}
    opened = {name: one if isinstance(one, Selection) else Selection.open(one) for name, one in given.items()}
    for name, selection in opened.items():
        if name == EVERYTHING or name.startswith(tuple(f"{kind}-" for kind in BASELINES)):
            raise UsageError(f'A selection cannot be called "{name}", which the table uses itself. Rename its folder.')
        selection.require_dataset(data)
    return {**opened, **online}


def is_online(one: object) -> bool:
    """Whether what was named is an online sampler, rather than a folder of that name."""
    return isinstance(one, str) and one.partition(":")[0] in methods("online_samplers") and not Path(one).exists()


def _require_plain_online(spec: str) -> None:
    """UsageError for a sampler that a comparison cannot build, because it needs scores of its own."""
    plugin = parse("online_samplers", spec)
    if "n" not in inspect.signature(plugin.cls).parameters:
        raise UsageError(
            f'"{plugin.name}" takes scores, which compare has none of. Use it in a loop of your own; docs/training.md shows one.'
        )
    for name in ("seed", "rank", "world"):
        if name in plugin.options:
            raise UsageError(f'compare sets {name} of "{plugin.name}" itself. Leave it out.')


def make_arms(selections: Mapping[str, Selection | str], available: Rows, *, labelled: bool) -> list[Arm]:
    """Everything, the selections without the rows that are not available, and baselines for each of their sizes."""
    chosen = [_of_selection(name, one, available) for name, one in selections.items() if isinstance(one, Selection)]
    online = [
        Arm(name, "online", len(available), f"{one}, anew in every epoch", sampler=one)
        for name, one in selections.items()
        if isinstance(one, str)
    ]
    size_of: dict[int, int] = {}
    for size in sorted({arm.size for arm in chosen}, reverse=True):
        size_of[size] = next((large for large in size_of.values() if large <= SAME_SIZE * size), size)
    kinds: Sequence[Kind] = ("random", "class_random") if labelled else ("random",)
    drawn = [
        Arm(f"{kind}-{size}", kind, size, "drawn within each class" if kind == "class_random" else "drawn uniformly")
        for size in sorted(set(size_of.values()))
        for kind in kinds
    ]
    everything = Arm(EVERYTHING, "everything", len(available), "every row", available, np.ones(len(available)))
    paired = [replace(arm, baselines=tuple(f"{kind}-{size_of[arm.size]}" for kind in kinds)) for arm in chosen]
    return [everything, *drawn, *paired, *online]


def _of_selection(name: str, selection: Selection, available: Rows) -> Arm:
    usable = np.isin(selection.rows, available)
    rows, weights = selection.rows[usable], selection.weight[usable].astype(np.float64)
    if len(rows) < 2:
        raise InputError(
            f'Of the {len(selection):,} rows of selection "{name}" {len(rows)} can be trained on, the others being unreadable or in the '
            "test set; two or more are needed. Keep more rows, or name another test set with --test."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise InputError(f'Selection "{name}" has weights that are negative, not finite or all 0, and they cannot be used in a loss.')
    job = selection.job
    keeps = [f"({job['keep']})"] if job.get("by") and job.get("keep") not in (None, "high") else []
    policy = " ".join([job.get("sampler") or "filter", *([f"by {job['by']}"] if job.get("by") else []), *keeps])
    return Arm(name, "selection", len(rows), policy, rows, weights)


def _named(selections: Any) -> dict[str, Selection | str | Path]:
    """By folder name; with the parent's before it where two folders are called the same, and by number where there is no folder."""
    given = [selections] if isinstance(selections, str | Path | Selection) else list(selections)
    paths = [one.path if isinstance(one, Selection) else None if is_online(one) else Path(one) for one in given]
    short = [
        str(one) if is_online(one) else f"selection {i}" if path is None else path.resolve().name
        for i, (one, path) in enumerate(zip(given, paths, strict=True), 1)
    ]
    names = [
        name if short.count(name) == 1 or path is None else f"{path.resolve().parent.name}/{name}"
        for name, path in zip(short, paths, strict=True)
    ]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f'Two selections are called "{name}". Give each folder once, and folders different names.')
    return dict(zip(names, given, strict=True))


def _drawn(sampler: str, rows: Rows, labels: Rows | None, k: int, rng: KeyedRandom) -> Rows:
    """`k` of the rows by one of our own samplers, ascending."""
    columns = {} if labels is None else {"label": labels[rows]}
    picked, _ = parse("samplers", sampler).build().select(ArrayPool(columns, rows=rows), k, rng)
    found: Rows = np.sort(rows[picked])
    return found


def with_classes(test: Dataset, data: Dataset, what: str = "test set") -> Dataset:
    """A test set, or a target, with the class codes of the training set; ColumnError where it is other data or has other classes."""
    if test.modality != data.modality:
        raise ColumnError(
            f'The {what} "{test.source}" is {test.modality} data, but "{data.source}" is {data.modality}. Pass the same kind.'
        )
    if data.modality in ("table", "embedding") and test.width != data.width:
        raise ColumnError(
            f'The {what} "{test.source}" has inputs of width {test.width}, but "{data.source}" of {data.width}. Use the same columns.'
        )
    test = replace(test, classes_of=data.classes_of or data, chat_template=data.chat_template)
    if data.label is not None:
        ours, theirs = (getattr(one.features[data.label], "names", None) for one in (data, test))
        if ours and theirs and list(ours) != list(theirs):
            raise ColumnError(
                f'The classes of "{test.source}" ({", ".join(theirs[:5])}, …) are not those of "{data.source}" ({", ".join(ours[:5])}, …) '
                f'in the same order. Cast its column "{data.label}" to the same ClassLabel.'
            )
        assert len(test.labels) == len(test), "reading the labels finds classes that the training set lacks"
    return test
