"""The content of rows as a page shows it: a small picture, a piece of text, some numbers. Everything is data; nothing becomes markup."""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.data import Dataset
from curate.errors import ColumnError

if TYPE_CHECKING:
    from PIL import Image

MOST_BYTES: Final = 6 << 20  # of all rows together: the page stays below 10 MB
SIDE: Final = 96  # pixels of a picture, at most
CHARACTERS: Final = 400
STEP: Final = 256


class Cells:
    """The rows that are on the page, by number. Rows beyond the page's room are shown by number and label alone."""

    def __init__(self, data: Dataset | None) -> None:
        self.data = data
        self.labels = _labels(data)
        self.used = 0
        self._rows: dict[int, dict[str, Any]] = {}

    def show(self, rows: Iterable[int], *, most_bytes: int = MOST_BYTES) -> list[int]:
        """Puts rows on the page, up to `most_bytes` in all; gives them back as plain numbers."""
        wanted = [int(row) for row in rows]
        new = [row for row in dict.fromkeys(wanted) if row not in self._rows]
        for start in range(0, len(new), STEP):
            for row, cell in zip(new[start : start + STEP], self._read(new[start : start + STEP], most_bytes), strict=True):
                self._rows[row] = cell
        return wanted

    def as_json(self) -> dict[str, dict[str, Any]]:
        """row → {"label": code, "image": data URI or "text": piece of text}."""
        return {str(row): cell for row, cell in sorted(self._rows.items())}

    def _read(self, rows: Sequence[int], most_bytes: int) -> list[dict[str, Any]]:
        cells: list[dict[str, Any]] = [{"label": int(self.labels[row])} if self.labels is not None else {} for row in rows]
        if self.data is None or self.used >= most_bytes:
            return cells
        for cell, (kind, content) in zip(cells, self._content(self.data.select(np.array(rows))), strict=True):
            if self.used + len(content) <= most_bytes:
                cell[kind] = content
                self.used += len(content)
        return cells

    def _content(self, part: Dataset) -> list[tuple[str, str]]:
        if part.modality == "image":
            return [("image", thumbnail(image)) if image is not None else ("text", "(no image)") for image in part.images(0, len(part))]
        if part.modality in ("text", "chat"):
            return [("text", clipped(text)) for text in part.texts(0, len(part))]
        if part.modality == "text_pair":
            both = zip(part.texts(0, len(part)), part.texts(0, len(part), 1), strict=True)
            return [("text", f"{clipped(one, CHARACTERS // 2)} ⁄ {clipped(other, CHARACTERS // 2)}") for one, other in both]
        return [("text", clipped(" ".join(f"{value:.4g}" for value in row[:24]))) for row in part.matrix(0, len(part))]


def clipped(text: str | None, length: int = CHARACTERS) -> str:
    """The beginning of a text, on one line, control characters shown as ␀ and those that turn the reading direction left out."""
    if text is None:
        return "(missing)"
    words = " ".join(text[: 4 * length].split())
    shown = "".join("␀" if ord(char) < 32 or ord(char) == 127 else char for char in words if char not in _TURNING)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def thumbnail(image: "Image.Image") -> str:
    """A picture as a data URI: PNG where it is small, else JPEG."""
    from PIL import Image

    if image.mode in ("I;16", "I", "F"):
        pixels = np.asarray(image, np.float64)
        low, high = (float(np.nanmin(pixels)), float(np.nanmax(pixels))) if np.isfinite(pixels).any() else (0.0, 1.0)
        image = Image.fromarray((255 * np.nan_to_num((pixels - low) / ((high - low) or 1.0))).clip(0, 255).astype(np.uint8))
    image = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "L" if image.mode in ("1", "L") else "RGB")
    small = max(image.size) <= SIDE
    if not small:
        image.thumbnail((SIDE, SIDE))
    sink = io.BytesIO()
    if small or image.mode == "RGBA":
        image.save(sink, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(sink.getvalue()).decode()
    image.save(sink, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()


_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def _labels(data: Dataset | None) -> NDArray[np.int64] | None:
    """Class codes, or None: a regression target or a list of labels does not stop a report."""
    if data is None or data.label is None:
        return None
    try:
        return data.labels
    except ColumnError:
        return None
