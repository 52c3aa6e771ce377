"""Row x target influence, whoever reckoned it: the one seam through which attributions come in, and how well they foresee retraining.

A table has a row a training row and a number a target row. It is the `influence` of a score store (`trak:pairs=true`), or a file of
another tool: `.npy` (rows, targets), or parquet, Arrow or csv with either a list column `influence` or the columns row, target and score.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.errors import ColumnError, InputError, OptionError, UnknownNameError
from curate.scores import Scores
from curate.store import as_numpy

INFLUENCE: Final = "influence"
BLOCK: Final = 1 << 22  # numbers read at once
DRAWS: Final = 200  # of the bootstrap

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Attribution:
    """A table of influence, (rows, targets) float32, NaN where a row has none; high raises the target's output. Opened, not read."""

    name: str
    values: Floats

    @classmethod
    def open(cls, path: str | Path, name: str | None = None) -> "Attribution":
        """The `influence` of the score `name` in a store, or a file; InputError or ColumnError where there is none."""
        place = Path(path)
        if place.is_dir():
            return cls(*_of_store(Scores.open(place), name))
        if not place.is_file():
            raise InputError(f'There is no "{place}". A score store with influence (trak:pairs=true) or a file of it is expected.')
        return cls(name or place.stem, _of_file(place))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and targets."""
        return self.values.shape[0], self.values.shape[1]

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """The first row and the influence of a few rows at a time."""
        step = max(1, BLOCK // max(1, self.shape[1]))
        for first in range(0, self.shape[0], step):
            yield first, np.asarray(self.values[first : first + step], np.float32)

    def top(self, k: int, *, opponents: bool = False) -> tuple[NDArray[np.int64], Floats]:
        """Each target's `k` rows of the highest influence, or of the lowest, in order: rows and influence, both (targets, k).

        Memory: a block, and 2 k numbers a target. Of equals the lower row comes first; -1 and NaN where there are fewer rows.
        """
        if k < 1:
            raise OptionError(f"k must be 1 or more, got {k}.")
        sign = -1 if opponents else 1
        rows = np.full((self.shape[1], 0), -1, np.int64)
        best = np.full((self.shape[1], 0), -np.inf, np.float32)
        for first, block in self.blocks():
            here = np.where(np.isnan(block), -np.inf, sign * block).T  # (targets, rows)
            both = np.concatenate([best, here], axis=1)
            numbers = np.concatenate([rows, np.broadcast_to(np.arange(first, first + len(block)), here.shape)], axis=1)
            order = np.argsort(-both, axis=1, kind="stable")[:, :k]
            rows, best = np.take_along_axis(numbers, order, axis=1), np.take_along_axis(both, order, axis=1)
        none = np.isinf(best)
        return np.where(none, -1, rows), np.where(none, np.nan, sign * best).astype(np.float32)

    def predicted(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The sum of the influences of each subset's rows, (subsets, targets), for masks (subsets, rows)."""
        total = np.zeros((len(masks), self.shape[1]))
        for first, block in self.blocks():
            total += masks[:, first : first + len(block)].astype(np.float64) @ np.nan_to_num(block).astype(np.float64)
        return total


@dataclass(frozen=True)
class Foresight:
    """How well an attribution foresees retraining: its linear datamodelling score, with a 95 % interval."""

    lds: float
    low: float
    high: float


def lds(predicted: NDArray[np.float64], outputs: NDArray[np.float64], seed: int = 0) -> Foresight:
    """The linear datamodelling score: for each target the Spearman correlation, over subsets, of predicted and true outputs; their mean.

    Both are (subsets, targets); what is predicted must rise with the output (influence on log-odds with log-odds). The interval comes from
    the spread of 200 redraws of subsets and of targets. A target whose output or prediction is the same for all subsets counts as 0.

    >>> tau, masks = np.array([1, 2, -1, 0.5]), np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1]])
    >>> lds((masks @ tau)[:, None], np.array([[0.9], [0.2], [0.8], [0.1], [0.4]])).lds
    1.0
    """
    if predicted.shape != outputs.shape or len(outputs) < 3:
        raise InputError(f"Predictions {predicted.shape} and outputs {outputs.shape} must be of the same 3 or more subsets and targets.")
    mean = float(spearman(predicted, outputs).mean())
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(DRAWS):
        some, targets = rng.integers(0, len(outputs), len(outputs)), rng.integers(0, outputs.shape[1], outputs.shape[1])
        drawn.append(float(spearman(predicted[some][:, targets], outputs[some][:, targets]).mean()))
    # Repeated subsets tie, which lowers every redrawn correlation: their spread is meant, not where they lie.
    reach = 1.96 * float(np.std(drawn))
    return Foresight(round(mean, 6), round(max(-1.0, mean - reach), 6), round(min(1.0, mean + reach), 6))


def noise_ceiling(outputs: NDArray[np.float64]) -> float | None:
    """What the LDS of a perfect predictor would be, from `outputs` (repeats, subsets, targets); None for one repeat.

    The repeats, trainings of the same subsets with other seeds, are split in halves; the halves' correlation ρ, mean over targets, becomes
    that of all repeats by Spearman and Brown's 2ρ / (1 + ρ), and its root is what a prediction without noise could reach.
    """
    if len(outputs) < 2:
        return None
    half = len(outputs) // 2
    rho = float(spearman(outputs[:half].mean(axis=0), outputs[half : 2 * half].mean(axis=0)).mean())
    whole = 2 * rho / (1 + rho) if rho > 0 else 0.0
    return round(float(np.sqrt(whole)), 6)


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank correlation of each column, (columns,); 0 where one of the two never changes."""
    from scipy.stats import rankdata

    ranks = [rankdata(values, axis=0) for values in (a, b)]
    x, y = (rank - rank.mean(axis=0) for rank in ranks)
    lengths = np.sqrt(np.square(x).sum(axis=0) * np.square(y).sum(axis=0))
    found: NDArray[np.float64] = np.where(lengths > 0, (x * y).sum(axis=0) / np.where(lengths > 0, lengths, 1), 0)
    return found


def _of_store(scores: Scores, name: str | None) -> tuple[str, Floats]:
    having = with_influence(scores)
    if name is None and len(having) == 1:
        name = having[0]
    if name is None or name not in having:
        named = "" if name is None else f' of "{name}"'
        known = f"It has that of {', '.join(having)}: name one." if having else "Score with pairs kept: --scorer trak:pairs=true."
        raise UnknownNameError(f'Store "{scores.path}" keeps no influence{named}. {known}')
    return name, scores[f"{name}.{INFLUENCE}"]


def with_influence(scores: Scores) -> list[str]:
    """The scores that keep their influence on every target row."""
    return [name for name in scores.names if scores.store.files(name) and INFLUENCE in scores.columns(name)]


def _of_file(path: Path) -> Floats:
    if path.suffix == ".npy":
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise InputError(f'"{path}" cannot be read as an array of numbers ({error}). Save it with numpy.save.') from None
        if values.ndim != 2 or values.dtype.kind != "f":
            raise InputError(f'"{path}" is {values.dtype} of shape {values.shape}; floats of shape (rows, targets) are expected.')
        found: Floats = values
        return found
    table = _table(path)
    if INFLUENCE in table.column_names:
        return _of_lists(table.column(INFLUENCE).combine_chunks(), path)
    if not {"row", "target", "score"} <= set(table.column_names):
        raise ColumnError(
            f'"{path}" has the columns {", ".join(table.column_names)}; a list column "{INFLUENCE}", or the columns row, target and '
            "score, are expected. Rename yours."
        )
    row, target, score = (np.asarray(table.column(name).to_numpy()) for name in ("row", "target", "score"))
    if row.dtype.kind not in "iu" or target.dtype.kind not in "iu" or min(row.min(initial=0), target.min(initial=0)) < 0:
        raise ColumnError(f'"{path}": row and target must be whole numbers from 0 on, the positions in the two sets. Number them.')
    values = np.full((int(row.max()) + 1, int(target.max()) + 1), np.nan, np.float32)
    values[row, target] = score
    return values


def _table(path: Path) -> pa.Table:
    import pyarrow.csv
    import pyarrow.feather
    import pyarrow.parquet

    readers = {
        ".parquet": pyarrow.parquet.read_table, ".csv": pyarrow.csv.read_csv, ".arrow": pyarrow.feather.read_table,
        ".feather": pyarrow.feather.read_table,
    }  # fmt: skip
    if path.suffix not in readers:
        raise InputError(f'"{path}" is no kind of table that is known: {", ".join([".npy", *readers])}. Convert it to one.')
    try:
        found = readers[path.suffix](str(path))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f'"{path}" cannot be read ({str(error).splitlines()[0]}). A table of influence is expected.') from None
    if not found.num_rows:
        raise InputError(f'"{path}" has no rows. A row a training row is expected.')
    return found


def _of_lists(column: pa.Array, path: Path) -> Floats:
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        widths = set(column.value_lengths().to_pylist())
        if len(widths) != 1 or None in widths:
            raise ColumnError(f'The lists in "{INFLUENCE}" of "{path}" have different lengths. A number for every target is expected.')
        column = pa.FixedSizeListArray.from_arrays(column.flatten(), widths.pop())
    if not pa.types.is_fixed_size_list(column.type):
        raise ColumnError(f'"{INFLUENCE}" of "{path}" is {column.type}; lists of numbers are expected.')
    return np.asarray(as_numpy(column), np.float32)


def require_shape(one: Attribution, rows: int, targets: int) -> None:
    """InputError where a table is not of these rows and targets."""
    if one.shape != (rows, targets):
        raise InputError(
            f'Attribution "{one.name}" is of {one.shape[0]:,} rows x {one.shape[1]:,} targets, but there are {rows:,} x {targets:,}. '
            "Pass the two sets that it was made with."
        )


def spread(values: Floats, at: NDArray[np.int64], targets: int) -> Floats:
    """The columns of target rows `at` among all `targets`, NaN elsewhere."""
    whole = np.full((len(values), targets), np.nan, np.float32)
    whole[:, at] = values
    return whole


def as_json(found: Mapping[str, Foresight]) -> dict[str, dict[str, float]]:
    return {name: {"lds": one.lds, "low": one.low, "high": one.high} for name, one in found.items()}
