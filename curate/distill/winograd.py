"""3x3 convolutions with a fourth of the multiplications, for wide layers on a CPU, where they are nearly the whole cost.

Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", F(4x4, 3x3): 6x6 tiles, kernels and 4x4 outputs are taken to where
a convolution is a product at each of 36 places, which for many channels and tiles is 36 matrix products. In exact arithmetic that is the
same; in float32 it is off by some 2e-6 of its length, four times what the direct sum is.
"""

from functools import cache, cached_property
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

NARROWEST: Final = 96  # channels on either side; below, the ways there and back cost what the multiplications save
AT_ONCE: Final = 1 << 12  # pixels of a channel, so that what they come to stays in the cache

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


class Planes:
    """Images or their slopes, (b, groups * c, h, w) with channels innermost in memory, and what they come to there, worked out once."""

    def __init__(self, x: Tensor, groups: int) -> None:
        self.x, self.groups = x, groups

    @cached_property
    def as_input(self) -> list[list[Tensor]]:
        """By group and part, (36, tiles, c)."""
        return [[_tiles(part) for part in parts] for parts in self._parts]

    @cached_property
    def as_slope(self) -> list[list[Tensor]]:
        """The same of an output's slope."""
        return [[_slopes(part) for part in parts] for parts in self._parts]

    @property
    def _parts(self) -> list[tuple[Tensor, ...]]:
        """Few images at a time, as many of the input as of the output."""
        groups = self.x.permute(0, 2, 3, 1).chunk(self.groups, 3)
        return [torch.split(group, max(1, AT_ONCE // (self.x.shape[2] * self.x.shape[3]))) for group in groups]


def pays(x: Tensor, kernel: Tensor, padding: int) -> bool:
    """Whether a convolution of (b, groups * c, h, w) with (groups * o, c, 3, 3) is one that these functions take, and sooner."""
    groups = x.shape[1] // kernel.shape[1]
    wide = min(kernel.shape[1], kernel.shape[0] // groups) >= NARROWEST
    return wide and padding == 1 and x.shape[2] % 4 == 0 and x.shape[3] % 4 == 0 and x.device.type == "cpu"


def convolve(x: Planes, kernel: Tensor) -> Tensor:
    """`conv2d` with padding 1."""
    found = []
    for parts, weights in zip(x.as_input, kernel.chunk(x.groups), strict=True):
        there = _mapped(KERNEL, weights.permute(2, 3, 1, 0)).view(36, *weights.shape[1::-1])  # (36, c, o)
        found.append(_outputs([torch.bmm(part, there) for part in parts], x.x.shape))
    return _joined(found, 3).permute(0, 3, 1, 2)


def to_input(slope: Planes, kernel: Tensor) -> Tensor:
    """The slope of `convolve`'s input from that of its output."""
    o, c = kernel.shape[0] // slope.groups, kernel.shape[1]
    turned = kernel.reshape(slope.groups, o, c, 3, 3).transpose(1, 2).reshape(slope.groups * c, o, 3, 3)
    return convolve(slope, turned.flip(2, 3))


def to_kernel(slope: Planes, x: Planes) -> Tensor:
    """The slope of the kernel."""
    found = []
    for parts, slopes in zip(x.as_input, slope.as_slope, strict=True):
        there, *more = (torch.bmm(part.mT, behind) for part, behind in zip(parts, slopes, strict=True))  # (36, c, o)
        for one in more:
            there += one
        back = torch.mm(_matrix(KERNEL, there.dtype).T, there.view(36, -1))
        found.append(back.view(3, 3, *there.shape[1:]).permute(3, 2, 0, 1))
    return _joined(found, 0)


def _joined(parts: list[Tensor], axis: int) -> Tensor:
    return torch.cat(parts, axis) if len(parts) > 1 else parts[0]


def _tiles(images: Tensor) -> Tensor:
    """Of (b, h, w, c), transformed: (36, tiles, c). Tiles overlap by two; the border is 0."""
    b, h, w, c = images.shape
    padded = functional.pad(images, (0, 0, 1, 1, 1, 1))
    image, row, column, _ = padded.stride()
    tiles = padded.as_strided((6, 6, b, h // 4, w // 4, c), (row, column, image, 4 * row, 4 * column, 1))
    return _mapped(TILE, tiles).view(36, -1, c)


def _outputs(parts: list[Tensor], shape: torch.Size) -> Tensor:
    """Parts of (36, tiles, o) back to (b, h, w, o)."""
    h, w = shape[2:]
    found = []
    for there in parts:
        tiles = torch.mm(_matrix(OUTPUT, there.dtype), there.view(36, -1)).view(4, 4, -1, h // 4, w // 4, there.shape[2])
        found.append(tiles.permute(2, 3, 0, 4, 1, 5).reshape(-1, h, w, there.shape[2]))
    return _joined(found, 0)


def _slopes(slope: Tensor) -> Tensor:
    """What `_outputs` gives, taken the other way by its transpose: (b, h, w, o) to (36, tiles, o)."""
    b, h, w, o = slope.shape
    tiles = slope.reshape(b, h // 4, 4, w // 4, 4, o).permute(2, 4, 0, 1, 3, 5)
    return torch.mm(_matrix(OUTPUT, slope.dtype).T, tiles.reshape(16, -1)).view(36, -1, o)


def _mapped(rule: tuple[tuple[float, ...], ...], tiles: Tensor) -> Tensor:
    return torch.mm(_matrix(rule, tiles.dtype), tiles.reshape(len(rule[0]) ** 2, -1))


@cache
def _matrix(rule: tuple[tuple[float, ...], ...], dtype: torch.dtype) -> Tensor:
    """The rule for columns and rows at once."""
    one = torch.tensor(rule, dtype=torch.float64)
    return torch.kron(one, one).to(dtype)
