"""Random numbers keyed by (seed, method, row): a draw never depends on shard cuts, worker count or order.

u(row) = ((splitmix64(key ^ splitmix64(row)) >> 11) + 0.5) / 2**53,   key = 64-bit hash of (seed, method)
"""

from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

_BLOCK: Final = 1 << 16
GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
MIX_2: Final = np.uint64(0x94D049BB133111EB)


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The splitmix64 output function of each value, (n,) uint64.

    >>> [hex(v) for v in splitmix64(np.array([0, 1], np.uint64))]
    ['0xe220a8397b1dcdaf', '0x910a2dec89025cc1']
    """
    z = values + GAMMA
    for shift, factor in ((np.uint64(30), MIX_1), (np.uint64(27), MIX_2)):
        z ^= z >> shift
        z *= factor
    z ^= z >> np.uint64(31)
    return z


class KeyedRandom:
    """A stream of random numbers addressed by row; equal (seed, names) always give equal numbers."""

    def __init__(self, seed: int, *names: str | int) -> None:
        self.seed = seed
        self.names = names
        text = "\0".join(str(part) for part in (seed, *names))
        self._key = np.uint64(xxhash.xxh3_64_intdigest(text.encode()))

    def child(self, *names: str | int) -> "KeyedRandom":
        """An independent stream under a longer name."""
        return KeyedRandom(self.seed, *self.names, *names)

    def uniform(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """One number a row in the open interval (0, 1), (n,) float64."""
        numbers = np.empty(len(rows), np.float64)
        for start in range(0, len(rows), _BLOCK):  # the scratch of a block stays in the cache, and no second column is ever held
            block = slice(start, start + _BLOCK)
            bits = splitmix64(self._key ^ splitmix64(rows[block].astype(np.uint64)))
            np.multiply((bits >> np.uint64(11)) + 0.5, 2.0**-53, out=numbers[block])
        return numbers

    def bits(self, places: NDArray[np.int64]) -> NDArray[np.uint64]:
        """64 random bits a place, in the shape of `places`."""
        return splitmix64(self._key ^ splitmix64(places.astype(np.uint64)))

    def gumbel(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """One standard Gumbel number a row, (n,) float64."""
        return -np.log(-np.log(self.uniform(rows)))

    def torch_seed(self) -> int:
        """A seed in 0 … 2^63-1 for libraries that keep a generator of their own."""
        return int(self._key >> np.uint64(1))
