"""Tilings: images put together from patches of others, each patch brought to its tile's size without being enlarged or bent."""

from typing import Final

import torch
from torch import Tensor

VALUES: Final = 40_000_000  # numbers of images and weights held at a time


def framed(boxes: Tensor, height: int, width: int, across: int) -> Tensor:
    """The boxes, (…, 4) of top, left, height and width, grown around their middles until they have the image's shape and are no smaller
    than one of `across` x `across` tiles; moved where they would leave the image."""
    top, left, tall, wide = boxes.double().unbind(-1)
    scale = torch.maximum(tall / height, wide / width).clamp_min(1 / across)
    new_tall, new_wide = (scale * height).ceil().clamp(1, height), (scale * width).ceil().clamp(1, width)
    new_top = (top + (tall - new_tall) / 2).floor().clamp_min(0).minimum(height - new_tall)
    new_left = (left + (wide - new_wide) / 2).floor().clamp_min(0).minimum(width - new_wide)
    return torch.stack([new_top, new_left, new_tall, new_wide], -1).long()


def tiled(pixels: Tensor, owner: Tensor, boxes: Tensor) -> Tensor:
    """Images of t = across² tiles, (m, channels, height, width), left to right and top to bottom.

    `pixels` (n, channels, height, width) are those that patches are cut from: tile j of image i is box `boxes[i, j]` of image
    `owner[i, j]`. Sizes are changed by antialiased bilinear weights, as PIL's and `interpolate(antialias=True)` do, so that a patch of a
    tile's size is copied exactly. Where the side does not divide by `across`, tiles differ by a pixel.
    """
    m, t = owner.shape
    across = round(t**0.5)
    _, channels, height, width = pixels.shape
    made = pixels.new_empty((m, channels, height, width))
    few = max(1, VALUES // (pixels[0].numel() + height * height + width * width))
    for some in torch.split(torch.arange(m, device=pixels.device), few):
        for place in range(t):
            top, bottom = _edges(place // across, height, across)
            left, right = _edges(place % across, width, across)
            box = boxes[some, place]
            down = _weights(box[:, 0], box[:, 2], height, bottom - top).to(pixels.dtype)  # (b, tile height, height)
            over = _weights(box[:, 1], box[:, 3], width, right - left).to(pixels.dtype)
            cut = torch.einsum("bth,bchw,buw->bctu", down, pixels[owner[some, place]], over)
            made[some, :, top:bottom, left:right] = cut
    return made


def _edges(place: int, side: int, across: int) -> tuple[int, int]:
    return place * side // across, (place + 1) * side // across


def _weights(first: Tensor, size: Tensor, side: int, out: int) -> Tensor:
    """What each of `side` pixels contributes to each of `out` ones that show pixels first … first+size-1, (b, out, side) float64."""
    scale = size.double() / out  # (b,)
    middle = first[:, None] + (torch.arange(out, device=first.device) + 0.5) * scale[:, None] - 0.5  # (b, out)
    pixel = torch.arange(side, device=first.device)
    away = (pixel - middle[:, :, None]).abs() / scale.clamp_min(1)[:, None, None]  # (b, out, side)
    inside = (pixel >= first[:, None]) & (pixel < (first + size)[:, None])  # (b, side)
    weights = (1 - away).clamp_min(0) * inside[:, None, :]
    return weights / weights.sum(2, keepdim=True)
