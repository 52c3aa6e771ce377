"""Rows that look unlike data: texts of no letters, of one letter, of markup or mojibake, of another length; images of one colour or another size."""

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
_BLOCK: Final = 4096
_MARKUP: Final = re.compile(r"</?(?:div|span|p|br|a|li|ul|td|tr|table|script|img|html|body)\b[^>]*>|&(?:nbsp|amp|lt|gt|quot|#\d+);", re.IGNORECASE)
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
    return {int(row): "very long" if lengths[row] > middle else "very short" for row in lengthy} | found


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
    sizes = Counter(form for form in forms if form is not None)
    if sizes and sizes.most_common(1)[0][1] >= 0.9 * sum(sizes.values()):
        usual = sizes.most_common(1)[0][0]
        found = {row: f"{form[0]} x {form[1]} pixels" for row, form in enumerate(forms) if form not in (None, usual)} | found  # type: ignore[index]
    return found


def _is_plain(extrema: Iterable[object]) -> bool:
    """Whether an image has one value in every band; PIL gives (low, high) of one band, or one such pair a band."""
    bands = list(extrema)
    pairs = bands if isinstance(bands[0], tuple) else [tuple(bands)]
    return all(pair[0] == pair[1] for pair in pairs)  # type: ignore[index]
