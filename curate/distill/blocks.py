"""What follows a convolution in the ConvNet, instance norm, ReLU and mean, as one function with both derivatives written out.

Matching differentiates every step twice. Of single operations autograd makes some forty walks over the activations a step, which is most of
the time that a narrow ConvNet takes; written out, there are half as many.

x is the normalised plane, r what it was multiplied by, y = scale x + offset, `on` where y > 0, <> a mean over the plane, P the 2x2 mean:
p = P(relu(y)) = scale P(on x) + offset P(on). With e = dp / 4 where `on`, and k = scale r, the first derivative is
dz = k (e - <e> - x <e x>).
"""

from typing import Any, Final, NamedTuple

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


class Kept(NamedTuple):
    """What the derivatives are made of: x and on (b, c, h, w), P(on x) and P(on) a fourth of it, r and k (b, c, 1, 1)."""

    x: Tensor
    on: Tensor
    on_x: Tensor
    on_one: Tensor
    r: Tensor
    k: Tensor

    @property
    def n(self) -> int:
        """Places in a plane."""
        return self.x.shape[2] * self.x.shape[3]


class Along(NamedTuple):
    """A direction: `u` in z, `v` in scale; P(on u), <u>, <u x>, and v - k <u x>."""

    u: Tensor
    v: Tensor
    on_u: Tensor
    mean: Tensor
    ux: Tensor
    by_e: Tensor


def forward(z: Tensor, scale: Tensor, offset: Tensor) -> tuple[Tensor, Kept]:
    """p, and what is to be kept of it."""
    x = z - z.mean(PLANE, keepdim=True)
    r = torch.rsqrt((x * x).mean(PLANE, keepdim=True) + EPS)
    x.mul_(r)
    on = torch.addcmul(_along(offset), x, _along(scale)).gt_(0)
    kept = Kept(x, on, functional.avg_pool2d(on * x, 2), functional.avg_pool2d(on, 2), r, _along(scale) * r)
    return _along(scale) * kept.on_x + _along(offset) * kept.on_one, kept


def backward(slope: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
    """dz from dp, and <e> and <e x>, which are means of what is pooled already, a fourth as long."""
    e, ex = _means(slope, kept)
    return _bent(kept, -kept.k * e, -kept.k * ex, slope * (kept.k / 4)), e, ex


def along(u: Tensor, v: Tensor, w: Tensor, kept: Kept) -> tuple[Tensor, Along]:
    """How p changes along u in z and along v and w in scale and offset, (c,); and what `second` needs of it."""
    on_u, mean, ux = functional.avg_pool2d(kept.on * u, 2), u.mean(PLANE, keepdim=True), (u * kept.x).mean(PLANE, keepdim=True)
    by_e = _along(v) - kept.k * ux
    changed = (kept.k * on_u).addcmul_(_along(w) - kept.k * mean, kept.on_one).addcmul_(by_e, kept.on_x)
    return changed, Along(u, _along(v), on_u, mean, ux, by_e)


def second(slope: Tensor, way: Along, kept: Kept, e: Tensor, ex: Tensor, besides: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The derivatives by z and scale of what `along` gives, times `slope`, (b, c, h, w) and (c,); e and ex are `backward`'s of it.

    `besides` is a dp whose dz is to be added.
    """
    # It depends on z through x and r alone: dx_j/dz_i = r (1_ij - 1/n - x_i x_j/n), dr/dz_i = -r^2 x_i/n.
    k, r = kept.k, kept.r
    straight = (slope * way.on_u).sum(PLANE, keepdim=True) / kept.n - way.mean * e - way.ux * ex  # n k times it is u dz
    by_one = r * (k * way.mean * ex - way.by_e * e)
    by_x = r * (k * (2 * way.ux * ex - straight) - way.v * ex)
    by_on = slope * (r * way.by_e / 4)
    dscale = kept.n * r * straight
    if besides is not None:
        e_too, ex_too = _means(besides, kept)
        by_one, by_x, by_on = by_one - k * e_too, by_x - k * ex_too, by_on.addcmul_(besides, k / 4)
        dscale = dscale + kept.n * ex_too
    return _bent(kept, by_one, by_x, by_on).addcmul_(way.u, -r * k * ex), dscale.sum((0, 2, 3))


class _Forward(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        pooled, kept = forward(z, scale, offset)
        ctx.save_for_backward(z, scale, *kept)
        return pooled

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = _Backward.apply(slopes[0], *ctx.saved_tensors)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return found


class _Backward(Function):
    @staticmethod
    def forward(ctx: Any, slope: Tensor, z: Tensor, scale: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
        kept = Kept(*parts)
        dz, e, ex = backward(slope, kept)
        ctx.save_for_backward(slope, e, ex, *kept)
        return dz, kept.n * ex.sum((0, 2, 3)), kept.n * e.sum((0, 2, 3))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        slope, e, ex, *parts = ctx.saved_tensors
        kept = Kept(*parts)
        dslope, way = along(slopes[0], slopes[1], slopes[2], kept)
        return dslope, *second(slope, way, kept, e, ex), *[None] * len(parts)


def _means(slope: Tensor, kept: Kept) -> tuple[Tensor, Tensor]:
    e, ex = ((slope * part).sum(PLANE, keepdim=True) / kept.n for part in (kept.on_one, kept.on_x))
    return e, ex


def _bent(kept: Kept, by_one: Tensor, by_x: Tensor, by_on: Tensor) -> Tensor:
    """by_one + by_x x + by_on where `on`, each of whose numbers goes to the four places that it stands for; an odd side's last has none."""
    wide = functional.interpolate(by_on, scale_factor=2.0)
    down, right = (kept.x.shape[axis] - wide.shape[axis] for axis in PLANE)
    wide = functional.pad(wide, (0, right, 0, down)) if down or right else wide
    return torch.addcmul(by_one, kept.x, by_x).addcmul_(wide, kept.on)


def _along(channels: Tensor) -> Tensor:
    return channels.view(1, -1, 1, 1)
