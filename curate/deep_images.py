"""Grey images of 16 bits and more, as microscopes and scanners write them, in the 8 bits that networks here read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

DEEP: Final = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
# Images that tell how many of the bits are used.
DEPTH_ROWS: Final = 64


def white_of(images: "Sequence[Image.Image]") -> float:
    """The largest number of as many bits as the brightest pixel takes, 255 at least; 1 where all are fractions of one."""
    deep = [np.asarray(image, np.float64) for image in images if image.mode in DEEP]
    brightest = max((float(np.nanmax(pixels, initial=0, where=np.isfinite(pixels))) for pixels in deep), default=0.0)
    if brightest <= 1 and all(image.mode == "F" for image in images if image.mode in DEEP):
        return 1.0
    return float(max(2 ** int(brightest).bit_length() - 1, 255))


def in_eight_bits(image: "Image.Image", white: float) -> "Image.Image":
    """The image in 0 … 255, `white` and what is above it 255, what is below 0 or no number 0; `Image.convert` would cut at 255."""
    from PIL import Image

    pixels = np.nan_to_num(np.asarray(image, np.float64), nan=0, posinf=white, neginf=0)
    return Image.fromarray((pixels * (255 / white)).clip(0, 255).astype(np.uint8))
