"""What follows a convolution in the ConvNet, instance norm, ReLU and mean, as one function with both derivatives written out.

Matching differentiates every step twice. Of single operations autograd makes some forty walks over the activations a step, which is most of
the time that a narrow ConvNet takes; written out, there are half as many.
"""

from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

EPS: Final = 1e-5  # of GroupNorm
PLANE: Final = (2, 3)


def norm_relu_pool(z: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Instance norm with scale and offset (c,), ReLU, 2x2 mean: (b, c, h, w) -> (b, c, h // 2, w // 2). Differentiable twice.

    A constant added to a plane of `z` changes nothing.
    """
    pooled: Tensor = _Forward.apply(z, scale, offset)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return pooled


class _Forward(Function):
    """x is the normalised plane, y = scale x + offset, `on` where y > 0. With P the 2x2 mean, p = scale P(on x) + offset P(on)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        x = z - z.mean(PLANE, keepdim=True)
        r = torch.rsqrt((x * x).mean(PLANE, keepdim=True) + EPS)
        x.mul_(r)
        on = torch.addcmul(_along(offset), x, _along(scale)).gt_(0)
        on_x, on_one = functional.avg_pool2d(on * x, 2), functional.avg_pool2d(on, 2)
        ctx.save_for_backward(z, scale, x, r, on, on_x, on_one)
        return _along(scale) * on_x + _along(offset) * on_one

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = _Backward.apply(slopes[0], *ctx.saved_tensors)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return found


class _Backward(Function):
    """From dp to dz, dscale and doffset. With e = dy, which is dp / 4 where `on`, k = scale r, and means <> over a plane:

    dz = k (e - <e> - x <e x>). The means are those of what is pooled already, a fourth as long.
    """

    @staticmethod
    def forward(
        ctx: Any, slope: Tensor, z: Tensor, scale: Tensor, x: Tensor, r: Tensor, on: Tensor, on_x: Tensor, on_one: Tensor
    ) -> tuple[Tensor, ...]:
        n, k = x.shape[2] * x.shape[3], _along(scale) * r
        e_sum, ex_sum = (slope * on_one).sum(PLANE, keepdim=True), (slope * on_x).sum(PLANE, keepdim=True)
        dz = torch.addcmul(-k * e_sum / n, x, -k * ex_sum / n).addcmul_(_spread(slope * (k / 4), on), on)
        ctx.save_for_backward(slope, scale, x, r, on, on_x, on_one, e_sum / n, ex_sum / n)
        return dz, ex_sum.sum((0, 2, 3)), e_sum.sum((0, 2, 3))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        # Of u dz + v dscale + w doffset, which depend on z through x and r: dx_j/dz_i = r (1_ij - 1/n - x_i x_j/n), dr/dz_i = -r^2 x_i/n.
        slope, scale, x, r, on, on_x, on_one, e, ex = ctx.saved_tensors
        u, v, w = slopes[0], _along(slopes[1]), _along(slopes[2])
        n, k = x.shape[2] * x.shape[3], _along(scale) * r
        on_u = functional.avg_pool2d(on * u, 2)
        u_mean, ux, ue = u.mean(PLANE, keepdim=True), (u * x).mean(PLANE, keepdim=True), (slope * on_u).sum(PLANE, keepdim=True) / n
        by_e, by_on = v - k * ux, w - k * u_mean
        dslope = (k * on_u).addcmul_(by_on, on_one).addcmul_(by_e, on_x)
        straight = ue - u_mean * e - ux * ex  # n k times it is u dz
        by_one = k * u_mean * ex - by_e * e
        by_x = k * (2 * ux * ex - straight) - v * ex
        dz = torch.addcmul(r * by_one, u, -r * k * ex).addcmul_(x, r * by_x).addcmul_(_spread(slope * (r * by_e / 4), on), on)
        return dslope, dz, n * (r * straight).sum((0, 2, 3)), None, None, None, None, None


def _along(channels: Tensor) -> Tensor:
    return channels.view(1, -1, 1, 1)


def _spread(pooled: Tensor, like: Tensor) -> Tensor:
    """Each number to the four places that it came from; an odd side's last row or column has none."""
    wide = functional.interpolate(pooled, scale_factor=2.0)
    down, right = like.shape[2] - wide.shape[2], like.shape[3] - wide.shape[3]
    return functional.pad(wide, (0, right, 0, down)) if down or right else wide
