"""A dataset as every stage sees it: an Arrow table whose columns have roles, with its content fingerprint."""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from curate import chat
from curate.columns import LABEL_NAMES, Modality, kinds_of, require
from curate.deep_images import DEEP, DEPTH_ROWS, in_eight_bits, white_of
from curate.errors import ColumnError
from curate.fingerprint import batch_rows, hash_pieces, logical_schema, read_image_file
from curate.fingerprint import fingerprint as content_fingerprint
from curate.labels import Classes, LabelSets, encode, find_classes, find_label_sets, is_several

if TYPE_CHECKING:
    import datasets
    from PIL import Image

# A string column of a table becomes this many 0/1 columns.
BUCKETS: Final = 32
# Rows up to which the hashes made for the fingerprint are kept for later use (8 bytes each).
_KEPT_HASHES: Final = 1 << 25
# Rows of a column that are looked at where names do not tell what it is.
PEEK: Final = 1000


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows with roles: which columns are the input, which the label, which the user's id. Immutable; made by `curate.load`.

    `inputs` are two texts for a pair, the question's and the answer's columns for instructions, any number of columns for a
    table. `source` is what the user gave, for messages. `test` is the source's own test split, with the class codes of this
    one. `recipe` holds the arguments with which `curate.load` opens the same rows in another process, None for data in memory.
    Images that the table names by path are read only under `image_root`.
    """

    table: "datasets.Dataset"
    inputs: tuple[str, ...]
    label: str | None
    id: str | None
    modality: Modality
    source: str
    test: "Dataset | None" = None
    recipe: Mapping[str, Any] | None = None
    chat_template: chat.ChatTemplate | None = None
    image_root: Path | None = None
    classes_of: "Dataset | None" = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def features(self) -> "datasets.Features":
        """The columns' types as `datasets` has them."""
        return self.table.features

    @cached_property
    def schema(self) -> dict[str, str]:
        """Column name to logical type, as the fingerprint covers it."""
        return logical_schema(self.features.arrow_schema)

    @cached_property
    def row_hashes(self) -> NDArray[np.uint64]:
        """A content hash a row, (n,) uint64; one pass over all columns, streamed."""
        return self._whole_hashes(tuple(self.schema))

    @cached_property
    def input_hashes(self) -> NDArray[np.uint64]:
        """A content hash of each row's input columns alone, (n,) uint64: equal where two rows, of whatever labels, have the same input."""
        return self._whole_hashes(self.inputs)

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits of content: column names, logical types and values in row order, wherever and however they are stored."""
        pieces = [self.row_hashes] if len(self) <= _KEPT_HASHES else self._hashes(tuple(self.schema))
        return content_fingerprint(self.schema, len(self), pieces)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class codes, (n,) int64, -1 where the label is missing; ColumnError without a label column that can be used."""
        return encode(self.column(self._label()), self._classes, self._label())

    @property
    def has_label_sets(self) -> bool:
        """Whether the label column holds a list of labels a row, which only `label_sets` reads."""
        return self.label is not None and is_several(self.column(self.label))

    @cached_property
    def label_sets(self) -> LabelSets:
        """The classes that each row bears, of a label column that holds lists; ColumnError where it holds no classes."""
        name = self._label()
        feature = self.features[name]
        return find_label_sets(self.column(name), getattr(getattr(feature, "feature", None), "names", None), name)

    @property
    def label_names(self) -> tuple[str, ...]:
        """A class's name by its code."""
        return self._classes.names

    def select(self, rows: NDArray[np.int64]) -> "Dataset":
        """These rows in this order, with the same roles and class codes; no test split and no recipe."""
        return replace(self, table=self.table.select(rows), test=None, recipe=None, classes_of=self.classes_of or self)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column as it lies in the table, (n,); ColumnError with a did-you-mean for a name that is not there."""
        require(name, self.schema)
        return self._rows((name,), 0, len(self)).column(0)

    def texts(self, start: int, stop: int, column: int = 0) -> list[str | None]:
        """The texts of rows start … stop-1 of `inputs[column]`, or the rendered conversations; None where there is none.

        Bytes that are not UTF-8 are shown as U+FFFD.
        """
        self._expect("text", "text_pair", "chat", what="texts")
        if self.chat_template is not None:
            rows = self._rows(self.inputs, start, stop).to_pylist()
            return [chat.joined(chat.render(row, self.chat_template)) for row in rows]
        name = self.inputs[column]
        return to_text(self._rows((name,), start, stop).column(0))

    def exchanges(self, start: int, stop: int) -> list[tuple[str, str]]:
        """Question and answer of rows start … stop-1: a pair's two texts; all before a conversation's last answer, and that answer."""
        self._expect("text_pair", "chat", what="questions and answers")
        if self.chat_template is not None:
            rows = self._rows(self.inputs, start, stop).to_pylist()
            return [chat.last_exchange(chat.render(row, self.chat_template)) for row in rows]
        sides = [self.texts(start, stop, side) for side in (0, 1)]
        return [(question or "", answer or "") for question, answer in zip(*sides, strict=True)]

    def images(self, start: int, stop: int) -> "list[Image.Image | None]":
        """The decoded images of rows start … stop-1, upright; None where one is missing or does not decode.

        Grey of 16 bits and more becomes 8 bits, of which 255 is what the deepest of some rows could hold: 4095 where they keep to 12 bits.
        """
        self._expect("image", what="images")
        return [
            in_eight_bits(image, self._white) if image is not None and image.mode in DEEP else image for image in self._decoded(start, stop)
        ]

    def _decoded(self, start: int, stop: int) -> "list[Image.Image | None]":
        cells = self._rows(self.inputs, start, stop).column(0).to_pylist()
        return [_decode(cell, self.image_root) for cell in cells]

    @cached_property
    def _white(self) -> float:
        """What is white in deep grey images; the test split's is that of the training set."""
        if self.classes_of is not None:
            return self.classes_of._white
        rows = np.linspace(0, len(self) - 1, min(len(self), DEPTH_ROWS)).astype(np.int64).tolist()
        return white_of([image for row in rows for image in self._decoded(row, row + 1) if image is not None])

    @cached_property
    def width(self) -> int:
        """How many columns `matrix` has; ColumnError for an embedding whose rows differ in length."""
        self._expect("table", "embedding", what="a matrix")
        if self.modality == "table":
            return sum(BUCKETS if name in self._categories else 1 for name in self.inputs)
        lengths = pc.list_value_length(self.column(self.inputs[0]))
        known = pc.unique(lengths.drop_null())
        if len(known) != 1 or not known[0].as_py():
            found = f"{len(known)} different lengths, the first {known[0]} and {known[1]}" if len(known) > 1 else "no values"
            raise ColumnError(f'Column "{self.inputs[0]}" has {found}; vectors of one length are expected. Drop or pad the odd rows.')
        return int(known[0].as_py())

    def matrix(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows start … stop-1 as numbers, (rows, width) float32; missing is NaN, and NaN and infinities stay as they are.

        Of a table a number or boolean is one column, and a text or class 32: one-hot by a hash of column name and value,
        all zero where it is missing. So the width does not depend on which values occur.
        """
        width = self.width
        rows = self._rows(self.inputs, start, stop)
        if self.modality == "embedding":
            return _vectors(rows.column(0), width)
        parts = [
            _one_hot(rows.column(name), name) if name in self._categories else _numbers(rows.column(name))[:, None] for name in self.inputs
        ]
        return np.concatenate(parts, axis=1)

    @cached_property
    def _classes(self) -> Classes:
        if self.classes_of is not None:
            return self.classes_of._classes
        name = self._label()
        return find_classes(self.column(name), getattr(self.features[name], "names", None), name)

    def _label(self) -> str:
        if self.label is None:
            for name in (name for name in self.schema if name.lower() in LABEL_NAMES):
                find_classes(self.column(name), None, name)  # raises: it says why a column of that name is no label
            raise ColumnError(
                f'"{self.source}" has no label column; its columns are: {", ".join(self.schema)}. Name one with --label COLUMN (label=…).'
            )
        return self.label

    def _hashes(self, names: tuple[str, ...]) -> Iterator[NDArray[np.uint64]]:
        step, n = batch_rows(self.table.data), len(self)
        pieces = (self._rows(names, start, min(start + step, n)) for start in range(0, n, step))
        return hash_pieces(pieces, image_root=self.image_root)

    def _whole_hashes(self, names: tuple[str, ...]) -> NDArray[np.uint64]:
        hashes, done = np.empty(len(self), np.uint64), 0
        for piece in self._hashes(names):
            hashes[done : done + len(piece)] = piece
            done += len(piece)
        return hashes

    @cached_property
    def _categories(self) -> frozenset[str]:
        kinds = kinds_of(self.features, self.features.arrow_schema)
        return frozenset(name for name in self.inputs if kinds[name] in ("text", "class"))

    def _expect(self, *modalities: Modality, what: str) -> None:
        if self.modality not in modalities:
            raise ColumnError(
                f'"{self.source}" is {self.modality} data (input: {", ".join(self.inputs)}) and has no {what.removeprefix("a ")}. '
                "Name other columns with --input COLUMN, or use a method for this kind of data."
            )

    def _rows(self, names: Sequence[str], start: int, stop: int) -> pa.Table:
        """Columns of a row range as Arrow, without a copy unless rows were selected."""
        names = tuple(names)
        if names not in self._views:
            self._views[names] = self.table.select_columns(list(names)).with_format("arrow")
        return self._views[names][start:stop]

    @cached_property
    def _views(self) -> dict[tuple[str, ...], Any]:
        return {}


def to_text(column: pa.ChunkedArray) -> list[str | None]:
    """A column's values as texts; bytes that are not UTF-8 become U+FFFD."""
    if not (pt.is_string(column.type) or pt.is_large_string(column.type)):
        column = column.cast(pa.string())
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        cells = column.cast(pa.large_binary()).to_pylist()
        return [None if cell is None else cell.decode("utf-8", errors="replace") for cell in cells]


def _decode(cell: Mapping[str, Any] | None, root: Path | None) -> "Image.Image | None":
    from PIL import Image, ImageOps

    content = cell and (cell["bytes"] or read_image_file(cell["path"], root))
    if not content:
        return None
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
        return ImageOps.exif_transpose(image)
    # What the decoders of broken files raise, each in its own way; a bomb is an image too large to be meant.
    except (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, zlib.error, Image.DecompressionBombError):
        return None


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float32]:
    values: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    with np.errstate(over="ignore"):  # beyond float32 is infinite, as the docstring says
        return values.astype(np.float32)


def _one_hot(column: pa.ChunkedArray, name: str) -> NDArray[np.float32]:
    import xxhash

    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    key = xxhash.xxh3_64_intdigest(name.encode())
    values = encoded.dictionary.cast(pa.binary()).to_pylist()  # which need not be UTF-8
    buckets = [xxhash.xxh3_64_intdigest(value, seed=key) % BUCKETS for value in values]
    codes = encoded.indices.fill_null(len(buckets)).to_numpy(zero_copy_only=False)
    rows = np.concatenate([np.eye(BUCKETS, dtype=np.float32)[buckets], np.zeros((1, BUCKETS), np.float32)])
    hot: NDArray[np.float32] = rows[codes]
    return hot


def _vectors(column: pa.ChunkedArray, width: int) -> NDArray[np.float32]:
    """(rows, width) of a list column; a missing row is NaN throughout."""
    present = column.is_valid().to_numpy()
    values: NDArray[np.float32] = pc.list_flatten(column).cast(pa.float32(), safe=False).to_numpy()
    if present.all():
        return values.reshape(-1, width)
    matrix = np.full((len(column), width), np.nan, np.float32)
    matrix[present] = values.reshape(-1, width)
    return matrix
