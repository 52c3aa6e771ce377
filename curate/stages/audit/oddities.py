"""Rows that look unlike data: texts of one letter, markup, mojibake or unlikely letters; images of one colour, of noise, of odd size."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.data import Dataset
from curate.signals.encoders import joined_texts

FAR: Final = 6.0  # robust deviations of the logarithm of length
FEW_LETTERS: Final = 0.5
ONE_LETTER: Final = 0.5
_NOISY: Final = 0.85  # of the squared difference of pixels that are independent; pictures have under a half
_SMALLEST: Final = 16  # pixels a side, below which chance makes noise of a picture
_BLOCK: Final = 4096
_SYMBOLS: Final = 192  # ASCII, and 64 classes of what lies beyond
_MARKUP: Final = re.compile(
    r"</?(?:div|span|p|br|a|li|ul|td|tr|table|script|img|html|body)\b[^>]*>|&(?:nbsp|amp|lt|gt|quot|#\d+);", re.IGNORECASE
)
_BROKEN: Final = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f]|Ã[\x80-\xbf©¨¡³±]|â€[\x80-\xbf™œ\u201d\u2122]")


def odd_rows(data: Dataset) -> dict[int, str]:
    """The rows of texts or images that look odd, and why; none of other data."""
    if data.modality == "image":
        return _odd_images(data)
    if data.modality not in ("text", "text_pair", "chat"):
        return {}
    found: dict[int, str] = {}
    lengths = np.zeros(len(data))
    for start in range(0, len(data), _BLOCK):
        texts = joined_texts(data, start, min(start + _BLOCK, len(data)))
        lengths[start : start + len(texts)] = [len(text) for text in texts]
        found |= {row: why for row, text in enumerate(texts, start) if text.strip() and (why := _why_odd(text))}
    there = lengths > 0
    z = robust_z(np.log(lengths[there]))
    lengthy = np.flatnonzero(there)[np.abs(z) > FAR]
    middle = np.median(lengths[there]) if there.any() else 0.0
    unlikely = {int(row): "letters unlike the rest" for row in _unlikely(data)}
    return unlikely | {int(row): "very long" if lengths[row] > middle else "very short" for row in lengthy} | found


def _unlikely(data: Dataset) -> NDArray[np.int64]:
    """The texts whose pairs of characters are far less likely than most texts', by how often the set itself has these pairs.

    Two passes over the characters, no loop over rows. Keyboard noise and other languages fall out; a text of under 5 characters never does.
    """
    spans = [(start, min(start + _BLOCK, len(data))) for start in range(0, len(data), _BLOCK)]
    counts = np.ones((_SYMBOLS, _SYMBOLS))
    for start, stop in spans:
        pair, _ = _pairs(joined_texts(data, start, stop))
        counts += np.bincount(pair, minlength=_SYMBOLS**2).reshape(_SYMBOLS, _SYMBOLS)
    likely = np.log(counts / counts.sum(axis=1, keepdims=True)).reshape(-1)
    mean = np.full(len(data), np.nan)
    for start, stop in spans:
        pair, bounds = _pairs(joined_texts(data, start, stop))
        length = np.diff(bounds)
        long = np.flatnonzero(length >= 5)
        if len(long):
            sums = np.concatenate([[0.0], np.cumsum(likely[pair])])
            mean[start + long] = (sums[bounds[long + 1]] - sums[bounds[long]]) / length[long]
    known = np.flatnonzero(np.isfinite(mean))
    return known[robust_z(mean[known]) < -FAR]


def _pairs(texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each character with the one before it, a row end between texts, as one number; and where each text's pairs begin and end."""
    lengths = np.fromiter((len(text) + 1 for text in texts), np.int64, len(texts))
    points = np.frombuffer("".join(f"{text}\n" for text in texts).lower().encode("utf-32-le", "surrogatepass"), np.uint32)
    if len(points) != lengths.sum():  # a letter whose small form is two
        lengths = np.fromiter((len(text.lower()) + 1 for text in texts), np.int64, len(texts))
        points = np.frombuffer("".join(f"{text.lower()}\n" for text in texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    symbol = np.where(points < 128, points, 128 + points % 64).astype(np.int64)
    pair = np.concatenate([[ord("\n")], symbol[:-1]]) * _SYMBOLS + symbol
    return pair, np.concatenate([[0], np.cumsum(lengths)])


def robust_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the median in robust standard deviations, 1.4826 median absolute deviations; 0 where most values are equal."""
    if not len(values):
        return values
    away = values - np.median(values)
    scale = 1.4826 * float(np.median(np.abs(away)))
    return away / scale if scale > 0 else np.zeros_like(away)


def _why_odd(text: str) -> str:
    if _BROKEN.search(text):
        return "broken characters"
    visible = "".join(text.split())
    if len(visible) >= 4 and sum(map(str.isalnum, visible)) < FEW_LETTERS * len(visible):
        return "hardly a letter"
    if len(visible) >= 8 and Counter(visible).most_common(1)[0][1] > ONE_LETTER * len(visible):
        return "one letter repeated"
    return "markup" if _MARKUP.search(text) else ""


def _odd_images(data: Dataset) -> dict[int, str]:
    forms: list[tuple[int, int] | None] = []
    found: dict[int, str] = {}
    for start in range(0, len(data), _BLOCK):
        for row, image in enumerate(data.images(start, min(start + _BLOCK, len(data))), start):
            forms.append(None if image is None else image.size)
            if image is not None and _is_plain(image.getextrema()):
                found[row] = "one colour"
            elif image is not None and _is_noise(np.asarray(image.convert("L"), np.float32)):
                found[row] = "noise"
    sizes = Counter(form for form in forms if form is not None)
    if sizes and sizes.most_common(1)[0][1] >= 0.9 * sum(sizes.values()):
        usual = sizes.most_common(1)[0][0]
        found = {row: f"{form[0]} x {form[1]} pixels" for row, form in enumerate(forms) if form not in (None, usual)} | found
    return found


def _is_noise(pixels: NDArray[np.float32]) -> bool:
    """Whether a pixel says next to nothing about those beside it: their mean squared difference is then twice the variance."""
    if min(pixels.shape) < _SMALLEST:
        return False
    across, down = np.diff(pixels, axis=1), np.diff(pixels, axis=0)
    apart = (float(np.square(across).mean()) + float(np.square(down).mean())) / 2
    return apart > _NOISY * 2 * float(pixels.var())


def _is_plain(extrema: Iterable[object]) -> bool:
    """Whether an image has one value in every band; PIL gives (low, high) of one band, or one such pair a band."""
    bands = list(extrema)
    pairs = bands if isinstance(bands[0], tuple) else [tuple(bands)]
    return all(pair[0] == pair[1] for pair in pairs)  # type: ignore[index]
