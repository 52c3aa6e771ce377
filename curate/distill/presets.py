"""What the trajectory-matching methods do when they are told nothing, by the size of the images, the number of classes and `ipc`.

The rows for colour images are the authors' own (MTT: the commands collected in DC-BENCH; TESLA and DATM: their configurations; AST: its
README), for the number of classes and images a class that comes nearest. Those of small grey images are ours, measured on scikit-learn's
digits and on Fashion-MNIST (benchmarks/distill_digits.py); no paper has any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Preset:
    """The settings of a run; their names and meanings are those of the methods' options (`trajectories`)."""

    steps: int
    span: int
    window: Numbers
    batch: int
    image_rate: float | None
    rate_rate: float
    rate: float
    label_rate: float = 0.0
    limit: float = 1.0
    experts: int = 100
    epochs: int = 50
    expert_rate: float = 0.01
    expert_batch: int = 256
    epoch_rows: int | None = None
    iterations: int = 5000
    segments: int = 1
    network: str = "convnet"
    width: int = 128
    train_steps: int = 1000
    train_scale: float = 1.0


# Rows: steps, span, window, batch (0: all), image_rate, rate_rate, rate. Keys: (images a class, at most); the last serves all above.
MTT_10: Final[Mapping[int, Preset]] = {
    1: Preset(50, 2, (0, 2), 0, 1e2, 1e-7, 0.01),
    10: Preset(30, 2, (0, 20), 0, 1e2, 1e-5, 0.001),
    50: Preset(30, 2, (0, 40), 0, 1e3, 1e-5, 0.001),
}
MTT_100: Final[Mapping[int, Preset]] = {
    1: Preset(20, 3, (0, 20), 0, 1e3, 1e-5, 0.01),
    10: Preset(20, 2, (0, 20), 0, 1e3, 1e-5, 0.01),
    50: Preset(80, 2, (0, 40), 125, 1e3, 1e-5, 0.01),
}
MTT_TINY: Final[Mapping[int, Preset]] = {
    1: Preset(10, 2, (0, 10), 0, 1e4, 1e-4, 0.01),
    10: Preset(20, 2, (0, 40), 200, 1e4, 1e-4, 0.01),
    50: Preset(20, 2, (0, 40), 300, 1e4, 1e-4, 0.01),
}
TESLA_10: Final[Mapping[int, Preset]] = {**MTT_10, 1: Preset(50, 2, (0, 5), 0, 1e3, 1e-7, 0.01)}
DATM_10: Final[Mapping[int, Preset]] = {
    1: Preset(80, 2, (0, 4), 10, 1e2, 1e-7, 0.01, 5, 1.1),
    10: Preset(80, 2, (0, 10, 20, 1000), 100, 1e2, 1e-5, 0.01, 2),
    50: Preset(80, 2, (0, 20, 40, 2000), 500, 1e3, 1e-5, 0.01, 2),
    500: Preset(40, 2, (40, 60), 1000, 50, 1e-5, 0.01, 10),
    1000: Preset(100, 2, (40, 60), 1000, 50, 1e-5, 0.01, 10),
}
DATM_100: Final[Mapping[int, Preset]] = {
    1: Preset(40, 3, (0, 10, 20, 1000), 1000, 1e3, 1e-5, 0.01, 10),
    10: Preset(80, 2, (0, 30, 50, 2000), 1000, 1e3, 1e-5, 0.01, 10),
    50: Preset(80, 2, (20, 70), 1000, 1e3, 1e-5, 0.01, 10),
    100: Preset(80, 2, (30, 70), 1000, 50, 1e-5, 0.01, 10),
}
DATM_TINY: Final[Mapping[int, Preset]] = {
    1: Preset(40, 2, (0, 15, 20, 2000), 1000, 1e4, 1e-4, 0.01, 10),
    10: Preset(40, 2, (10, 50), 500, 1e2, 1e-4, 0.01, 10),
    50: Preset(20, 2, (40, 70), 1000, 1e2, 1e-4, 0.01, 10),
}
AST_10: Final[Mapping[int, Preset]] = {
    1: Preset(50, 2, (0, 2), 0, 1e2, 1e-7, 0.01),
    10: Preset(30, 2, (0, 20), 0, 1e2, 1e-6, 0.01),
    50: Preset(30, 2, (0, 40), 0, 1e3, 1e-5, 0.01),
}
AST_100: Final[Mapping[int, Preset]] = {
    1: Preset(40, 3, (0, 15), 0, 1e2, 1e-5, 0.01),
    10: Preset(20, 2, (0, 30), 128, 1e3, 1e-5, 0.01),
    50: Preset(80, 2, (0, 40), 700, 1e3, 1e-5, 0.01),
}
AST_TINY: Final[Mapping[int, Preset]] = {**MTT_TINY, 1: Preset(10, 2, (0, 10), 0, 1e4, 1e-4, 0.01)}

# By method: up to 32 pixels and 20 classes, up to 32 pixels, above.
PUBLISHED: Final[Mapping[str, tuple[Mapping[int, Preset], ...]]] = {
    "mtt": (MTT_10, MTT_100, MTT_TINY),
    "tesla": (TESLA_10, MTT_100, MTT_TINY),
    "datm": (DATM_10, DATM_100, DATM_TINY),
    "ast": (AST_10, AST_100, AST_TINY),
}

# Up to 12 pixels a side: an MLP, which trains in seconds.
SMALL: Final = Preset(
    steps=20,
    span=2,
    window=(0, 10),
    batch=0,
    image_rate=10,
    rate_rate=1e-3,
    rate=0.05,
    label_rate=1,
    experts=20,
    epochs=30,
    expert_rate=0.05,
    expert_batch=50,
    iterations=100,
    segments=2,
    network="mlp",
    width=64,
    train_steps=300,
)
# Grey up to 32 pixels.
GREY: Final = replace(
    SMALL,
    span=1,
    window=(0, 6),
    image_rate=30,
    rate_rate=3e-4,
    experts=6,
    epochs=10,
    expert_batch=100,
    epoch_rows=5000,
    network="convnet",
    width=16,
    iterations=60,
)


def preset(method: str, shape: Sequence[int], classes: int, ipc: int, *, cpu: bool) -> Preset:
    """The row for images of `shape` (c, h, w)."""
    side = max(shape[1:])
    if side <= 12:
        return _with_momentum(method, _sized(SMALL, method, ipc, ((0, 10), (0, 16), (4, 20))))
    if shape[0] == 1 and side <= 32 and cpu:
        return _with_momentum(method, _sized(GREY, method, ipc, ((0, 6), (2, 8), (3, 9))))
    rows = PUBLISHED[method][0 if side <= 32 and classes <= 20 else 1 if side <= 32 else 2]
    row = _nearest(rows, ipc)
    if method == "datm":
        row = replace(row, epochs=100, iterations=10_000)
    if method == "ast":
        row = replace(row, expert_rate=0.003)
    return _with_momentum(method, _for_a_cpu(row)) if cpu else row


def _sized(row: Preset, method: str, ipc: int, windows: tuple[Numbers, ...]) -> Preset:
    few = ipc < 5
    return replace(row, image_rate=10 if few else 30, window=_later(method, ipc, windows), train_scale=_scale(method, ipc))


def _scale(method: str, ipc: int) -> float:
    """Ten learned labels a class want steps ten times as long as the students', by momentum; all else does better with three times.

    On train rows held out, accuracies in % at .1, .3 and 1. One a class: digits 88.0, 87.3, 85.8 (DATM) and 88.0, 87.8, 86.8 (MTT),
    Fashion-MNIST 67.7, 70.4, 72.1 (DATM) and 68.9, 69.2, 64.2 (MTT). Ten a class: digits 92.1, 94.5, 94.8 and 90.8, 92.7, 92.4,
    Fashion-MNIST 76.1, 79.3, 80.4 and 76.3, 77.4, 75.6.
    """
    return 1.0 if method == "datm" and ipc >= 5 else 0.3


def _later(method: str, ipc: int, windows: tuple[Numbers, ...]) -> Numbers:
    """DATM's finding: the larger the set, the later the stretch of the experts' way that it can hold."""
    return windows[0 if ipc < 5 or method != "datm" else 1 if ipc < 30 else 2]


def _with_momentum(method: str, row: Preset) -> Preset:
    """Momentum .9, which AST's experts and students have, makes steps ten times as long."""
    if method != "ast":
        return row
    return replace(row, rate=row.rate / 10, rate_rate=row.rate_rate / 10, expert_rate=row.expert_rate / 10, train_scale=1.0)


def _nearest(rows: Mapping[int, Preset], ipc: int) -> Preset:
    """The row whose number of images a class is nearest by ratio; the smaller of two equally near."""
    return rows[min(rows, key=lambda known: (max(known / ipc, ipc / known), known))]


def _for_a_cpu(row: Preset) -> Preset:
    """A published row cut to what a few cores can do in an hour or so: fewer, narrower, shorter; the method stays."""
    epochs = 20
    shrink = epochs / row.epochs
    window = tuple(max(1 if i else 0, round(edge * shrink)) if i < 3 else 200 for i, edge in enumerate(row.window))
    return replace(
        row,
        experts=6,
        epochs=epochs,
        expert_rate=0.05,
        epoch_rows=10_000,
        window=window,
        steps=min(row.steps, 20),
        batch=min(row.batch or 100, 100),
        image_rate=None,
        rate=0.05,
        width=32,
        iterations=300,
        train_steps=500,
    )
