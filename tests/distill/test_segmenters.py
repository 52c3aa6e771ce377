"""Segmenters: superpixels find what differs, windows cover, and what a segmenter of one's own may get wrong."""

import numpy as np
import pytest
import torch

from curate.distill.segmenters import ROUNDS, SLIC, Grid, checked, find_segmenter
from curate.errors import OptionError, UnknownNameError, UsageError


def naive_slic(image, regions):
    """K-means of (colour, place) in a loop over pixels, from SLIC's own starting pixels."""
    from curate.distill.segmenters import _grid

    channels, height, width = image.shape
    flat = image.reshape(channels, -1).T.astype(np.float64)
    flat = (flat - flat.mean(0)) / max(np.linalg.norm(flat.std(0)), 1e-3)
    points = np.array([[*flat[i * width + j], i / height * 12**0.5, j / width * 12**0.5] for i in range(height) for j in range(width)])
    centres = points[_grid(regions, height, width, torch.device("cpu")).numpy()]
    for _ in range(ROUNDS):
        of = np.array([np.argmin([np.sum((p - c) ** 2) for c in centres]) for p in points])
        centres = np.array([points[of == k].mean(0) if (of == k).any() else centres[k] for k in range(regions)])
    of = np.array([np.argmin([np.sum((p - c) ** 2) for c in centres]) for p in points]).reshape(height, width)
    boxes = []
    for k in range(regions):
        rows, columns = np.nonzero(of == k)
        boxes.append([rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1] if len(rows) else [0, 0, 0, 0])
    return boxes


def test_a_bright_object_is_a_part_of_its_own():
    image = torch.zeros(1, 1, 12, 12)
    image[0, 0, 2:6, 7:11] = 255

    boxes = SLIC(4).boxes(image)[0].tolist()

    assert [2, 7, 4, 4] in boxes


def test_superpixels_are_those_of_a_loop_over_pixels_and_do_not_depend_on_the_batch():
    pixels = 255 * torch.rand(5, 3, 9, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    found = SLIC(6).boxes(pixels)

    assert found.tolist() == [naive_slic(image.numpy(), 6) for image in pixels]
    assert torch.equal(found[3:], SLIC(6).boxes(pixels[3:]))


def test_an_image_of_one_colour_is_parted_by_place_alone():
    boxes = SLIC(4).boxes(torch.full((1, 1, 8, 8), 9.0))[0].tolist()

    assert boxes == [[0, 0, 4, 4], [0, 4, 4, 4], [4, 0, 4, 4], [4, 4, 4, 4]]


def test_windows_cover_the_image():
    boxes = Grid(9).boxes(torch.zeros(2, 1, 8, 8))

    assert boxes.shape == (2, 9, 4)
    assert sorted({tuple(box) for box in boxes[0, :, :2].tolist()}) == [(i, j) for i in (0, 2, 4) for j in (0, 2, 4)]
    assert (boxes[..., 2:] == 4).all()


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        (torch.zeros(2, 3, 4), "torch.float32"),
        (torch.zeros(1, 3, 4, dtype=torch.long), "(1, 3, 4)"),
        (torch.tensor([[[0, 0, 9, 2]], [[0, 0, 1, 1]]]), "outside of its image of 8 x 8"),
        (torch.tensor([[[-1, 0, 3, 2]], [[0, 0, 1, 1]]]), "outside of its image of 8 x 8"),
    ],
    ids=["floats", "too few images", "too tall", "before the image"],
)
def test_parts_that_cannot_be_are_refused(boxes, says):
    with pytest.raises(OptionError) as error:
        checked(boxes, torch.zeros(2, 1, 8, 8), "mine.py:Mine")

    assert says in str(error.value)


def test_a_name_that_is_none_is_told_apart(tmp_path):
    (tmp_path / "mine.py").write_text("class Empty:\n    pass\n")

    with pytest.raises(UnknownNameError, match='Did you mean "slic"'):
        find_segmenter("slik", 4)
    with pytest.raises(UsageError, match="does not exist"):
        find_segmenter(str(tmp_path / "absent.py:Mine"), 4)
    with pytest.raises(OptionError, match="no class with a method"):
        find_segmenter(f"{tmp_path}/mine.py:Empty", 4)
