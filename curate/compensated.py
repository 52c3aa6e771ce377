"""Images that share what was learned: real images of every class, and compensators each of which serves an image of every class at once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

COMPENSATED: Final = "compensated.safetensors"


@dataclass(frozen=True, eq=False)
class Compensated:
    """What a set of (m + 1) x k images of each class is expanded from; there are no labels, for a place says its class.

    `originals` (classes, k, channels, height, width) uint8 are real images; `compensators` (m, k, channels, height, width) int8, times
    `scales` (m, k) float32, are in pixels: the j-th of k is added to the j-th original of every class. `low` and `high` (channels,) are
    what pixels are held within.
    """

    originals: NDArray[np.uint8]
    compensators: NDArray[np.int8]
    scales: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    names: Sequence[str] = field(default=())

    @classmethod
    def of(
        cls, originals: NDArray[np.uint8], compensators: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32]
    ) -> Self:
        """Of compensators in pixels, each rounded to the 127th part of its largest value.

        >>> pixels = np.array([10.0, -254.0], np.float32).reshape(1, 1, 1, 1, 2)
        >>> found = Compensated.of(np.zeros((1, 1, 1, 1, 2), np.uint8), pixels, *np.float32([[0], [255]]))
        >>> found.compensators.ravel().tolist(), found.scales.tolist()
        ([5, -127], [[2.0]])
        """
        largest = np.abs(compensators).max((2, 3, 4))  # (m, k)
        scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        whole = np.rint(compensators / scales[:, :, None, None, None]).clip(-127, 127).astype(np.int8)
        return cls(originals, whole, scales, low, high)

    @property
    def bytes(self) -> int:
        """Of pixels, compensators and their scales; labels take none."""
        return self.originals.nbytes + self.compensators.nbytes + self.scales.nbytes

    @property
    def stored(self) -> int:
        """How many images are stored, compensators among them."""
        m, k = self.compensators.shape[:2]
        return int(self.originals.shape[0] * k + m * k)

    def expand(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Images (rows, channels, height, width) in the source's pixels and their labels, class by class: originals, then compensated."""
        real = self.originals.astype(np.float32)
        moved = self.compensators.astype(np.float32) * self.scales[:, :, None, None, None]  # (m, k, c, h, w)
        added = real + moved[:, None]  # (m, classes, k, c, h, w)
        low, high = (limit[:, None, None] for limit in (self.low, self.high))
        whole = np.concatenate([real[None], np.clip(added, low, high)])  # (m + 1, classes, k, c, h, w)
        images = np.ascontiguousarray(whole.swapaxes(0, 1)).reshape(-1, *real.shape[2:])
        return images, np.repeat(np.arange(len(real)), len(images) // len(real))

    def save(self, path: Path) -> None:
        """One safetensors file; the names of the classes are in its head."""
        from safetensors.numpy import save_file

        names = ("originals", "compensators", "scales", "low", "high")
        tensors = {name: getattr(self, name) for name in names}
        whole = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
        save_file(whole, str(path), {"classes": json.dumps(list(self.names))})

    @classmethod
    def load(cls, path: Path) -> "Compensated":
        """What `save` wrote."""
        from safetensors import safe_open

        with safe_open(str(path), "np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return cls(**tensors, names=tuple(json.loads(file.metadata()["classes"])))
