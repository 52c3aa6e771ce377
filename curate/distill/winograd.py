"""3x3 convolutions with a fourth of the multiplications, for wide layers on a CPU, where they are nearly the whole cost.

Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", F(4x4, 3x3): 6x6 tiles, kernels and 4x4 outputs are taken to where
a convolution is a product at each of 36 places, which for many channels and tiles is 36 matrix products. In float32 the result is off by
some 2e-6 of its length, four times what the direct sum is; in exact arithmetic it is the same.
"""

from functools import cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

NARROWEST: Final = 96  # channels on either side; below, the ways there and back cost what the multiplications save
AT_ONCE: Final = 1 << 20  # numbers of transformed tiles, so that they stay in the cache

# Interpolation at 0, 1, -1, 2, -2 and infinity.
TILE: Final = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
KERNEL: Final = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
OUTPUT: Final = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def pays(x: Tensor, kernel: Tensor, padding: int) -> bool:
    """Whether a convolution of (b, groups * c, h, w) with (groups * o, c, 3, 3) is one that these functions take, and sooner."""
    groups = x.shape[1] // kernel.shape[1]
    wide = min(kernel.shape[1], kernel.shape[0] // groups) >= NARROWEST
    return wide and padding == 1 and x.shape[2] % 4 == 0 and x.shape[3] % 4 == 0 and x.device.type == "cpu"


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """`conv2d` with padding 1; channels innermost in memory, here and below."""
    found = []
    for images, weights in _grouped(x, kernel):
        there = _mapped(KERNEL, 3, weights.permute(2, 3, 1, 0)).view(36, *weights.shape[1::-1])  # (36, c, o)
        found.append(_joined([_outputs(torch.bmm(_tiles(part), there), part.shape) for part in _split(images)], 0))
    return _joined(found, 3).permute(0, 3, 1, 2)


def to_input(slope: Tensor, kernel: Tensor, groups: int) -> Tensor:
    """The slope of `convolve`'s input from that of its output."""
    turned = kernel.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1).flip(2, 3)  # type: ignore[no-untyped-call]
    return convolve(slope, turned)


def to_kernel(slope: Tensor, x: Tensor, groups: int) -> Tensor:
    """The slope of the kernel."""
    found = []
    for images, slopes in zip(_inner(x).chunk(groups, 3), _inner(slope).chunk(groups, 3), strict=True):
        parts = zip(_split(images), _split(slopes, images), strict=True)
        there, *more = (torch.bmm(_tiles(part).mT, _slopes(behind)) for part, behind in parts)  # (36, c, o)
        for one in more:
            there += one
        back = torch.mm(_matrix(KERNEL, there.dtype).T, there.view(36, -1))
        found.append(back.view(3, 3, *there.shape[1:]).permute(3, 2, 0, 1))
    return _joined(found, 0)


def _joined(parts: list[Tensor], axis: int) -> Tensor:
    return torch.cat(parts, axis) if len(parts) > 1 else parts[0]


def _grouped(x: Tensor, kernel: Tensor) -> list[tuple[Tensor, Tensor]]:
    groups = x.shape[1] // kernel.shape[1]
    return list(zip(_inner(x).chunk(groups, 3), kernel.chunk(groups), strict=True))


def _inner(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _split(images: Tensor, like: Tensor | None = None) -> tuple[Tensor, ...]:
    """Few images at a time; as many as of `like`."""
    h, w, c = (images if like is None else like).shape[1:]
    return torch.split(images, max(1, AT_ONCE * 16 // (36 * h * w * c)))


def _tiles(images: Tensor) -> Tensor:
    """Of (b, h, w, c), transformed: (36, tiles, c). Tiles overlap by two; the border is 0."""
    b, h, w, c = images.shape
    padded = functional.pad(images, (0, 0, 1, 1, 1, 1))
    image, row, column, _ = padded.stride()
    tiles = padded.as_strided((6, 6, b, h // 4, w // 4, c), (row, column, image, 4 * row, 4 * column, 1))
    return _mapped(TILE, 6, tiles).view(36, -1, c)


def _outputs(there: Tensor, shape: torch.Size) -> Tensor:
    """(36, tiles, o) back to (b, h, w, o)."""
    b, h, w, _ = shape
    tiles = torch.mm(_matrix(OUTPUT, there.dtype), there.view(36, -1)).view(4, 4, b, h // 4, w // 4, -1)
    return tiles.permute(2, 3, 0, 4, 1, 5).reshape(b, h, w, -1)


def _slopes(slope: Tensor) -> Tensor:
    """What `_outputs` gives, taken the other way by its transpose: (b, h, w, o) to (36, tiles, o)."""
    b, h, w, o = slope.shape
    tiles = slope.reshape(b, h // 4, 4, w // 4, 4, o).permute(2, 4, 0, 1, 3, 5)
    return torch.mm(_matrix(OUTPUT, slope.dtype).T, tiles.reshape(16, -1)).view(36, -1, o)


def _mapped(rule: tuple[tuple[float, ...], ...], side: int, tiles: Tensor) -> Tensor:
    return torch.mm(_matrix(rule, tiles.dtype), tiles.reshape(side * side, -1))


@cache
def _matrix(rule: tuple[tuple[float, ...], ...], dtype: torch.dtype) -> Tensor:
    """The rule for columns and rows at once."""
    one = torch.tensor(rule, dtype=torch.float64)
    return torch.kron(one, one).to(dtype)
