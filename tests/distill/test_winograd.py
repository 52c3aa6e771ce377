import pytest
import torch
from torch.nn import functional

from curate.distill import winograd


def normal(*shape, seed=0, dtype=torch.float64):
    values = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return values.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("few", [False, True], ids=["at once", "in parts"])
def test_it_is_the_convolution_and_its_derivatives(groups, few, monkeypatch):
    monkeypatch.setattr(winograd, "AT_ONCE", 1 if few else winograd.AT_ONCE)
    x, kernel, slope = normal(3, 2 * groups, 8, 4), normal(3 * groups, 2, 3, 3, seed=1), normal(3, 3 * groups, 8, 4, seed=2)
    leaves = x.clone().requires_grad_(), kernel.clone().requires_grad_()
    plain = functional.conv2d(*leaves, padding=1, groups=groups)
    by_x, by_kernel = torch.autograd.grad(plain, leaves, slope)

    before, after = winograd.Planes(x, groups), winograd.Planes(slope, groups)
    torch.testing.assert_close(winograd.convolve(before, kernel), plain.detach())
    torch.testing.assert_close(winograd.to_input(after, kernel), by_x)
    torch.testing.assert_close(winograd.to_kernel(after, before), by_kernel)


def test_in_float32_it_is_off_by_a_few_millionths():
    x, kernel = normal(2, 128, 8, 8), normal(128, 128, 3, 3, seed=1)
    exact = functional.conv2d(x, kernel, padding=1)

    found = winograd.convolve(winograd.Planes(x.float(), 1), kernel.float())

    assert float((found - exact).norm()) < 1e-5 * float(exact.norm())


@pytest.mark.parametrize(
    ("x", "kernel", "padding", "pays"),
    [
        ((2, 128, 8, 8), (128, 128, 3, 3), 1, True),
        ((2, 256, 8, 8), (256, 128, 3, 3), 1, True),
        ((2, 3, 32, 32), (128, 3, 3, 3), 1, False),
        ((2, 16, 8, 8), (16, 16, 3, 3), 1, False),
        ((2, 128, 10, 8), (128, 128, 3, 3), 1, False),
        ((2, 128, 8, 8), (128, 128, 3, 3), 3, False),
    ],
    ids=["wide", "two groups", "few channels in", "narrow", "no whole tiles", "other padding"],
)
def test_it_is_taken_for_wide_layers_of_whole_tiles(x, kernel, padding, pays):
    assert winograd.pays(torch.empty(x), torch.empty(kernel), padding) == pays
