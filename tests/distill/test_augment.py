import collections

import pytest
import torch

from curate.distill.augment import DSA, OPERATIONS, Draw, color, crop, cutout, flip, rotate, scale, strategy_for
from curate.errors import OptionError

EVERYTHING = "color_crop_cutout_flip_scale_rotate"


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def numbers(*u: float) -> torch.Tensor:
    return torch.tensor([[*u, *[0.0] * (3 - len(u))]])


def test_middle_colours_are_no_change():
    x = torch.randn(1, 3, 4, 4)

    torch.testing.assert_close(color(x, numbers(0.5, 0.5, 0.5)), x)


def test_brightness_adds_and_the_others_spread():
    x = torch.tensor([[[[1.0]], [[3.0]]]])  # one image, two channels, one pixel: grey is 2

    brighter = color(x, numbers(1.0, 0.5, 0.5))
    duller = color(x, numbers(0.5, 0.25, 0.5))
    harder = color(x, numbers(0.5, 0.5, 1.0))

    assert brighter.flatten().tolist() == [1.5, 3.5]
    assert duller.flatten().tolist() == [1.5, 2.5]
    assert harder.flatten().tolist() == [0.5, 3.5]


def test_a_crop_shifts_by_up_to_an_eighth_and_brings_in_zeros():
    x = torch.arange(1.0, 65.0).view(1, 1, 8, 8)

    up_left = crop(x, numbers(0.999, 0.999))  # one down the source, one to its right
    down = crop(x, numbers(0.0, 0.5))

    assert torch.equal(up_left[0, 0, :7, :7], x[0, 0, 1:, 1:])
    assert up_left[0, 0, 7].sum() == 0
    assert up_left[0, 0, :, 7].sum() == 0
    assert torch.equal(down[0, 0, 1:], x[0, 0, :7])


@pytest.mark.parametrize(("u", "rows"), [(0.0, [0, 1]), (0.5, [2, 3, 4, 5]), (0.999, [6, 7])], ids=["top", "middle", "bottom"])
def test_a_cut_out_box_is_half_a_side_and_ends_at_the_border(u, rows):
    cut = cutout(torch.ones(1, 1, 8, 8), numbers(u, 0.5))

    assert torch.nonzero(cut[0, 0, :, 3] == 0).flatten().tolist() == rows
    assert torch.nonzero(cut[0, 0, rows[0]] == 0).flatten().tolist() == [2, 3, 4, 5]


def test_half_of_the_images_are_flipped():
    x = torch.tensor([[[[1.0, 2.0]]]])

    assert flip(x, numbers(0.4)).flatten().tolist() == [2.0, 1.0]
    assert flip(x, numbers(0.6)).flatten().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("operation", [scale, rotate])
def test_sampling_is_that_of_the_library(operation):
    x, u = torch.randn(5, 2, 7, 9, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)
    if operation is scale:
        factors = u[:, :2] * (1.2 - 1 / 1.2) + 1 / 1.2
        matrix = torch.diag_embed(factors)
    else:
        angle = torch.deg2rad((u[:, 0] - 0.5) * 30)
        matrix = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(5, 2, 2)
    grid = torch.nn.functional.affine_grid(torch.cat([matrix, torch.zeros(5, 2, 1)], 2), [5, 2, 7, 9], align_corners=True)

    expected = torch.nn.functional.grid_sample(x, grid, align_corners=True)

    torch.testing.assert_close(operation(x, u), expected)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_its_gradient_and_batches_under_vmap(name):
    x, u = torch.randn(3, 2, 3, 6, 6, dtype=torch.float64), torch.rand(3, 2, 3, dtype=torch.float64)

    together = torch.vmap(OPERATIONS[name])(x, u)

    assert torch.autograd.gradcheck(lambda one: OPERATIONS[name](one, u[0]), x[0].clone().requires_grad_())
    torch.testing.assert_close(together, torch.stack([OPERATIONS[name](x[i], u[i]) for i in range(3)]))


def test_a_replayed_draw_gives_the_same_bytes(rng):
    x = torch.randn(4, 3, 8, 8)

    for _ in range(12):
        draw = DSA(EVERYTHING).draw(4, rng)
        assert torch.equal(draw(x), Draw(draw.operation, draw.u.clone())(x))


def test_operations_are_drawn_equally_often(rng):
    drawn = collections.Counter(DSA(EVERYTHING).draw(1, rng).operation for _ in range(6000))

    assert set(drawn) == set(OPERATIONS)
    assert all(abs(count - 1000) < 150 for count in drawn.values())  # five standard deviations


def test_siamese_rows_share_their_numbers_and_others_do_not(rng):
    x = torch.randn(1, 1, 8, 8).expand(6, 1, 8, 8)

    shared, own = DSA("rotate").draw(6, rng, siamese=True)(x), DSA("rotate").draw(6, rng)(x)

    assert torch.equal(shared, shared[:1].expand(6, 1, 8, 8))
    assert not torch.allclose(own[0], own[1])


def test_no_strategy_is_no_change(rng):
    x = torch.randn(2, 1, 8, 8)

    assert DSA("").draw(2, rng)(x) is x


def test_grey_images_are_not_mirrored_by_default():
    assert "flip" not in strategy_for(None, 1)
    assert "flip" in strategy_for(None, 3)
    assert strategy_for("none", 3) == ""
    assert strategy_for("crop_flip", 1) == "crop_flip"


def test_an_unknown_operation_is_an_error_that_guesses():
    with pytest.raises(OptionError, match=r'No augmentation "rotation"\. Did you mean "rotate"'):
        DSA("crop_rotation")
