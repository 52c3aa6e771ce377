"""What a table holds, in 32 hex digits: a hash a row, and one over all of them, blind to how the table lies on disk.

Covered are column names, logical types and values in row order. Not covered: the file format, compression, chunks, dictionary
encoding, `string` or `large_string`, `list`, `large_list` or `fixed_size_list`, where an image came from (its bytes count),
`ClassLabel` names and any other metadata. Floats are compared by their bits, so -0.0 is not 0.0.

A value's hash depends on nothing but the value, so neither chunks nor slices can change it: fixed-width values go through
splitmix64; bytes of up to 64 are folded word by word, vectorised over rows; longer ones go to XXH3, which then costs less than
the call. A row's hash is the mixed sum over columns, each keyed by the column's name.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
import xxhash
from numpy.typing import NDArray

from curate.errors import ColumnError

Hashes = NDArray[np.uint64]
Bytes = NDArray[np.uint8]

_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_NULL: Final = np.uint64(0xA0761D6478BD642F)
_TEXT: Final = np.uint64(0xE7037ED1A0B428DB)
_LIST: Final = np.uint64(0x8EBC6AF09C88C6E3)

# A block of 64-bit values and its scratch stay in a core's second-level cache.
_BLOCK: Final = 1 << 15
_SHORT: Final = 64
_BATCH_ROWS: Final = 1 << 16
_BATCH_BYTES: Final = 32 << 20
_MASKS: Final = np.array([(1 << (8 * kept)) - 1 for kept in range(9)], np.uint64)
_FLOATS: Final = {"halffloat": "float16", "float": "float32", "double": "float64"}


def fingerprint(schema: Mapping[str, str], n: int, row_hashes: Iterable[Hashes]) -> str:
    """The content fingerprint, 32 hex digits, of `n` rows with this logical schema and these row hashes, in pieces and in this order."""
    digest = xxhash.xxh3_128(json.dumps([list(schema.items()), n]).encode())
    for piece in row_hashes:
        digest.update(np.ascontiguousarray(piece, "<u8").data)
    text: str = digest.hexdigest()
    return text


def hash_rows(table: pa.Table, *, image_root: Path | None = None) -> Hashes:
    """One hash a row, (n,) uint64, of a table; `hash_pieces` of its slices."""
    hashes = list(hash_pieces(_pieces(table), image_root=image_root))
    return np.concatenate(hashes) if hashes else np.empty(0, np.uint64)


def hash_pieces(pieces: Iterable[pa.Table], *, image_root: Path | None = None) -> Iterator[Hashes]:
    """The row hashes of the successive pieces of a table, each (rows,) uint64; needs some multiples of the largest piece at a time.

    `image_root` is where the files of images that hold a path and no bytes may lie; an image that cannot be read counts as missing.
    """
    for piece in pieces:
        yield _hash_columns(piece.column_names, [_one_array(column) for column in piece.columns], image_root)


def logical_schema(schema: pa.Schema) -> dict[str, str]:
    """Column name to logical type."""
    return {field.name: logical_type(field.type) for field in schema}


def logical_type(arrow: pa.DataType) -> str:
    """A type's text with storage details left out.

    >>> logical_type(pa.list_(pa.large_string(), 3)), logical_type(pa.dictionary(pa.int8(), pa.float32()))
    ('list<string>', 'float32')
    """
    if isinstance(arrow, pa.BaseExtensionType):
        return logical_type(arrow.storage_type)
    if pt.is_dictionary(arrow) or pt.is_run_end_encoded(arrow):
        return logical_type(arrow.value_type)
    if pt.is_string(arrow) or pt.is_large_string(arrow) or pt.is_string_view(arrow):
        return "string"
    if _is_bytes(arrow) or pt.is_binary_view(arrow) or pt.is_fixed_size_binary(arrow):
        return "binary"
    if pt.is_map(arrow):
        return f"list<struct<key: {logical_type(arrow.key_type)}, value: {logical_type(arrow.item_type)}>>"
    if _is_list(arrow):
        return f"list<{logical_type(arrow.value_type)}>"
    if is_image(arrow):
        return "image"
    if pt.is_struct(arrow):
        return f"struct<{', '.join(f'{field.name}: {logical_type(field.type)}' for field in arrow)}>"
    return _FLOATS.get(str(arrow), str(arrow))


def is_image(arrow: pa.DataType) -> bool:
    """Whether this is how `datasets` stores an image or other media: a struct of `bytes` and `path`, with or without metadata."""
    return bool(pt.is_struct(arrow)) and {field.name for field in arrow} == {"bytes", "path"} and _is_bytes(arrow.field("bytes").type)


def differing_rows(a: Hashes, b: Hashes) -> int:
    """How many rows of the longer table find no equal row in the other, each row being matched once; blind to order.

    >>> differing_rows(np.uint64([1, 2, 2]), np.uint64([2, 3, 1])), differing_rows(np.uint64([1]), np.uint64([2, 1]))
    (1, 1)
    """
    values_a, counts_a = np.unique(a, return_counts=True)
    values_b, counts_b = np.unique(b, return_counts=True)
    _, in_a, in_b = np.intersect1d(values_a, values_b, assume_unique=True, return_indices=True)
    return max(len(a), len(b)) - int(np.minimum(counts_a[in_a], counts_b[in_b]).sum())


def read_image_file(path: str | None, root: Path | None) -> bytes | None:
    """The bytes of an image that a table names by its path; None unless it lies under `root` and reads.

    A table is not to be trusted with paths: one that names a file elsewhere gets nothing.
    """
    if root is None or not path:
        return None
    full = Path(os.path.abspath(path))
    if not full.is_relative_to(os.path.abspath(root)):
        return None
    try:
        return full.read_bytes()
    except OSError:
        return None


def batch_rows(table: pa.Table) -> int:
    """How many rows of a table are some 32 MB, 65,536 at most."""
    row_bytes: int = table.nbytes // max(table.num_rows, 1) + 1
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // row_bytes))


def _pieces(table: pa.Table) -> Iterator[pa.Table]:
    step = batch_rows(table)
    for start in range(0, table.num_rows, step):
        yield table.slice(start, step)


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def _hash_columns(names: list[str], arrays: list[pa.Array], root: Path | None) -> Hashes:
    """Rows of named columns; the order of columns does not matter here, `fingerprint` covers it."""
    total = np.zeros(len(arrays[0]) if arrays else 0, np.uint64)
    for name, array in zip(names, arrays, strict=True):
        hashes = _hash(array, root)
        hashes ^= np.uint64(xxhash.xxh3_64_intdigest(name.encode()))
        total += _mix(hashes)
    return _mix(total)


def _hash(array: pa.Array, root: Path | None) -> Hashes:
    """A hash an element, freshly allocated; nulls get one of their own, whatever bytes lie beneath them."""
    arrow = array.type
    if isinstance(arrow, pa.BaseExtensionType):
        return _hash(array.storage, root)
    if pt.is_dictionary(arrow):
        values = _hash(array.dictionary, root)[array.indices.fill_null(0).to_numpy(zero_copy_only=False)] if len(array.dictionary) else None
        hashes = np.full(len(array), _NULL) if values is None else values
    elif pt.is_null(arrow) or not len(array):
        return np.full(len(array), _NULL)
    elif is_image(arrow):
        return _hash_images(array, root)
    elif pt.is_struct(arrow):
        hashes = _hash_columns([field.name for field in arrow], [array.field(i) for i in range(arrow.num_fields)], root)
    elif _is_list(arrow):
        hashes = _hash_lists(array, root)
    else:
        hashes = _hash_plain(array, root)
    if array.null_count:
        hashes[_nulls(array)] = _NULL
    return hashes


def _hash_plain(array: pa.Array, root: Path | None) -> Hashes:
    arrow = array.type
    if pt.is_boolean(arrow):
        return _hash_plain(array.cast(pa.uint8()), root)
    if pt.is_run_end_encoded(arrow):
        return _hash(pc.run_end_decode(array), root)
    if pt.is_fixed_size_binary(arrow):
        return _hash_plain(array.cast(pa.binary()), root)
    if pt.is_string_view(arrow) or pt.is_binary_view(arrow):
        return _hash_plain(array.cast(pa.large_binary()), root)
    if pt.is_map(arrow):
        pair = pa.struct([("key", arrow.key_type), ("value", arrow.item_type)])
        return _hash_lists(array.cast(pa.list_(pair)), root)
    if _is_bytes(arrow) or pt.is_string(arrow) or pt.is_large_string(arrow):
        return _hash_spans(*_text_spans(array))
    if width := _width(arrow):
        return _hash_fixed(_buffer(array, width), width)
    raise ColumnError(
        f"Cannot fingerprint a column of Arrow type {arrow}: numbers, texts, times, lists and structs are expected. Drop the column."
    )


def _hash_fixed(data: Bytes, width: int) -> Hashes:
    if width in (1, 2, 4, 8):
        return _mix(data.view(f"<u{width}").astype(np.uint64))
    starts = np.arange(0, len(data), width, dtype=np.int64)
    return _hash_spans(data, starts, np.full(len(starts), width, np.int64))


def _hash_images(array: pa.Array, root: Path | None) -> Hashes:
    """Images by their bytes; one that holds only a path by that file's, one with neither as a null."""
    content = array.field("bytes")
    hashes = _hash(content, root)
    missing = _nulls(array)
    hashes[missing] = _NULL
    if root is not None:
        by_path = np.flatnonzero(_nulls(content) & ~missing)
        paths = array.field("path")
        for start in range(0, len(by_path), 64):  # 64 files at a time bound the memory
            rows = by_path[start : start + 64]
            files = [read_image_file(paths[row].as_py(), root) for row in rows.tolist()]
            hashes[rows] = _hash(pa.array(files, pa.large_binary()), None)
    return hashes


def _hash_lists(array: pa.Array, root: Path | None) -> Hashes:
    """Lists of numbers without nulls as the bytes they are; any other by its elements."""
    child, starts, lengths = _list_spans(array)
    width = _width(child.type)
    if not width:
        return _hash_elements(child, starts, lengths, root)
    hashes = _hash_spans(_buffer(child, width), starts * width, lengths * width)
    if child.null_count:
        before = np.concatenate([[0], np.cumsum(_nulls(child))])
        rows = np.flatnonzero(before[starts + lengths] > before[starts])
        hashes[rows] = _hash_elements(*_list_spans(array.take(pa.array(rows))), root)
    return hashes


def _hash_elements(child: pa.Array, starts: NDArray[np.int64], lengths: NDArray[np.int64], root: Path | None) -> Hashes:
    elements = _hash(child, root)
    position = np.arange(len(child), dtype=np.int64) - np.repeat(starts, lengths)
    elements ^= _mix(position.astype(np.uint64))
    sums = np.zeros(len(child) + 1, np.uint64)
    np.cumsum(_mix(elements), out=sums[1:])  # wraps, and so do the differences
    total = sums[starts + lengths] - sums[starts]
    total ^= _mix(lengths.astype(np.uint64) ^ _LIST)
    return _mix(total)


def _hash_spans(data: Bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Hashes:
    """The bytes data[start : start + length] of each row; the choice of method is by the row's own length."""
    hashes = _mix(lengths.astype(np.uint64) ^ _TEXT)
    rows = np.flatnonzero((lengths > 0) & (lengths <= _SHORT))
    if len(rows) and len(data) < 8:
        data = np.concatenate([data, np.zeros(8, np.uint8)])
    for offset in range(0, _SHORT, 8):
        rows = rows[lengths[rows] > offset] if offset else rows
        if not len(rows):
            break
        folded = hashes[rows] ^ _words(data, starts[rows] + offset, lengths[rows] - offset)
        hashes[rows] = _mix(folded)
    rows = np.flatnonzero(lengths > _SHORT)
    if len(rows):
        view, digest = data.data, xxhash.xxh3_64_intdigest
        ends = starts[rows] + lengths[rows]
        # The loop costs about 0.2 µs a value; every value is longer than what splitmix64 does in that time.
        long = [digest(view[start:end]) for start, end in zip(starts[rows].tolist(), ends.tolist(), strict=True)]
        hashes[rows] = _mix(hashes[rows] ^ np.array(long, np.uint64))
    return hashes


def _words(data: Bytes, at: NDArray[np.int64], left: NDArray[np.int64]) -> Hashes:
    """The eight bytes at each place as a little-endian word, zero beyond the `left` ones that belong to the row."""
    # Every byte starts a word here: an unaligned view, of which indexing copies only what it picks.
    view: Hashes = np.lib.stride_tricks.as_strided(data[:8].view("<u8"), (len(data) - 7,), (1,))
    safe = np.minimum(at, len(data) - 8)
    words = view[safe]
    words >>= ((at - safe) << 3).astype(np.uint64)  # near the buffer's end the word was read from further left
    words &= _MASKS[np.minimum(left, 8)]
    return words


def _mix(values: Hashes) -> Hashes:
    """splitmix64 of each value, in place; block by block, for the nine operations are then bound by cache and not by memory."""
    scratch = np.empty(min(len(values), _BLOCK), np.uint64)
    for start in range(0, len(values), _BLOCK):
        z = values[start : start + _BLOCK]
        t = scratch[: len(z)]
        z += _GAMMA
        z ^= np.right_shift(z, np.uint64(30), out=t)
        z *= _MIX_1
        z ^= np.right_shift(z, np.uint64(27), out=t)
        z *= _MIX_2
        z ^= np.right_shift(z, np.uint64(31), out=t)
    return values


def _is_bytes(arrow: pa.DataType) -> bool:
    return bool(pt.is_binary(arrow) or pt.is_large_binary(arrow))


def _is_list(arrow: pa.DataType) -> bool:
    return bool(pt.is_list(arrow) or pt.is_large_list(arrow) or pt.is_fixed_size_list(arrow))


def _width(arrow: pa.DataType) -> int:
    """Bytes a value of a fixed-width type that fills whole bytes, else 0."""
    try:
        bits = int(arrow.bit_width)
    except ValueError:
        return 0
    is_number = pt.is_primitive(arrow) or pt.is_decimal(arrow)
    return bits // 8 if is_number and bits % 8 == 0 else 0


def _nulls(array: pa.Array) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = array.is_null().to_numpy(zero_copy_only=False)
    return mask


def _buffer(array: pa.Array, width: int) -> Bytes:
    return _bytes_of(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width]


def _bytes_of(buffer: Any) -> Bytes:
    return np.empty(0, np.uint8) if buffer is None else np.frombuffer(buffer, np.uint8)


def _text_spans(array: pa.Array) -> tuple[Bytes, NDArray[np.int64], NDArray[np.int64]]:
    wide = pt.is_large_binary(array.type) or pt.is_large_string(array.type)
    _, offsets, data = array.buffers()
    size = 8 if wide else 4
    ends = np.frombuffer(offsets, f"<i{size}", len(array) + 1, array.offset * size).astype(np.int64)
    return _bytes_of(data), ends[:-1], np.diff(ends)


def _list_spans(array: pa.Array) -> tuple[pa.Array, NDArray[np.int64], NDArray[np.int64]]:
    """The elements of all rows end to end, and where each row's begin and how many there are; a slice's own ones only."""
    if pt.is_fixed_size_list(array.type):
        size = array.type.list_size
        child = array.values.slice(array.offset * size, len(array) * size)
        return _decoded(child), np.arange(len(array), dtype=np.int64) * size, np.full(len(array), size, np.int64)
    ends = array.offsets.to_numpy().astype(np.int64)
    return _decoded(array.values.slice(ends[0], ends[-1] - ends[0])), ends[:-1] - ends[0], np.diff(ends)


def _decoded(array: pa.Array) -> pa.Array:
    """Elements without encoding, for lists of numbers are hashed as bytes only where they lie as bytes."""
    if isinstance(array.type, pa.BaseExtensionType):
        return _decoded(array.storage)
    if pt.is_dictionary(array.type):
        return _decoded(array.dictionary_decode())
    return pc.run_end_decode(array) if pt.is_run_end_encoded(array.type) else array
