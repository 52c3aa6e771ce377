"""Plants rows that are known to be hard, or redundant, in a copy of a dataset: what `curate bench` asks scorers to find.

The taxonomy is that of Seedat, Imrie, van der Schaar 2024, "Dissecting Sample Hardness: A Fine-Grained Analysis
of Hardness Characterization Methods for Data-Centric AI"; official code seedatnabeel/H-CAT. Where that plants rows that do not change (a
uniform flip to the same class, identity rows of a class-pair rule) or clips beyond the data's range, which marks them by their grey
value, ours does not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import png
from curate.data import Dataset
from curate.errors import ColumnError, OptionError, UnknownNameError, did_you_mean
from curate.loading import load

FOREIGN: Final = "sample:digits"  # a second set of images, for rows from elsewhere
ALTERNATIVE: Final = "sample:fashion"
FOREIGN_TEXT: Final = "sample:snips"
ZOOM: Final = 1.75
SHIFT: Final = 10  # pixels, or a third of the side where that is less
LONG_TAIL_RATIO: Final = 10.0

Mask = NDArray[np.bool_]
Codes = NDArray[np.int64]
Pixels = NDArray[np.uint8]  # (n, height, width) or (n, height, width, 3)


@dataclass(frozen=True, eq=False)
class Planted:
    """The changed dataset, and which of its rows are hard (of `duplicates`: redundant), (n,)."""

    data: Dataset
    is_hard: Mask


@dataclass(frozen=True)
class Kind:
    """One kind of hardness: the share of the rows that it takes by default, for which data, and in words."""

    share: float
    modalities: tuple[str, ...]
    about: str


_ANY: Final = ("image", "text", "text_pair", "chat", "table", "embedding")
KINDS: Final[Mapping[str, Kind]] = {
    "uniform": Kind(0.2, _ANY, "the label is another class, each as likely"),
    "asymmetric": Kind(0.2, _ANY, "the label is another class, by odds that each class draws from a Dirichlet(1)"),
    "adjacent": Kind(0.2, _ANY, "the label is the class before or after"),
    "instance": Kind(0.2, ("image", "table", "embedding"), "the label is the other class whose mean input is nearest"),
    "near_ood": Kind(0.1, ("image", "embedding"), "noise of half the largest value is added, clipped to the data's range"),
    "domain_shift": Kind(0.1, ("image",), "the image is drawn as a cartoon, of noise, smoothed areas and dark edges"),
    "far_ood": Kind(0.1, ("image", "text"), "the input is one of another dataset"),
    "zoom": Kind(0.1, ("image",), "the middle of the image is enlarged 1.75 times"),
    "crop_shift": Kind(0.1, ("image",), "the image is shifted by up to 10 pixels, its border mirrored or black"),
    "atypical": Kind(0.1, ("embedding",), "one number is drawn from the outermost 1 % of its column"),
    "long_tail": Kind(0.0, _ANY, "classes shrink to a tenth, and the last third of them is hard"),
    "duplicates": Kind(0.1, _ANY, "a control: rows are copies of others, redundant, and so must not look hard"),
}


def kinds_for(data: Dataset) -> list[str]:
    """The kinds that can be planted in data of this modality."""
    return [name for name, kind in KINDS.items() if data.modality in kind.modalities]


def share_of(name: str, data: Dataset, share: float | None) -> float:
    """The share to plant; errors for an unknown kind, one for other data, or a share out of range."""
    if name not in KINDS:
        raise UnknownNameError(f'No hardness "{name}".{did_you_mean(name, KINDS)} There are: {", ".join(KINDS)}.')
    if data.modality not in KINDS[name].modalities:
        raise ColumnError(f'Hardness "{name}" is for {" or ".join(KINDS[name].modalities)}; "{data.source}" is {data.modality} data.')
    if share is not None and not 0 < share <= 0.5:
        raise OptionError(f'The share of hardness "{name}" must be above 0 and at most 0.5, got {share}.')
    return KINDS[name].share if share is None else share


def plant(data: Dataset, name: str, share: float | None = None, *, seed: int = 0) -> Planted:
    """A copy of `data` in which `share` of the rows, exactly ⌊share·n⌋, are of this kind; the label column must be whole."""
    share = share_of(name, data, share)
    if (data.labels < 0).any() or len(data.label_names) < 2:
        raise ColumnError(f'Column "{data.label}" has missing labels or one class; hardness is planted in whole labels of two or more.')
    rng = np.random.default_rng([seed, list(KINDS).index(name)])
    if name == "long_tail":
        return _long_tail(data, rng)
    chosen = np.sort(rng.permutation(len(data))[: int(share * len(data))])
    is_hard = np.zeros(len(data), bool)
    is_hard[chosen] = True
    if name in _LABELS:
        codes = data.labels.copy()
        codes[chosen] = _LABELS[name](data, chosen, rng)
        return Planted(_relabelled(data, codes), is_hard)
    if name == "duplicates":
        rows = np.arange(len(data))
        rows[chosen] = rng.choice(np.flatnonzero(~is_hard), len(chosen))
        return Planted(_made(data, _table(data).take(pa.array(rows))), is_hard)
    return Planted(_with_inputs(data, chosen, name, rng), is_hard)


def _uniform(data: Dataset, rows: Codes, rng: np.random.Generator) -> Codes:
    classes = len(data.label_names)
    return np.asarray((data.labels[rows] + rng.integers(1, classes, len(rows))) % classes, np.int64)


def _asymmetric(data: Dataset, rows: Codes, rng: np.random.Generator) -> Codes:
    classes = len(data.label_names)
    odds = rng.dirichlet(np.ones(classes - 1), classes).cumsum(axis=1)  # (classes, classes - 1): of the others, in their order
    steps = 1 + (rng.random(len(rows))[:, None] > odds[data.labels[rows], :-1]).sum(axis=1)
    return np.asarray((data.labels[rows] + steps) % classes, np.int64)


def _adjacent(data: Dataset, rows: Codes, rng: np.random.Generator) -> Codes:
    return np.asarray((data.labels[rows] + rng.choice([-1, 1], len(rows))) % len(data.label_names), np.int64)


def _instance(data: Dataset, rows: Codes, rng: np.random.Generator) -> Codes:
    """By the nearest mean, a proxy that has to be trained by nobody; the row itself counts in its own class alone."""
    features = _pixels(data).reshape(len(data), -1).astype(np.float32) if data.modality == "image" else data.matrix(0, len(data))
    features = np.nan_to_num(features)
    codes, classes = data.labels, len(data.label_names)
    means = np.stack(
        [features[codes == c].mean(axis=0) if (codes == c).any() else np.full(features.shape[1], np.inf) for c in range(classes)]
    )
    mine = features[rows]
    with np.errstate(invalid="ignore", over="ignore"):
        distance = (means**2).sum(axis=1) - 2 * mine @ np.nan_to_num(means, posinf=0).T  # (rows, classes), up to what all have in common
    distance[np.arange(len(rows)), codes[rows]] = np.inf
    return np.asarray(distance.argmin(axis=1), np.int64)


_LABELS: Final[Mapping[str, Callable[[Dataset, Codes, np.random.Generator], Codes]]] = {
    "uniform": _uniform,
    "asymmetric": _asymmetric,
    "adjacent": _adjacent,
    "instance": _instance,
}


def _long_tail(data: Dataset, rng: np.random.Generator) -> Planted:
    """Class c keeps n·r^(-c/(classes-1)) of its rows, n being the smallest class."""
    codes, classes = data.labels, len(data.label_names)
    counts = np.bincount(codes, minlength=classes)
    wanted = np.maximum(2, np.rint(counts[counts > 0].min() * LONG_TAIL_RATIO ** (-np.arange(classes) / (classes - 1)))).astype(int)
    order = rng.permutation(len(codes))
    kept = np.sort(np.concatenate([order[codes[order] == c][: wanted[c]] for c in range(classes)]))
    return Planted(_made(data, _table(data).take(pa.array(kept))), codes[kept] >= classes - max(1, classes // 3))


def _with_inputs(data: Dataset, rows: Codes, name: str, rng: np.random.Generator) -> Dataset:
    column = data.inputs[0]
    table = _table(data)
    place = table.schema.get_field_index(column)
    values = table.column(column).to_pylist()
    if data.modality == "image":
        changed: list[Any] = [{"bytes": png.encode(one), "path": None} for one in _IMAGES[name](_pixels(data)[rows], rng)]
    elif data.modality == "text":
        changed = _foreign_texts(data, len(rows), rng)
    else:
        changed = _VECTORS[name](data.matrix(0, len(data)), rows, rng).tolist()
    for row, value in zip(rows.tolist(), changed, strict=True):
        values[row] = value
    return _made(data, table.set_column(place, table.schema.field(column), pa.array(values, table.schema.field(column).type)))


def _noisy(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    noise = rng.normal(0, 0.5 * 255, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def _cartoon(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Noise, then a median, a bilateral filter of 5 x 5 and black edges where a pixel is darker than its surroundings."""
    from scipy.ndimage import median_filter, uniform_filter

    space = (1, 3, 3) + (1,) * (pixels.ndim - 3)
    noisy = np.clip(pixels + rng.normal(0, 12, pixels.shape), 0, 255)
    smooth = median_filter(noisy, size=space)
    total, weight = np.zeros_like(smooth), np.zeros_like(smooth)
    padded = np.pad(smooth, ((0, 0), (2, 2), (2, 2)) + ((0, 0),) * (pixels.ndim - 3), mode="edge")
    height, width = pixels.shape[1:3]
    for y in range(5):
        for x in range(5):
            there = padded[:, y : y + height, x : x + width]
            near = np.exp(-((there - smooth) ** 2) / (2 * 40.0**2))
            total, weight = total + near * there, weight + near
    grey = smooth if smooth.ndim == 3 else smooth.mean(axis=3)
    edge = grey < uniform_filter(grey, size=(1, 5, 5)) - 8
    return np.where(edge if smooth.ndim == 3 else edge[..., None], 0, total / weight).astype(np.uint8)


def _foreign_images(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Images of the other bundled set, brought to size and colours; of two candidates the one whose mean grey value differs more."""
    from PIL import Image

    height, width = pixels.shape[1:3]
    ours = pixels.mean()
    found = []
    for source in (FOREIGN, ALTERNATIVE):
        other = load(source)
        picked = [other.images(row, row + 1)[0] for row in rng.integers(0, len(other), len(pixels)).tolist()]
        mode = "L" if pixels.ndim == 3 else "RGB"
        found.append(np.stack([np.asarray(one.convert(mode).resize((width, height), Image.Resampling.BILINEAR)) for one in picked if one]))
    return max(found, key=lambda each: abs(float(each.mean()) - float(ours)))


def _zoomed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    from PIL import Image

    height, width = pixels.shape[1:3]
    left, top = (width - width / ZOOM) / 2, (height - height / ZOOM) / 2
    box = (left, top, width - left, height - top)
    return np.stack([np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR, box=box)) for one in pixels])


def _shifted(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = pixels.shape[1:3]
    far = min(SHIFT, height // 3, width // 3)
    border = ((0, 0), (far, far), (far, far)) + ((0, 0),) * (pixels.ndim - 3)
    filled = np.where(
        (rng.random(len(pixels)) < 0.5).reshape((-1,) + (1,) * (pixels.ndim - 1)),
        np.pad(pixels, border, mode="reflect"),
        np.pad(pixels, border),
    )
    y, x = (far + far * rng.choice([-1, 1], len(pixels)) for _ in range(2))
    return np.stack([one[j : j + height, i : i + width] for one, j, i in zip(filled, y, x, strict=True)])


def _noisy_vectors(values: NDArray[np.float32], rows: Codes, rng: np.random.Generator) -> NDArray[np.float32]:
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    noise = rng.normal(0, 1, (len(rows), values.shape[1])) * 0.5 * np.abs(values).max(axis=0)
    return np.asarray(np.clip(values[rows] + noise, low, high), np.float32)


def _atypical(values: NDArray[np.float32], rows: Codes, rng: np.random.Generator) -> NDArray[np.float32]:
    """One column a row, from the half per cent at either end."""
    changed = values[rows].copy()
    order = np.sort(values, axis=0)
    tail = max(1, len(values) // 200)
    column, end = rng.integers(0, values.shape[1], len(rows)), rng.random(len(rows)) < 0.5
    depth = rng.integers(0, tail, len(rows))
    changed[np.arange(len(rows)), column] = np.where(end, order[depth, column], order[-1 - depth, column])
    return changed


def _foreign_texts(data: Dataset, count: int, rng: np.random.Generator) -> list[str]:
    other = load(FOREIGN_TEXT)
    if np.isin(data.input_hashes[:1000], other.input_hashes).any():
        raise ColumnError(f'The rows of "{data.source}" are those of {FOREIGN_TEXT}, from which far_ood takes texts. Leave that kind out.')
    texts = other.texts(0, len(other))
    return [texts[row] or "" for row in rng.integers(0, len(texts), count).tolist()]


_IMAGES: Final[Mapping[str, Callable[[Pixels, np.random.Generator], Pixels]]] = {
    "near_ood": _noisy,
    "domain_shift": _cartoon,
    "far_ood": _foreign_images,
    "zoom": _zoomed,
    "crop_shift": _shifted,
}
_VECTORS: Final = {"near_ood": _noisy_vectors, "atypical": _atypical}


def _pixels(data: Dataset) -> Pixels:
    """All images at the size of the first, which most sets share; ColumnError where one does not decode."""
    images = data.images(0, len(data))
    broken = [row for row, image in enumerate(images) if image is None]
    if broken:
        raise ColumnError(f'Row {broken[0]} of "{data.source}" does not decode ({len(broken)} in all). Drop such rows before a bench.')
    first = images[0]
    assert first is not None, "none is broken"
    mode = "L" if first.mode in ("L", "1", "I;16", "I", "LA") else "RGB"
    same = [image.convert(mode) if image.size == first.size else image.convert(mode).resize(first.size) for image in images if image]
    return np.stack([np.asarray(image, np.uint8) for image in same])


def _relabelled(data: Dataset, codes: Codes) -> Dataset:
    """The rows with other labels, in the column's own type: each class's value is taken from a row that bears it."""
    assert data.label is not None, "labels were read"
    table = _table(data)
    first = np.zeros(len(data.label_names), np.int64)
    known, where = np.unique(data.labels, return_index=True)
    first[known] = where
    values = table.column(data.label).take(pa.array(first[codes]))
    return _made(data, table.set_column(table.schema.get_field_index(data.label), table.schema.field(data.label), values))


def _table(data: Dataset) -> pa.Table:
    return data.table.with_format("arrow")[:]


def _made(data: Dataset, table: pa.Table) -> Dataset:
    import datasets

    made: datasets.Dataset = datasets.Dataset(table.cast(data.features.arrow_schema))
    return load(made, input=list(data.inputs), label=data.label)
