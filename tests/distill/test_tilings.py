"""Tilings: patches keep their pixels, boxes keep the image's shape, and the sides that do not divide."""

import pytest
import torch

from curate.distill.tilings import framed, tiled


def noise(n=3, channels=2, height=8, width=12):
    return 255 * torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(0))


def test_a_patch_of_a_tiles_size_is_copied_exactly():
    pixels = noise()
    boxes = torch.tensor([[[0, 0, 4, 6], [4, 6, 4, 6], [2, 3, 4, 6], [1, 0, 4, 6]]])

    made = tiled(pixels, torch.tensor([[0, 1, 2, 0]]), boxes)[0]

    assert torch.equal(made[:, :4, :6], pixels[0, :, :4, :6])
    assert torch.equal(made[:, :4, 6:], pixels[1, :, 4:, 6:])
    assert torch.equal(made[:, 4:, :6], pixels[2, :, 2:6, 3:9])
    assert torch.equal(made[:, 4:, 6:], pixels[0, :, 1:5, :6])


@pytest.mark.parametrize("box", [(0, 0, 8, 12), (1, 2, 6, 9), (3, 1, 5, 11)], ids=str)
def test_a_larger_patch_is_shrunk_as_interpolate_does_it_with_antialiasing(box):
    pixels = noise()
    top, left, tall, wide = box
    part = pixels[1:2, :, top : top + tall, left : left + wide]

    made = tiled(pixels, torch.ones(1, 4, dtype=torch.long), torch.tensor(box).expand(1, 4, 4))

    expected = torch.nn.functional.interpolate(part, (4, 6), mode="bilinear", antialias=True)
    torch.testing.assert_close(made[:, :, :4, 6:], expected, rtol=1e-5, atol=1e-3)  # float32 weights of pixels up to 255


def test_tiles_of_a_side_that_does_not_divide_fill_the_image():
    pixels = torch.full((1, 1, 7, 7), 3.0)

    made = tiled(pixels, torch.zeros(2, 9, dtype=torch.long), torch.tensor([0, 0, 7, 7]).expand(2, 9, 4))

    torch.testing.assert_close(made, pixels.expand(2, 1, 7, 7))


def test_a_frame_has_the_images_shape_encloses_its_box_and_stays_inside():
    boxes = torch.tensor([[0, 0, 1, 1], [2, 3, 5, 2], [7, 11, 1, 1], [0, 0, 8, 12], [3, 0, 2, 12]])

    found = framed(boxes, 8, 12, across=2)

    # by hand: no less than half a side; 5 of 8 lines want 8 of 12 columns; moved back inside; the whole; all columns want all lines
    assert found[:, 2:].tolist() == [[4, 6], [5, 8], [4, 6], [8, 12], [8, 12]]
    assert (found[:, :2] <= boxes[:, :2]).all()
    assert (found[:, :2] + found[:, 2:] >= boxes[:, :2] + boxes[:, 2:]).all()
    assert (found[:, :2] >= 0).all() and (found[:, 0] + found[:, 2] <= 8).all() and (found[:, 1] + found[:, 3] <= 12).all()
