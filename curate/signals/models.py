"""The offline default networks: small enough for two cores, built from the input's shape."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class ConvNet(nn.Sequential):
    """Three 3x3 convolutions with batch norm, 16-32-64 channels, for small images, (b, channels, h, w) -> (b, classes).

    Trains on some 6,000 images of 28 x 28 a second on two quiet cores, 2,000 on one.
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        widths = (shape[0], 16, 32, 64)
        blocks: list[nn.Module] = []
        for depth, (before, after) in enumerate(pairwise(widths)):
            blocks += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            if min(shape[1:]) >> depth > 3 and depth < 2:
                blocks.append(nn.MaxPool2d(2))
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * widths[-1], classes))


class Residual(nn.Module):
    """Two 3x3 convolutions around a short cut (He et al. 2016, basic block)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        same = before == after and stride == 1
        self.short = nn.Identity() if same else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.short(x))


class ResNet18(nn.Sequential):
    """ResNet-18 with the low-resolution stem (3x3, no pooling) that dataset-pruning papers use on CIFAR; 11 M parameters."""

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        stem = [nn.Conv2d(shape[0], 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        stages = [
            Residual(max(64, width // 2) if block == 0 else width, width, 2 if block == 0 and width > 64 else 1)
            for width in (64, 128, 256, 512)
            for block in (0, 1)
        ]
        super().__init__(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


class TextBag(nn.Module):
    """Mean of hashed n-gram embeddings, one hidden layer; (ids, offsets) -> (b, classes)."""

    def __init__(self, shape: Sequence[int], classes: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(shape[0], width, mode="mean")
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.head = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, ids: Tensor, offsets: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embedding(ids, offsets))
        return logits


class MLP(nn.Sequential):
    """Two hidden layers of 128 for tables and embeddings, (b, width) -> (b, classes)."""

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__(nn.Linear(shape[0], 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, classes))
