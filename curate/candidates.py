"""The columns that `--by` and `--where` may name: scores of a store or file, and the dataset's own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.data import Dataset, to_text
from curate.errors import ColumnError, InputError, UsageError, did_you_mean
from curate.protocols import Keep, Sign
from curate.scores import Scores

COLUMN_PREFIX = "column:"


class Candidates:
    """Looks columns up by name over all rows of the source: `aum`, `datamap.variability`, a column of a score file, a data column."""

    def __init__(self, data: Dataset, scores: Scores | None, file: "ScoreFile | None") -> None:
        self.data, self.scores, self.file = data, scores, file
        self.cache: dict[str, NDArray[Any]] = {}

    def __call__(self, name: str) -> NDArray[Any]:
        """The column, (n,); numbers with NaN for null, else objects. ColumnError with a did-you-mean for a name that is nowhere."""
        if name not in self.cache:
            self.cache[name] = self._find(name)
        return self.cache[name]

    def hard_sign(self, name: str) -> Sign:
        """Of a score of the store; 0 for any other column, whose hard end nobody has said."""
        scorer, _, column = name.partition(".")
        if self.scores is not None and scorer in self.scores.names and column in ("", "score"):
            return self.scores.hard_sign(scorer)
        return 0

    def keep(self, name: str) -> Keep | None:
        """The end to keep of a score of the store; None for any other column."""
        scorer, _, column = name.partition(".")
        if self.scores is not None and scorer in self.scores.names and column in ("", "score"):
            return self.scores.keep(scorer)
        return None

    def is_score(self, name: str) -> bool:
        """Whether a null in the column is a row that could not be scored, rather than a gap in the user's own data."""
        return self.scores is not None and name in self.scores and not name.startswith(COLUMN_PREFIX)

    def known(self) -> list[str]:
        """Every name that would be found."""
        scores = (
            [] if self.scores is None else [f"{s}.{c}" if c != "score" else s for s in self.scores.names for c in self.scores.columns(s)]
        )
        return [*scores, *([] if self.file is None else self.file.names), *self.data.schema]

    def _find(self, name: str) -> NDArray[Any]:
        if name.startswith(COLUMN_PREFIX):
            return data_column(self.data, name.removeprefix(COLUMN_PREFIX))
        sources: list[Callable[[], NDArray[Any]]] = []
        scorer = name.partition(".")[0]
        scores, file = self.scores, self.file
        if scores is not None and scorer in scores.names:
            sources.append(lambda: scores[name])
        if file is not None and name in file.names:
            sources.append(lambda: file.column(name))
        if name in self.data.schema:
            sources.append(lambda: data_column(self.data, name))
        if len(sources) > 1:
            score = f"Write {name}.score for the former, " if "." not in name else "Write "
            raise UsageError(
                f'"{name}" is both a score and a column of the data. {score}column:{name} (or col("column:{name}")) for the latter.'
            )
        if not sources:
            known = self.known()
            raise ColumnError(f'No score or column "{name}".{did_you_mean(name, known)} There are: {", ".join(known[:20])}.')
        return sources[0]()


class ScoreFile:
    """Scores from elsewhere: a parquet or csv file with one row of numbers a row of the data, joined by `row` or by the id column."""

    def __init__(self, path: str | Path, data: Dataset) -> None:
        self.path = Path(path)
        table = _read_table(self.path)
        key = "row" if "row" in table.column_names else data.id
        if key is None or key not in table.column_names:
            raise ColumnError(
                f'"{path}" has the columns {", ".join(table.column_names)}; one called "row" is expected, or the id column that --id names.'
            )
        self.names = [name for name in table.column_names if name != key]
        self._table = table
        self._rows = self._join(table.column(key), data, key)
        self._n = len(data)

    def column(self, name: str) -> NDArray[np.float64]:
        """(n,) float64, NaN for rows that the file does not hold."""
        try:
            values = self._table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid as error:
            raise ColumnError(f'Column "{name}" of "{self.path}" does not hold numbers ({str(error).splitlines()[0]}).') from None
        placed = np.full(self._n, np.nan)
        placed[self._rows] = values
        return placed

    def _join(self, keys: pa.ChunkedArray, data: Dataset, key: str) -> NDArray[np.int64]:
        if key == "row":
            rows = keys.cast(pa.int64()).to_numpy(zero_copy_only=False)
        else:
            import pyarrow.compute as pc

            own = data.column(key).cast(pa.string()).combine_chunks()
            found = pc.index_in(keys.cast(pa.string()).combine_chunks(), value_set=own)
            rows = found.fill_null(-1).to_numpy(zero_copy_only=False)
        odd = np.flatnonzero((rows < 0) | (rows >= len(data)))
        if len(odd):
            first = keys[int(odd[0])].as_py()
            raise InputError(f'{len(odd):,} {key}s of "{self.path}" are not in "{data.source}" (first: {first}). Is it of another dataset?')
        if len(np.unique(rows)) != len(rows):
            raise InputError(f'"{self.path}" names some rows twice. Keep one line a {key}.')
        return cast("NDArray[np.int64]", rows.astype(np.int64))


def data_column(data: Dataset, name: str) -> NDArray[Any]:
    """A column of the dataset as numpy: numbers, or words where it holds strings or named classes."""
    values = data.column(name)
    names: Sequence[str] | None = getattr(data.features[name], "names", None)
    if names and not all(one.isdigit() for one in names):
        lookup = np.array([*names, None], object)
        return cast("NDArray[Any]", lookup[values.fill_null(-1).to_numpy(zero_copy_only=False)])
    if pa.types.is_nested(values.type):
        raise ColumnError(f'Column "{name}" holds {values.type}, which an expression cannot compare. Name a column of numbers or strings.')
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    if pa.types.is_boolean(values.type) or pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    return np.array(to_text(values), object)


def _read_table(path: Path) -> pa.Table:
    if not path.is_file():
        raise InputError(
            f'Score file "{path}" does not exist; a store that `curate score` made, or a parquet, csv or tsv file with a column `row`, '
            "is expected. Check the path."
        )
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_table(path)
        if path.suffix in (".csv", ".tsv"):
            from pyarrow import csv

            return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter="\t" if path.suffix == ".tsv" else ","))
    except pa.ArrowInvalid as error:
        raise InputError(f'Score file "{path}" does not read ({str(error).splitlines()[0]}).') from error
    raise InputError(
        f'Score file "{path}" has the ending "{path.suffix}"; .parquet or .csv is expected, or a folder that `curate score` made.'
    )
