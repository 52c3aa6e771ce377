"""A perceptron of 256 and 64 hidden units for small images: `--model benchmarks/mlp.py:build`."""

from collections.abc import Sequence
from math import prod

from torch import nn


def build(shape: Sequence[int], classes: int) -> nn.Module:
    """Images, (b, *shape), to logits, (b, classes)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, classes))
