"""The networks that sets are distilled for and tested on, and how any of them becomes a pure function of one flat vector of weights."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from curate.distill.blocks import norm_relu_pool
from curate.distill.derivatives import Block, Dense, Derivatives
from curate.errors import InputError, UnknownNameError, did_you_mean
from curate.signals.models import ResNet18
from curate.signals.training import seeded

SMALLEST_SIDE: Final = 4


class Network:
    """A module's architecture as functions of a flat float32 vector `theta`, (size,), its parameters in `module.parameters()` order.

    For modules without buffers (no batch norm). Everything is differentiable any number of times and goes under `torch.func.vmap`
    over `theta`. The module itself is never trained: it only says how the vector is cut.
    """

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self._build = build
        self._module = seeded(build, 0).requires_grad_(False)
        self._names = [name for name, _ in self._module.named_parameters()]
        self._shapes = [p.shape for p in self._module.parameters()]
        self._sizes = [p.numel() for p in self._module.parameters()]
        self.size = sum(self._sizes)
        self.classes = int(self._shapes[-1][0])  # all end in a linear layer

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameter name to shape, in the order in which they lie in `theta`."""
        return {name: tuple(shape) for name, shape in zip(self._names, self._shapes, strict=True)}

    def initial(self, seed: int) -> Tensor:
        """Fresh weights by the layers' own initialisation, (size,) on the CPU; equal seeds give equal weights."""
        return torch.cat([p.detach().reshape(-1) for p in seeded(self._build, seed).parameters()])

    def parts(self, theta: Tensor) -> dict[str, Tensor]:
        """`theta` cut into the parameters; views, nothing is copied."""
        pieces = torch.split(theta, self._sizes)
        return {name: piece.view(shape) for name, piece, shape in zip(self._names, pieces, self._shapes, strict=True)}

    def apply(self, theta: Tensor, x: Tensor) -> Tensor:
        """Logits of images, (b, c, h, w) -> (b, classes)."""
        logits: Tensor = functional_call(self._module, self.parts(theta), (x,))
        return logits

    def apply_many(self, theta: Tensor, x: Tensor) -> Tensor:
        """Logits of k networks, (k, size) with images of their own (k, b, c, h, w) or the same (b, c, h, w) -> (k, b, classes).

        A plain `vmap` of `apply`, but for MLP and ConvNet, whose layers it would take as long to arrange anew each time as to compute.
        """
        if isinstance(self._module, MLP | ConvNet):
            pieces = zip(torch.split(theta, self._sizes, 1), self._shapes, strict=True)
            parts = [piece.view(-1, *shape) for piece, shape in pieces]
            return _many_mlps(parts, x) if isinstance(self._module, MLP) else _many_convnets(parts, x, self._module.padding)
        own = 0 if x.dim() == 5 else None
        logits: Tensor = torch.func.vmap(self.apply, in_dims=(0, own))(theta, x)
        return logits

    def slopes(self, theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of k networks' mean cross-entropy against probabilities y by their weights, (k, size), and that loss, (k,)."""
        if self.derivatives is not None:
            slope, walk = self.derivatives.slope(theta, x, y)
            return slope, walk.losses
        place = theta.detach().requires_grad_()
        losses = -(y * torch.log_softmax(self.apply_many(place, x), -1)).sum(-1).mean(-1)
        return torch.autograd.grad(losses.sum(), place)[0], losses.detach()

    @property
    def derivatives(self) -> Derivatives | None:
        """Those of the cross-entropy, written out, where there are any: of MLP and ConvNet."""
        if isinstance(self._module, MLP):
            return Derivatives([Dense(bent=True), Dense(bent=True), Dense(bent=False)], self._shapes)
        if isinstance(self._module, ConvNet):
            paddings = [self._module.padding, *[1] * (len(self._shapes) // 4 - 1)]
            return Derivatives([*map(Block, paddings), Dense(bent=False)], self._shapes)
        return None

    def embed(self, theta: Tensor, x: Tensor) -> Tensor:
        """What the last layer is given, (b, features)."""
        assert isinstance(self._module, nn.Sequential), "all networks here end in a last layer"
        body = {name.removeprefix("0."): part for name, part in self.parts(theta).items() if name.startswith("0.")}
        features: Tensor = functional_call(self._module[0], body, (x,))
        return features


def _many_mlps(parts: Sequence[Tensor], x: Tensor) -> Tensor:
    """Linear layers with ReLU between, of k networks: weights (k, out, in) and biases (k, out) in turn."""
    rows = x.flatten(-3)
    hidden = rows if rows.dim() == 3 else rows.expand(len(parts[0]), *rows.shape)  # (k, b, in)
    for layer, (weight, bias) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        hidden = torch.baddbmm(bias[:, None], torch.relu(hidden) if layer else hidden, weight.mT)
    return hidden


def _many_convnets(parts: Sequence[Tensor], x: Tensor, padding: int) -> Tensor:
    """The ConvNet's blocks, of k networks, whose channels lie side by side from one end to the other: (b, k * channels, h, w).

    Channels are innermost in memory, where grouped convolutions come nearest to what the machine can do. The convolutions' biases are left
    out: they shift whole planes, which instance norm takes back, so their gradient is 0 but for rounding.
    """
    k = len(parts[0])
    own = x.dim() == 5
    hidden = x.transpose(0, 1).flatten(1, 2) if own else x
    hidden = hidden.clone(memory_format=torch.channels_last)  # `contiguous` takes a single channel for either order
    *blocks, weight, bias = parts
    for block, (kernel, _, scale, offset) in enumerate(zip(*(blocks[i::4] for i in range(4)), strict=True)):
        groups = k if own or block else 1  # the same images need no copy a network
        kernels = kernel.flatten(0, 1).clone(memory_format=torch.channels_last)
        hidden = functional.conv2d(hidden, kernels, padding=padding if block == 0 else 1, groups=groups)
        hidden = norm_relu_pool(hidden, scale.flatten(), offset.flatten())
    features = hidden.reshape(len(hidden), k, -1).transpose(0, 1)  # (k, b, features)
    return torch.baddbmm(bias[:, None], features, weight.mT)


class ConvNet(nn.Sequential):
    """The ConvNet of the distillation line: `depth` blocks of 3x3 convolution, instance norm, ReLU and 2x2 mean, then one linear layer.

    Depth follows the shorter side: 2 up to 16 pixels, 3 up to 32, 4 up to 64, 5 up to 128. Like the official code it pads 28x28 grey
    images to 32x32. Instance norm is GroupNorm(c, c), with its scale and shift. `width` 128 is the published one; 320,010 weights for
    CIFAR-10.
    """

    def __init__(self, shape: Sequence[int], classes: int, width: int = 128, depth: int | None = None) -> None:
        channels, height, width_px = shape
        depth = depth or convnet_depth(shape)
        first_padding = self.padding = convnet_layout(shape)["padding"]
        sides = [side + 2 * (first_padding - 1) >> depth for side in (height, width_px)]
        if min(sides) < 1:
            raise InputError(f"Images of {width_px} x {height} pixels are too small for {depth} halvings. Use a smaller depth.")
        blocks: list[nn.Module] = []
        for block in range(depth):
            padding = first_padding if block == 0 else 1
            blocks += [
                nn.Conv2d(channels if block == 0 else width, width, 3, padding=padding),
                nn.GroupNorm(width, width),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
        super().__init__(nn.Sequential(*blocks, nn.Flatten()), nn.Linear(width * sides[0] * sides[1], classes))


class MLP(nn.Sequential):
    """Two hidden layers of `width`, the digits network of the acceptance trials at 64."""

    def __init__(self, shape: Sequence[int], classes: int, width: int = 128) -> None:
        body = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        super().__init__(body, nn.Linear(width, classes))


class VGG(nn.Sequential):
    """VGG-11's channels with instance norm (Simonyan & Zisserman 2015), halved as often as the image allows; published at width 64."""

    def __init__(self, shape: Sequence[int], classes: int, width: int = 64) -> None:
        layout = [1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0]  # multiples of `width`, 0 for a halving
        side, before = min(shape[1:]), shape[0]
        blocks: list[nn.Module] = []
        for multiple in layout:
            if multiple:
                blocks += [nn.Conv2d(before, width * multiple, 3, padding=1), nn.GroupNorm(width * multiple, width * multiple), nn.ReLU()]
                before = width * multiple
            elif side > 3:
                blocks.append(nn.MaxPool2d(2))
                side //= 2
        super().__init__(nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(before, classes))


class ViT(nn.Sequential):
    """A small vision transformer: patches of some 8 x 8 a picture, three blocks of 64 numbers and four heads, mean of the tokens."""

    def __init__(self, shape: Sequence[int], classes: int, width: int = 64) -> None:
        super().__init__(_Transformer(shape, width), nn.Linear(width, classes))


class _Transformer(nn.Module):
    def __init__(self, shape: Sequence[int], width: int) -> None:
        super().__init__()
        patch = max(1, min(shape[1:]) // 7)
        tokens = (shape[1] // patch) * (shape[2] // patch)
        self.patches = nn.Conv2d(shape[0], width, patch, stride=patch)
        self.places = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places  # (b, tokens, width)
        mean: Tensor = self.norm(self.blocks(tokens)).mean(1)
        return mean


Builder = Callable[..., nn.Module]
NETWORKS: Final[Mapping[str, Builder]] = {"convnet": ConvNet, "mlp": MLP, "resnet18": ResNet18, "vgg11": VGG, "vit": ViT}
FIXED_WIDTH: Final = ("resnet18", "vgg11", "vit")


def build(name: str, shape: Sequence[int], classes: int, width: int | None = None) -> nn.Module:
    """A network by name for images of `shape` (c, h, w); `width` counts for the convnet and the mlp, the others have their own."""
    if name not in NETWORKS:
        raise UnknownNameError(f'No network "{name}".{did_you_mean(name, NETWORKS)} There are: {", ".join(NETWORKS)}.')
    if min(shape[1:]) < SMALLEST_SIDE:
        raise InputError(f"Images of {shape[2]} x {shape[1]} pixels are too small; {SMALLEST_SIDE} a side is the least. Enlarge them.")
    options = {} if width is None or name in FIXED_WIDTH else {"width": width}
    return NETWORKS[name](shape, classes, **options)


def convnet_layout(shape: Sequence[int]) -> dict[str, int]:
    """How many blocks a ConvNet for images of this shape has, and how the first one pads."""
    return {"depth": convnet_depth(shape), "padding": 3 if tuple(shape) == (1, 28, 28) else 1}


def convnet_depth(shape: Sequence[int]) -> int:
    """Halvings for images of this shape.

    >>> [convnet_depth((1, side, side)) for side in (8, 14, 28, 32, 64, 128)]
    [2, 2, 3, 3, 4, 5]
    """
    return max(2, math.ceil(math.log2(min(shape[1:]))) - 2)
