"""Opens data that is a Python object already: Hugging Face, torch, numpy, pandas and Arrow."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import png
from curate.errors import InputError
from curate.files import Opened
from curate.reading import as_dataset, check_names, explain_failures, no_rows

if TYPE_CHECKING:
    import datasets

_EXPECTED: Final = (
    "a path, a hub name, a datasets.Dataset or DatasetDict, a torch map-style Dataset, a numpy array or pair (X, y), "
    "a pandas or polars DataFrame or a pyarrow Table"
)


def open_object(source: Any) -> Opened:
    """The splits of an object; InputError with what is accepted for any other type."""
    splits = _splits(source)
    # Whoever holds the object may read their own files, so image paths in it are followed wherever they lead.
    return Opened(splits, type(source).__name__, image_root=Path(os.path.abspath(os.sep)))


def _splits(source: Any) -> "dict[str, datasets.Dataset]":
    if isinstance(source, pa.Table):
        return {"train": _from_arrow(source)}
    if isinstance(source, np.ndarray):
        return {"train": from_arrays(source, None)}
    if isinstance(source, tuple) and len(source) == 2 and all(isinstance(part, np.ndarray) for part in source):
        return {"train": from_arrays(*source)}
    if _is_a(source, "pandas", "DataFrame"):
        return {"train": _from_pandas(source)}
    if _is_a(source, "polars", "DataFrame"):
        return {"train": _from_arrow(source.to_arrow())}
    if _is_a(source, "datasets", "DatasetDict"):
        return dict(source)
    if _is_a(source, "datasets", "Dataset"):
        return {"train": source.with_format(None)}
    if hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, Sequence | dict):
        return {"train": _from_items(source)}
    raise InputError(f"Cannot load an object of type {type(source).__name__}; {_EXPECTED} is expected. Convert it to one of these.")


def from_arrays(x: NDArray[Any], y: NDArray[Any] | None, names: Sequence[str] | None = None) -> "datasets.Dataset":
    """Columns `image`, `embedding` or `text` from `x`, and `label` from `y`; `names` are the classes of whole-number labels.

    uint8 (n, h, w), (n, h, w, c) or (n, c, h, w) are images, kept lossless; so are floats of that shape that are k/255. Numbers
    (n, d) are embeddings, strings (n,) texts.
    """
    import datasets

    if y is not None and (y.ndim != 1 or len(y) != len(x)):
        raise InputError(f"X has {len(x)} rows and y has shape {y.shape}; y of shape ({len(x)},) is expected. Pass one label a row.")
    name, column, feature = _input_column(x)
    features = {name: feature}
    columns = {name: column}
    if y is not None:
        columns["label"] = pa.array(y.tolist()) if y.dtype.kind == "O" else pa.array(y)
        is_code = names is not None and y.dtype.kind in "iu"
        features["label"] = datasets.ClassLabel(names=list(names or ())) if is_code else _feature(columns["label"].type)
    schema = datasets.Features(features)
    return as_dataset(pa.table(columns).cast(schema.arrow_schema))


def _input_column(x: NDArray[Any]) -> tuple[str, pa.Array, Any]:
    import datasets

    if x.ndim in (3, 4):
        pixels = _as_pixels(x)
        storage = datasets.Image().pa_type
        return "image", pa.array([{"bytes": png.encode(image), "path": None} for image in pixels], storage), datasets.Image()
    if x.ndim == 2 and x.dtype.kind in "fiub":
        # Half precision and small integers fit float32; larger ones need float64 to stay what they are.
        values = x if x.dtype.kind == "f" else x.astype(np.float32 if x.dtype.itemsize < 4 else np.float64)
        column = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), x.shape[1])
        return "embedding", column, _feature(column.type)
    if x.ndim == 1 and x.dtype.kind in "OUS":
        return "text", pa.array(x.astype(str).tolist() if x.dtype.kind != "O" else x.tolist(), pa.string()), datasets.Value("string")
    raise InputError(
        f"X has shape {x.shape} and type {x.dtype}; images (n, h, w[, c]) of uint8, vectors (n, d) or texts (n,) are expected. Reshape it."
    )


def _as_pixels(x: NDArray[Any]) -> NDArray[np.uint8]:
    """(n, h, w) or (n, h, w, c) uint8, channels moved last; InputError for floats that are no k/255."""
    if x.ndim == 4 and x.shape[-1] not in (1, 2, 3, 4) and x.shape[1] in (1, 2, 3, 4):
        x = np.moveaxis(x, 1, -1)
    if x.ndim == 4 and x.shape[-1] not in (1, 2, 3, 4):
        raise InputError(f"Images of shape {x.shape[1:]} have no axis of 1 to 4 channels. Pass (n, h, w), (n, h, w, c) or (n, c, h, w).")
    if x.dtype == np.uint8:
        return x
    whole = np.rint(x * 255) if x.dtype.kind == "f" else x
    pixels: NDArray[np.uint8] = np.clip(whole, 0, 255).astype(np.uint8)
    if x.dtype.kind not in "fiu" or not np.allclose(pixels, whole, atol=0) or (x.dtype.kind == "f" and not np.allclose(pixels / 255, x)):
        raise InputError(
            f"Images are {x.dtype} with values that are not pixels; uint8, or floats k/255 in 0 … 1, are expected. "
            "Leave out Normalize and augmentation: training does that itself."
        )
    return pixels


def _from_items(source: Any) -> "datasets.Dataset":
    """A torch map-style dataset of x or (x, y); read once, in order, into memory."""
    items = [source[row] for row in range(len(source))]
    if not items:
        raise no_rows(type(source).__name__)
    is_pair = isinstance(items[0], tuple | list) and len(items[0]) == 2
    if not is_pair and isinstance(items[0], tuple | list | dict):
        raise InputError(f"Rows of {type(source).__name__} are {type(items[0]).__name__}s; x or (x, y) is expected. Wrap it to give these.")
    inputs = [item[0] if is_pair else item for item in items]
    y = np.array([_scalar(item[1]) for item in items]) if is_pair else None
    names = getattr(source, "classes", None)
    return from_arrays(_stack(inputs), y, names if isinstance(names, list | tuple) else None)


def _stack(inputs: Sequence[Any]) -> NDArray[Any]:
    if isinstance(inputs[0], str):
        return np.array(inputs, dtype=object)
    arrays = [_pixels_of(x) if _is_a(x, "PIL", "Image") else np.asarray(x) for x in inputs]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise InputError(
            f"Rows have different shapes, {shapes[0]} and {shapes[1]}; one shape is expected. Resize them, or use an image folder."
        )
    stacked = np.stack(arrays)
    return stacked if stacked.ndim != 4 or stacked.shape[1] != 1 else stacked[:, 0]


def _pixels_of(image: Any) -> NDArray[np.uint8]:
    """A PIL image's pixels in the nearest mode of 8 bits a channel."""
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return np.asarray(image)
    if image.mode in ("1", "P"):
        return np.asarray(image.convert("L" if image.mode == "1" else "RGBA" if "transparency" in image.info else "RGB"))
    raise InputError(
        f'Images of mode "{image.mode}" cannot be kept lossless with 8 bits a channel. Convert them to L or RGB, or use files.'
    )


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _from_arrow(table: pa.Table) -> "datasets.Dataset":
    check_names(table.column_names, "Table")
    with explain_failures([], "Table", "Arrow table"):
        return as_dataset(table)


def _from_pandas(frame: Any) -> "datasets.Dataset":
    import datasets

    check_names([str(name) for name in frame.columns], "DataFrame")
    with explain_failures([], "DataFrame", "pandas"):
        return datasets.Dataset.from_pandas(frame.rename(columns=str), preserve_index=False)


def _feature(arrow: pa.DataType) -> Any:
    import datasets

    return datasets.Features.from_arrow_schema(pa.schema({"column": arrow}))["column"]


def _is_a(source: Any, package: str, name: str) -> bool:
    """Whether an object is of a class of a package, without importing that: an object's package is imported already."""
    if package not in sys.modules:
        return False
    return any(base.__name__ == name and base.__module__.partition(".")[0] == package for base in type(source).__mro__)
