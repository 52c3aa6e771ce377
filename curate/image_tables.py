"""Synthetic images as a table with the features of `datasets`, and back to pictures."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from curate.compensated import Compensated
from curate.protocols import Distilled, Rows, Training

if TYPE_CHECKING:
    import datasets

ORIGINS: Final = ("source_rows", "source_ids", "source_boxes")  # columns of a set whose images are cut from others


def expanded(compact: Compensated) -> "datasets.Dataset":
    """The rows that a compact set stands for, with the features of any other distilled set."""
    import datasets

    return datasets.Dataset(table_of(Distilled(*compact.expand(), Training(lr=0.0)), compact.names))


def table_of(made: Distilled, names: Sequence[str], ids: pa.ChunkedArray | None = None) -> pa.Table:
    """The set with the features of `datasets`, images height x width x channels; `ids` are those of the source's rows, if it has any."""
    import datasets

    m, channels, height, width = made.images.shape
    features = datasets.Features(
        {"image": datasets.Array3D((height, width, channels), "float32"), "label": datasets.ClassLabel(names=list(names))}
        | ({"soft_label": datasets.Sequence(datasets.Value("float32"), len(names))} if made.soft_labels is not None else {})
    )
    flat = pa.array(np.ascontiguousarray(made.images.transpose(0, 2, 3, 1)).reshape(-1))
    for length in (channels, width, height):
        count = len(flat) // length
        flat = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * length), flat)
    columns: dict[str, Any] = {"image": flat, "label": pa.array(made.labels)}
    if made.soft_labels is not None:
        columns["soft_label"] = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(made.soft_labels).reshape(-1)), len(names))
    assert len(flat) == m, "three nested lists a row"
    if made.tiles is not None:
        columns |= _origins(made.tiles, ids)
        features |= datasets.Features.from_arrow_schema(pa.table({name: columns[name] for name in ORIGINS if name in columns}).schema)
    return pa.table(columns).replace_schema_metadata(datasets.Features(features).arrow_schema.metadata)


def _origins(tiles: Rows, ids: pa.ChunkedArray | None) -> dict[str, pa.Array]:
    """Where each tile was cut from: the source's row, its id where there is one, and top, left, height and width there."""
    t = tiles.shape[1]
    rows, boxes = np.ascontiguousarray(tiles[:, :, 0]).reshape(-1), np.ascontiguousarray(tiles[:, :, 1:]).reshape(-1)
    found = {ORIGINS[0]: pa.FixedSizeListArray.from_arrays(pa.array(rows), t)}
    if ids is not None:
        found[ORIGINS[1]] = pa.FixedSizeListArray.from_arrays(ids.take(pa.array(rows)).combine_chunks(), t)
    return found | {ORIGINS[2]: pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(pa.array(boxes), 4), t)}


def holds_arrays(column: pa.ChunkedArray) -> bool:
    """Whether its cells are arrays of float32 numbers, height x width x 1 or 3."""
    kind = column.type.storage_type if isinstance(column.type, pa.BaseExtensionType) else column.type
    for _ in range(3):
        if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)):
            return False
        kind = kind.value_type
    return bool(kind == pa.float32()) and len(column) > 0 and np.shape(column[0].as_py())[2:] in ((1,), (3,))


def with_pictures(table: "datasets.Dataset", name: str) -> "datasets.Dataset":
    """A column of arrays, height x width x 1 or 3, as PNG pictures: clipped to 0 … 255 and rounded."""
    import datasets
    from PIL import Image

    def picture(values: Any) -> dict[str, Any]:
        pixels = np.clip(np.rint(np.asarray(values)), 0, 255).astype(np.uint8)
        held = io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(held, "png")
        return {"bytes": held.getvalue(), "path": None}

    made = [picture(one) for one in table.select_columns([name]).with_format("numpy")[:][name]]
    feature = datasets.Image()
    columns = {other: table.data.table.column(other) for other in table.column_names}
    features = datasets.Features({other: feature if other == name else table.features[other] for other in table.column_names})
    columns[name] = pa.array(made, feature.pa_type)
    return datasets.Dataset(pa.table(columns).replace_schema_metadata(features.arrow_schema.metadata))
