"""MinHash: signatures of texts whose agreement estimates how many word n-grams two texts share, and the pairs that bands of them find.

Broder 1997, "On the Resemblance and Containment of Documents"; bands as in Indyk and Motwani 1998. Peers: datasketch, rensa, datatrove.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import metadata
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.ngrams import blocks
from curate.rng import splitmix64

Signatures = NDArray[np.uint32]
Rows = NDArray[np.int64]
Backend = Literal["numpy", "rensa"]

CHARS: Final = 1 << 16  # of text at a time: its n-grams and their hashes stay in cache


def signatures(texts: Sequence[Any], count: int, ngram: int, backend: Backend = "numpy") -> tuple[Signatures, NDArray[np.bool_]]:
    """`count` minima a text, (n, count) uint32, and whether it has an n-gram at all, (n,).

    By numpy the j-th is the least of (a_j·h + c_j) mod 2³² over the text's n-grams, h being 32 bits of an n-gram's hash; rensa, in Rust,
    takes the same hashes and other permutations, so the two are never to be compared. Two texts agree in a share of places whose mean is
    the Jaccard similarity of their sets of n-grams, standard deviation √(J(1-J)/count).
    """
    found = np.full((len(texts), count), np.iinfo(np.uint32).max, np.uint32)
    has = np.zeros(len(texts), np.bool_)
    minima = _by_rensa if backend == "rensa" else _by_numpy
    for span, words in blocks(texts, chars=CHARS, words_only=True):
        hashes, at = words.grams(ngram)
        if not len(hashes):
            continue
        row = words.row[at]
        first = np.flatnonzero(np.diff(row, prepend=-1))
        found[span.start + row[first]] = minima(hashes, first, count)
        has[span.start + row[first]] = True
    return found, has


def rensa_version() -> str | None:
    """Which rensa is installed; None where there is none that takes hashes, as it does from 0.5 on."""
    try:
        version = metadata.version("rensa")
    except metadata.PackageNotFoundError:
        return None
    return version if tuple(int(part) for part in version.split(".")[:2]) >= (0, 5) else None


def _by_numpy(hashes: NDArray[np.uint64], first: Rows, count: int) -> Signatures:
    """Of texts whose n-grams begin at `first`, (texts, count)."""
    slope, offset = _permutations(count)
    short = (hashes >> np.uint64(32)).astype(np.uint32)
    work, least = np.empty_like(short), np.empty((count, len(first)), np.uint32)
    for j in range(count):
        np.multiply(short, slope[j], out=work)
        np.add(work, offset[j], out=work)
        np.minimum.reduceat(work, first, out=least[j])
    return least.T


def _by_rensa(hashes: NDArray[np.uint64], first: Rows, count: int) -> Signatures:
    from rensa import RMinHash

    bounds = np.append(first, len(hashes)).astype(np.uint64)
    return np.array(RMinHash.digest_matrix_from_flat_token_hashes(hashes, bounds, count, 0).to_rows(), np.uint32)


def band_keys(minima: Signatures, bands: int) -> NDArray[np.uint64]:
    """A 64-bit key for each band of a signature, (n, bands); equal where all rows of the band are."""
    n, count = minima.shape
    keys = np.zeros((n, bands), np.uint64)
    for part in minima.reshape(n, bands, count // bands).transpose(2, 0, 1):
        keys = splitmix64(keys + part)
    return keys


def agreeing(minima: Signatures, one: Rows, other: Rows, threshold: float) -> NDArray[np.bool_]:
    """Which pairs agree in at least a share `threshold` of their places."""
    step = max(1, (1 << 24) // minima.shape[1])
    parts = [
        (minima[one[start : start + step]] == minima[other[start : start + step]]).mean(axis=1) >= threshold
        for start in range(0, len(one), step)
    ]
    return np.concatenate([np.empty(0, np.bool_), *parts])


def found_pairs(bands: Iterable[NDArray[np.uint64]], minima: Signatures | None, threshold: float) -> Iterator[tuple[Rows, Rows]]:
    """Per band, (n,) keys, pairs that join the rows with the same key; with `minima`, those that agree enough with their key's first."""
    for band in bands:
        order = np.argsort(band, kind="stable")
        new = np.diff(band[order], prepend=band[order[:1]] + np.uint64(1)) != 0
        head = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
        pair = np.flatnonzero(~new)
        one, other = head[pair], order[pair]
        kept = agreeing(minima, one, other, threshold) if minima is not None else slice(None)
        yield one[kept], other[kept]


@cache
def _permutations(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Odd factors and any summands, always the same: signatures of different runs may be compared."""
    drawn = splitmix64(np.arange(2 * count, dtype=np.uint64)) >> np.uint64(32)
    return (drawn[:count] | np.uint64(1)).astype(np.uint32), drawn[count:].astype(np.uint32)
