"""A distilled set: synthetic images with their labels, how to train on them, and what networks trained on them are worth."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.comparison import estimate, paired_difference
from curate.compensated import COMPENSATED, Compensated
from curate.distilled_cards import distilled_card
from curate.errors import InputError
from curate.image_tables import ORIGINS, expanded
from curate.kinds import open_kind
from curate.protocols import Distilled, Training
from curate.store import Store

if TYPE_CHECKING:
    import datasets

KIND: Final = "distilled"
DATA: Final = "data"
FILE: Final = "train-00000-of-00001.parquet"
TRANSFORM: Final = "transform.safetensors"
EVALUATION: Final = "evaluation"
HISTORY: Final = "history"
HERE: Final = "."
GRID: Final = "grid.png"
CARD: Final = "README.md"
DISTILLED: Final = "distilled"
RANDOM: Final = "random"
EVERYTHING: Final = "everything"
EQUAL_COUNT: Final = "random, as many images"
SOFT_RANDOM: Final = "random, taught"
DISTILLED_SWITCHED: Final = "distilled, augmentation switched"
RANDOM_SWITCHED: Final = "random, augmentation switched"
NO_RIVALS: Final = (DISTILLED, EVERYTHING, DISTILLED_SWITCHED, RANDOM_SWITCHED)  # what a distilled set is not set against

SCHEMA: Final = pa.schema(
    {
        "set": pa.string(),
        "labels": pa.string(),  # hard, or soft
        "network": pa.string(),
        "seed": pa.int64(),
        "rows": pa.int64(),
        "bytes": pa.int64(),  # images and labels as they are stored: float32 for synthetic pixels, uint8 for real ones
        "lr": pa.float64(),
        "accuracy": pa.float64(),
    }
)


class Synthetic:
    """A folder that `curate distill` wrote, or, from Python without `out`, a temporary one that lives as long as this object."""

    def __init__(self, store: Store, keep: object = None) -> None:
        self.store = store
        self._keep = keep

    @classmethod
    def open(cls, path: str | Path) -> "Synthetic":
        """A finished set; InputError for a store of another kind or one that was not finished."""
        store = open_kind(path, KIND)
        if CARD not in {entry.file for entry in store.files(HERE)}:
            raise InputError(f'The distilled set "{path}" is not finished. Run the command that began it again.')
        return cls(store)

    @property
    def path(self) -> Path:
        return self.store.path

    @property
    def training(self) -> Training:
        """How to train on the set."""
        return Training(**self.store.about(DATA)["training"])

    def dataset(self) -> "datasets.Dataset":
        """Columns `image` (height x width x channels, float32, in the source's units), `label` and, where learned, `soft_label`.

        Where images are cut from others: `source_rows`, the source's row of each tile, line by line, `source_ids`, if the data name an id,
        and `source_boxes`, its top, left, height and width in the images as they were distilled.
        """
        import datasets

        if self.compact is not None:
            return expanded(self.compact).with_format("numpy")
        table = datasets.Dataset.from_parquet(str(self.path / DATA / FILE), cache_dir=str(self.path / ".cache"))
        return table.with_format("numpy")

    @property
    def compact(self) -> Compensated | None:
        """What the set is stored as, where that is less than its images."""
        path = self.path / DATA / COMPENSATED
        return Compensated.load(path) if path.is_file() else None

    def read(self) -> Distilled:
        """The set as its distiller returned it, bit for bit."""
        import pyarrow.parquet as pq

        compact = self.compact
        if compact is not None:
            return Distilled(*compact.expand(), self.training, compact=compact)
        table = pq.read_table(self.path / DATA / FILE)
        about = self.store.about(DATA)
        height, width, channels = about["shape"]
        images = _numbers(table.column("image")).reshape(len(table), height, width, channels)
        soft = _numbers(table.column("soft_label")).reshape(len(table), -1) if "soft_label" in table.column_names else None
        labels = table.column("label").to_numpy().copy()
        tiles = None
        if ORIGINS[0] in table.column_names:
            rows, boxes = (_numbers(table.column(ORIGINS[place])) for place in (0, 2))
            tiles = np.concatenate([rows.reshape(len(table), -1, 1), boxes.reshape(len(table), -1, 4)], 2)
        facts = about.get("facts", {})
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return Distilled(images, labels, self.training, soft, about["rate"], tiles=tiles, facts=facts)

    @property
    def names(self) -> list[str]:
        """Of the classes, by code."""
        return list(self.dataset().features["label"].names)

    def card(self, seeds: Sequence[int], command: str = "", *, expanded: bool = False) -> str:
        """Its README.md: `seeds` are those of the networks' first weights; `expanded` is for a folder that holds the rows themselves."""
        from safetensors.numpy import load_file

        summary = self.summary() | ({"stored": None} if expanded else {})
        transform = {name: values.tolist() for name, values in load_file(self.path / TRANSFORM).items() if values.ndim == 1}
        return distilled_card(summary, self.store.dataset, self.names, transform, seeds, command)

    def _origins(self) -> list[str]:
        """The columns that say what images were cut from."""
        import pyarrow.parquet as pq

        path = self.path / DATA / FILE
        return [name for name in ORIGINS if name in pq.read_schema(path).names] if path.is_file() else []

    def losses(self) -> dict[str, list[float]]:
        """The curves of the distillation by name."""
        if not self.store.files(HISTORY):
            return {}
        table = self.store.read(HISTORY)
        found: dict[str, list[float]] = {}
        for name, value in zip(table.column("curve").to_pylist(), table.column("value").to_pylist(), strict=True):
            found.setdefault(name, []).append(value)
        return found

    def summary(self) -> dict[str, Any]:
        """What was made and what it is worth: a line a set and network, each beside random real rows of the same bytes."""
        about = self.store.about(DATA)
        job, settled = self.store.job, self.store.settled
        lines = self._lines()
        return {
            "method": job["method"],
            "options": dict(sorted(settled["options"].items())),
            "ipc": job["ipc"],
            "images": about["rows"],
            "shape": about["shape"],
            "rate": about["rate"],
            "training": dict(sorted(about["training"].items())),  # as a manifest that was read again has them
            "whitened": about["whitened"],
            "soft": about["soft"],
            "origins": self._origins(),
            "facts": about.get("facts", {}),
            "stored": about.get("stored"),
            "classes": about["classes"],
            "seed": job["seed"],
            "depth": about["depth"],
            "padding": about["padding"],
            "test": job["test"],
            "results": lines,
            "robust": robust_scores(lines, about["training"]["network"]),
            "loss": {name: [values[0], values[-1]] for name, values in self.losses().items() if values},
            "seconds": round(sum(float(line.get("wall", 0)) for line in self.store.history()), 1),
        }

    def _lines(self) -> list[dict[str, Any]]:
        if not self.store.files(EVALUATION):
            return []
        groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for row in self.store.read(EVALUATION).to_pylist():
            groups.setdefault((row["network"], row["set"], row["labels"]), []).append(row)
        found = []
        for (network, name, labels), rows in groups.items():
            each = {row["seed"]: row["accuracy"] for row in rows}
            whole = estimate(list(each.values()))
            line = {"set": name, "labels": labels, "network": network, **{key: rows[0][key] for key in ("rows", "bytes", "lr")}}
            line |= {"accuracy": {"mean": whole.mean, "low": whole.low, "high": whole.high, "each": list(each.values())}}
            if name == DISTILLED:
                line["minus"] = {
                    other[1]: _difference(each, {row["seed"]: row["accuracy"] for row in those})
                    for other, those in groups.items()
                    if other[0] == network and other[1] not in NO_RIVALS and other[2] == "hard"
                }
            found.append(line)
        return found


def robust_scores(lines: Sequence[dict[str, Any]], network: str) -> dict[str, float] | None:
    """DD-Ranking's two numbers (Li et al. 2025), 0 … 1: how good a set is whatever the labels, and whatever the augmentation.

    `label` weighs the gain above random rows of the same recipe against what hard labels lose to all real rows, `augmentation` the gain
    above random with against that without it, half and half each. `level` is what no gain and no loss come to. Ours are of the mean
    accuracies, and the hard labels are trained with at the set's own rate; the official code averages the scores of its runs, and tries
    hard labels at several rates on the test set. None where one was not tested.
    """
    found = {(one["set"], one["labels"]): one["accuracy"]["mean"] for one in lines if one["network"] == network}
    soft = (DISTILLED, "soft") in found
    own = "soft" if soft else "hard"
    beside = (SOFT_RANDOM, "soft") if soft else (EQUAL_COUNT, "hard")
    needed = [(DISTILLED, own), (DISTILLED, "hard"), beside, (EVERYTHING, "hard"), (DISTILLED_SWITCHED, own), (RANDOM_SWITCHED, own)]
    if any(found.get(one) is None for one in needed):
        return None
    made, hard, random, everything, switched, random_switched = (found[one] for one in needed)
    gain, loss = made - random, everything - hard
    return {
        "label": _on_unit((gain - loss) / 2),
        "augmentation": _on_unit((gain + switched - random_switched) / 2),
        "level": _on_unit(0.0),
        "gain": gain,
        "loss": loss,
    }


def _on_unit(a: float) -> float:
    """From -1 … 1 to 0 … 1.

    >>> [round(_on_unit(a), 3) for a in (-1, 0, 1)]
    [0.0, 0.269, 1.0]
    """
    return (math.exp(a) - math.exp(-1)) / (math.e - math.exp(-1))


def stored(made: Distilled) -> dict[str, int]:
    """What a set takes: how many images are kept, the bytes of everything, and how many of these are labels'."""
    if made.compact is not None:
        return {"images": made.compact.stored, "bytes": made.compact.bytes, "label_bytes": 0}
    labels = made.labels.nbytes + (made.soft_labels.nbytes if made.soft_labels is not None else 0)
    return {"images": len(made.images), "bytes": made.images.nbytes + labels, "label_bytes": labels}


def _difference(ours: dict[int, float], theirs: dict[int, float]) -> dict[str, Any]:
    found = paired_difference(ours, theirs)
    beats = None if found.low is None else "better" if found.low > 0 else "worse" if (found.high or 0) < 0 else "no different"
    return {"mean": found.mean, "low": found.low, "high": found.high, "verdict": beats}


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """All numbers of a column of lists, however deep, in order."""
    values = column.combine_chunks()
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
        values = values.flatten()
    found: NDArray[Any] = values.to_numpy().copy()  # Arrow's own memory may not be written to
    return found
