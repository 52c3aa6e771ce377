import io

import numpy as np
import pytest
from PIL import Image

from curate import png


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 2, 1), (4, 2, 2), (4, 2, 3), (4, 2, 4)], ids=str)
def test_pixels_come_back_as_they_were(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    image = Image.open(io.BytesIO(png.encode(pixels)))

    np.testing.assert_array_equal(np.asarray(image), pixels.squeeze(-1) if shape[-1] == 1 and len(shape) == 3 else pixels)


def test_pixels_that_do_not_lie_in_order_are_copied():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)

    assert png.encode(pixels.T) == png.encode(pixels.T.copy())
