"""DSA: differentiable augmentation of whole batches, whose draws are kept so that a second pass sees the same pictures.

Zhao & Bilen 2021, "Dataset Condensation with Differentiable Siamese Augmentation"; official code VICO-UoE/DatasetCondensation.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from curate.errors import OptionError, did_you_mean

PHOTOGRAPHS: Final = "color_crop_cutout_flip_scale_rotate"
SIGNS: Final = "color_crop_cutout_scale_rotate"  # digits and letters mean something else in a mirror
DRAWS: Final = 3  # uniform numbers that an operation uses at most, a row


@dataclass(frozen=True, eq=False)
class Draw:
    """One operation with its random numbers: `u` (b, 3), uniform in 0 … 1; (1, 3) where all rows share them. None does nothing.

    A function of images, (b, c, h, w) -> (b, c, h, w), affine in them; replayed, it gives the same bytes.
    """

    operation: str | None
    u: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x if self.operation is None else OPERATIONS[self.operation](x, self.u)


class DSA:
    """A strategy: operations by name, joined with "_", of which each draw takes one for the whole batch; "" for none.

    The official default mode, in which every draw picks one operation uniformly. With `siamese` all rows share its numbers, as when real
    and synthetic images are compared; without, as in trajectory matching and testing, every row has its own.
    """

    def __init__(self, strategy: str) -> None:
        self.operations = tuple(filter(None, strategy.split("_")))
        for name in self.operations:
            if name not in OPERATIONS:
                hint = did_you_mean(name, OPERATIONS)
                raise OptionError(f'No augmentation "{name}".{hint} Join these with "_": {", ".join(OPERATIONS)}; or "none".')

    def draw(self, b: int, rng: torch.Generator, *, siamese: bool = False, device: torch.device | str = "cpu") -> Draw:
        """Random numbers from a CPU generator, so that they are the same on every device."""
        which = int(torch.randint(max(1, len(self.operations)), (), generator=rng))
        u = torch.rand(1 if siamese else b, DRAWS, generator=rng).to(device)
        return Draw(self.operations[which] if self.operations else None, u)


def strategy_for(name: str | None, channels: int) -> str:
    """A strategy as `DSA` takes it: "none" is empty, None that of photographs for colour images and without mirrors for grey ones."""
    if name is None:
        return PHOTOGRAPHS if channels == 3 else SIGNS
    return "" if name == "none" else name


def color(x: Tensor, u: Tensor) -> Tensor:
    """Brightness x + (u - 0.5), then saturation by 2u around the mean of the channels, then contrast by u + 0.5 around the image's mean."""
    brightness, saturation, contrast = (value[:, None, None, None] for value in u.unbind(1))
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (2 * saturation) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + 0.5) + mean


def crop(x: Tensor, u: Tensor) -> Tensor:
    """A shift by up to an eighth of a side either way; zero comes in at the border."""
    h, w = x.shape[2:]
    down, right = (_whole(u[:, i], 2 * _round(side / 8) + 1) - _round(side / 8) for i, side in ((0, h), (1, w)))
    rows = torch.arange(h, device=x.device) + down[:, None]  # (b, h)
    columns = torch.arange(w, device=x.device) + right[:, None]  # (b, w)
    return _gather(x, rows[:, :, None], columns[:, None, :])


def cutout(x: Tensor, u: Tensor) -> Tensor:
    """A box of half a side set to zero, its middle anywhere."""
    inside = []
    for axis, side in enumerate(x.shape[2:]):
        size = _round(side / 2)
        first = _whole(u[:, axis], side + 1 - size % 2) - size // 2
        place = torch.arange(side, device=x.device)
        inside.append((place >= first[:, None]) & (place < first[:, None] + size))  # (b, side)
    box = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x * ~box


def flip(x: Tensor, u: Tensor) -> Tensor:
    """The mirror image of every other one."""
    return torch.where((u[:, 0] < 0.5)[:, None, None, None], x.flip(3), x)


def scale(x: Tensor, u: Tensor) -> Tensor:
    """Both axes stretched by their own factor, 1/1.2 … 1.2, bilinear, zero outside."""
    factors = u[:, :2] * (1.2 - 1 / 1.2) + 1 / 1.2  # (b, 2): of x, of y
    zero = torch.zeros_like(factors[:, 0])
    return _affine(x, factors[:, 0], zero, zero, factors[:, 1])


def rotate(x: Tensor, u: Tensor) -> Tensor:
    """Turned by up to 15 degrees either way, bilinear, zero outside."""
    angle = (u[:, 0] - 0.5) * 2 * 15 * math.pi / 180
    return _affine(x, angle.cos(), -angle.sin(), angle.sin(), angle.cos())


def _affine(x: Tensor, xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor) -> Tensor:
    """Samples at A (x, y), places running from -1 to 1; what `grid_sample` does with align_corners, by gathers, which are deterministic."""
    h, w = x.shape[2:]
    across = torch.linspace(-1, 1, w, device=x.device, dtype=x.dtype)
    down = torch.linspace(-1, 1, h, device=x.device, dtype=x.dtype)[:, None]
    columns, rows = (
        (of_x[:, None, None] * across + of_y[:, None, None] * down + 1) / 2 * (side - 1)  # (b, h, w)
        for of_x, of_y, side in ((xx, xy, w), (yx, yy, h))
    )
    left, top = columns.floor(), rows.floor()
    right_part, bottom_part = columns - left, rows - top
    total = torch.zeros((), device=x.device, dtype=x.dtype)
    for dy, share_y in ((0, 1 - bottom_part), (1, bottom_part)):
        for dx, share_x in ((0, 1 - right_part), (1, right_part)):
            total = total + _gather(x, top.long() + dy, left.long() + dx) * (share_y * share_x)[:, None]
    return total


def _gather(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x[:, :, rows, columns], zero outside; the indices broadcast to (b or 1, h, w)."""
    b, c, h, w = x.shape
    outside = (rows < 0) | (rows >= h) | (columns < 0) | (columns >= w)
    place = (rows.clamp(0, h - 1) * w + columns.clamp(0, w - 1)).flatten(1)[:, None]  # (b or 1, 1, h * w)
    found = x.flatten(2).gather(2, place.expand(b, c, -1)).view(x.shape)
    return found * ~outside[:, None]


def _whole(u: Tensor, n: int) -> Tensor:
    """0 … n-1, equally likely; a `u` that rounds up to 1 is the last."""
    return (u * n).long().clamp_max(n - 1)


def _round(value: float) -> int:
    return int(value + 0.5)


OPERATIONS: Final[Mapping[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "color": color,
    "crop": crop,
    "cutout": cutout,
    "flip": flip,
    "scale": scale,
    "rotate": rotate,
}
