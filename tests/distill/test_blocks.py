import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from curate.distill.blocks import norm_relu_pool


def double(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("sides", [(4, 6), (5, 4)], ids=str)
def test_a_block_is_instance_norm_relu_and_mean_to_the_second_derivative(sides):
    z, scale, offset = double(2, 3, *sides), double(3, seed=1), double(3, seed=2)

    plain = functional.avg_pool2d(torch.relu(functional.group_norm(z, 3, scale, offset)), 2)

    torch.testing.assert_close(norm_relu_pool(z, scale, offset), plain)
    assert gradcheck(norm_relu_pool, (z, scale, offset))
    assert gradgradcheck(norm_relu_pool, (z, scale, offset))


def test_a_constant_before_the_norm_changes_nothing():
    z, scale, offset = double(2, 3, 4, 4), double(3, seed=1), double(3, seed=2)

    torch.testing.assert_close(norm_relu_pool(z + 5, scale, offset), norm_relu_pool(z, scale, offset))
