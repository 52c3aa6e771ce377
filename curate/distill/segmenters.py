"""Segmenters: where in an image the patches lie that a tiling is made of.

SLIC: Achanta et al. 2012, "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods".
"""

from collections.abc import Mapping
from typing import Final, Protocol

import torch
from torch import Tensor

from curate.errors import OptionError, UnknownNameError, did_you_mean
from curate.plugins import import_file

ROUNDS: Final = 10  # of k-means, as in the paper
COMPACTNESS: Final = 1.0  # how much nearness counts beside likeness, both in their own standard deviations
VALUES: Final = 20_000_000  # distances held at a time


class Segmenter(Protocol):
    """Finds the parts of images. One of your own, whose constructor takes nothing, is named `segmenter=FILE.py:Class`."""

    def boxes(self, pixels: Tensor) -> Tensor:
        """Of images (n, channels, height, width) float32, 0 … 255: top, left, height and width of their parts, (n, parts, 4) int64.

        All images have as many parts; a part of no height or width is none. Equal images have equal parts.
        """
        ...


class SLIC:
    """Superpixels: k-means of pixels by colour and place from a grid of `regions` centres; a part is what encloses a cluster.

    All images at once, and every pixel against every centre, which for a handful of regions is what the paper's windows come to.
    """

    def __init__(self, regions: int) -> None:
        self.regions = regions

    def boxes(self, pixels: Tensor) -> Tensor:
        n, _, height, width = pixels.shape
        few = max(1, VALUES // (height * width * self.regions))
        return torch.cat([self._boxes(part) for part in torch.split(pixels, few)]) if n else pixels.new_zeros((0, self.regions, 4)).long()

    def _boxes(self, pixels: Tensor) -> Tensor:
        n, _, height, width = pixels.shape
        down, across = torch.arange(height, device=pixels.device), torch.arange(width, device=pixels.device)
        place = torch.stack(torch.meshgrid(down / height, across / width, indexing="ij"), -1).view(-1, 2)  # (p, 2)
        colour = pixels.flatten(2).transpose(1, 2)  # (n, p, channels)
        colour = colour - colour.mean(1, keepdim=True)
        colour = colour / colour.square().sum(2, keepdim=True).mean(1, keepdim=True).sqrt().clamp_min(1e-3)
        space = COMPACTNESS * place / (1 / 12) ** 0.5  # a uniform number's deviation
        points = torch.cat([colour, space.expand(n, -1, -1)], 2)
        cluster = _clusters(points, _grid(self.regions, height, width, pixels.device))  # (n, p)
        inside = (cluster[:, :, None] == torch.arange(self.regions, device=pixels.device)).view(n, height, width, self.regions)
        rows, columns = inside.any(2), inside.any(1)  # (n, height, regions), (n, width, regions)
        (top, tall), (left, wide) = _extent(rows), _extent(columns)
        return torch.stack([top, left, tall, wide], 2)


class Grid:
    """Overlapping windows of half a side, √`regions` a side: no look at the content."""

    def __init__(self, regions: int) -> None:
        self.regions = regions

    def boxes(self, pixels: Tensor) -> Tensor:
        n, _, height, width = pixels.shape
        tall, wide = (height + 1) // 2, (width + 1) // 2
        a_side = max(1, round(self.regions**0.5))
        tops = torch.linspace(0, height - tall, a_side).round().long()
        lefts = torch.linspace(0, width - wide, a_side).round().long()
        windows = [(int(top), int(left), tall, wide) for top in tops for left in lefts]
        return torch.tensor(windows, device=pixels.device).expand(n, -1, -1).clone()


SEGMENTERS: Final[Mapping[str, type[SLIC] | type[Grid]]] = {"slic": SLIC, "grid": Grid}


def find_segmenter(name: str, regions: int) -> Segmenter:
    """The segmenter of that name, or the class that a `FILE.py:Class` names."""
    if name in SEGMENTERS:
        return SEGMENTERS[name](regions)
    if ".py:" not in name:
        raise UnknownNameError(
            f'optidel: no segmenter "{name}".{did_you_mean(name, SEGMENTERS)} There are: {", ".join(SEGMENTERS)}, or FILE.py:Class.'
        )
    module, attribute, _ = import_file(name, "Segmenter")
    found = getattr(module, attribute, None)
    if not isinstance(found, type) or not callable(getattr(found, "boxes", None)):
        raise OptionError(f'optidel: "{name}" names no class with a method `boxes(pixels)`; docs/distillers.md shows one.')
    made: Segmenter = found()
    return made


def checked(boxes: Tensor, pixels: Tensor, name: str) -> Tensor:
    """The boxes as a segmenter gave them; OptionError where they are not (n, parts, 4) whole numbers inside the images."""
    n, _, height, width = pixels.shape
    if boxes.ndim != 3 or boxes.shape[0] != n or boxes.shape[2] != 4 or boxes.is_floating_point() or not boxes.shape[1]:
        raise OptionError(
            f'optidel: segmenter "{name}" gave {tuple(boxes.shape)} {boxes.dtype}; ({n}, parts, 4) int64 of top, left, height and width '
            "are expected."
        )
    top, left, tall, wide = boxes.unbind(2)
    if bool(((boxes < 0).any(2) | (top + tall > height) | (left + wide > width)).any()):
        raise OptionError(f'optidel: segmenter "{name}" gave a part outside of its image of {height} x {width}. Mend its `boxes`.')
    return boxes.long()


def _clusters(points: Tensor, start: Tensor) -> Tensor:
    """Which centre each point is nearest to after `ROUNDS` of Lloyd's algorithm, (n, p); a centre without points stays where it is."""
    centres = points[:, start]  # (n, regions, d)
    for _ in range(ROUNDS):
        member = torch.nn.functional.one_hot(_distances(points, centres).argmin(2), len(start)).to(points.dtype)  # (n, p, regions)
        count = member.sum(1)[:, :, None]
        means = member.transpose(1, 2) @ points / count.clamp_min(1)
        centres = torch.where(count > 0, means, centres)
    return _distances(points, centres).argmin(2)


def _distances(points: Tensor, centres: Tensor) -> Tensor:
    """(n, p, regions), without the products that lose digits."""
    return torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist")


def _grid(regions: int, height: int, width: int, device: torch.device) -> Tensor:
    """Pixels spread evenly over the image, (regions,): the middles of so many cells, line by line."""
    lines = max(1, round((regions * height / width) ** 0.5))
    places = []
    for line in range(lines):
        across = regions // lines + (line < regions % lines)
        row = int((line + 0.5) * height / lines)
        places += [row * width + int((column + 0.5) * width / across) for column in range(across)]
    return torch.tensor(places, device=device)


def _extent(inside: Tensor) -> tuple[Tensor, Tensor]:
    """First and count from the first to the last true of dimension 1, (n, regions) each; 0 and 0 where there is none."""
    size = inside.shape[1]
    any_there = inside.any(1)
    first = inside.int().argmax(1)
    last = size - 1 - inside.flip(1).int().argmax(1)
    return torch.where(any_there, first, 0), torch.where(any_there, last - first + 1, 0)
