"""Words and n-grams of many texts at once: positions and 64-bit hashes from one pass over their characters, no loop over rows.

A token is a run of word characters or a run of other visible ones: the pattern `\\w+|[^\\w\\s]+` on lower-cased text, NLTK's WordPunct.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.compiled import BASE, INVERSE, KIND, OTHER, SPACE, WORD, loops
from curate.protocols import Array
from curate.rng import splitmix64

Hashes = NDArray[np.uint64]
Index = NDArray[np.int64]

BLOCK: Final = 1 << 16  # characters that are looked at together; their arrays fit into a cache

_SLOTS: Final = 1 << 22
_CONTEXTUAL: Final = "\u0130\u03a3"  # what `str.lower` turns into two letters, or by its neighbours


@dataclass(frozen=True)
class Tokens:
    """The tokens of a block of texts, in order.

    `points` are the lower-cased characters of the block, (c,), the texts with one line end between them; `start` and `stop` are positions
    there, (t,); `is_word` tells words from punctuation. `bounds`, (rows + 1,), says which tokens are whose: row i has tokens
    bounds[i] … bounds[i+1]-1, and its text begins at `begins[i]`.
    """

    points: NDArray[np.uint32]
    start: Index
    stop: Index
    is_word: NDArray[np.bool_]
    hash: Hashes
    bounds: Index
    begins: Index

    @property
    def counts(self) -> Index:
        """How many tokens each row has, (rows,)."""
        return np.diff(self.bounds)

    @cached_property
    def row(self) -> Index:
        """Which row of the block a token is of, (t,)."""
        return np.repeat(np.arange(len(self.bounds) - 1), self.counts)

    def words(self) -> "Tokens":
        """Without punctuation."""
        kept = np.concatenate(([0], np.cumsum(self.is_word)))
        mask = self.is_word
        return Tokens(
            self.points, self.start[mask], self.stop[mask], mask[mask], self.hash[mask], kept[self.bounds].astype(np.int64), self.begins
        )

    def grams(self, n: int) -> tuple[Hashes, Index]:
        """The hash of every n-gram inside a row, and the token that it begins with; both (g,), in order."""
        t = len(self.hash)
        if n == 1:
            return self.hash, np.arange(t)
        fast = loops(0)
        if fast is not None:
            hashes, at = np.empty(t, np.uint64), np.empty(t, np.int64)
            size = fast[1](self.hash, self.bounds, n, hashes, at)
            return hashes[:size], at[:size]
        at = _fitting(self.row, n)
        if n == 2:
            return splitmix64(self.hash[:-1] + self.hash[1:] * BASE)[at], at
        sums, inverse = self._sums, _powers(t + 1)[1]
        return splitmix64((sums[n:] - sums[:-n]) * inverse[: max(t + 1 - n, 0)])[at], at

    def grams_at(self, at: Index, n: int) -> tuple[Hashes, Index]:
        """Those of the n-grams that begin with these tokens."""
        if n == 1:
            return self.hash[at], at
        at = at[at + n <= self.bounds[self.row[at] + 1]]
        powers, inverse = _powers(len(self.hash) + 1)
        if n * len(at) < len(self.hash):  # so few that sums of all would cost more
            return splitmix64(np.sum([self.hash[at + i] * powers[i] for i in range(n)], axis=0, dtype=np.uint64)), at
        return splitmix64((self._sums[at + n] - self._sums[at]) * inverse[at]), at

    @cached_property
    def _sums(self) -> Hashes:
        return _sums(self.hash, _powers(len(self.hash) + 1)[0][: len(self.hash)])

    def gram_texts(self, at: Index, n: int) -> list[str]:
        """The n-grams that begin with these tokens, each as its tokens joined by one space."""
        text = text_of(self.points)
        words = [[text[a:b] for a, b in zip(self.start[at + i].tolist(), self.stop[at + i].tolist(), strict=True)] for i in range(n)]
        return list(map(" ".join, zip(*words, strict=True)))


def blocks(
    texts: Array | Sequence[str], *, chars: int = BLOCK, keep_places: bool = False, words_only: bool = False
) -> Iterator[tuple[slice, Tokens]]:
    """The texts in pieces of about that many characters: which rows, and their tokens; with `words_only` no punctuation.

    Lower case is Python's. With `keep_places` each character stays where it is in the text as it came: the one letter that two
    take the place of (U+0130) stays, and a sigma at a word's end is like any other.
    """
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    ends = np.cumsum(lengths)
    first = 0
    while first < len(texts):
        before = ends[first - 1] if first else 0
        stop = max(first + 1, int(np.searchsorted(ends, before + chars, "right")))
        yield slice(first, stop), tokenize(texts[first:stop], keep_places=keep_places, words_only=words_only)
        first = stop


def tokenize(texts: Array | Sequence[str], *, keep_places: bool = False, words_only: bool = False) -> Tokens:
    """The tokens of all texts, as one block."""
    joined = "\n".join(texts)
    if not keep_places and any(letter in joined for letter in _CONTEXTUAL):
        texts = [str(text).lower() for text in texts]
        joined = "\n".join(texts)
    begins = np.concatenate(([0], np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)))
    points, start, stop, is_word, hashes = _runs(np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32), words_only)
    bounds = np.searchsorted(start, begins).astype(np.int64)
    return Tokens(points, start, stop, is_word, hashes, bounds, begins[:-1])


def text_of(points: NDArray[np.uint32]) -> str:
    """Code points as a text."""
    return points.tobytes().decode("utf-32-le", "surrogatepass")


def bucketed(hashes: Hashes, n: int) -> Index:
    """A bucket 0 … n-1 for every hash, from its upper half: no division."""
    found: Index = ((hashes >> np.uint64(32)) * np.uint64(n) >> np.uint64(32)).astype(np.int64)
    return found


def sha256_buckets(tokens: Tokens, n: int, order: int) -> tuple[Index, Index]:
    """The buckets int(SHA-256, 16) mod `n` of every n-gram of that order as text, and the tokens that they begin with.

    What an n-gram hashes to is remembered by its 64-bit hash, in a table of 50 MB; two with the same 64 bits would share a bucket.
    """
    hashes, at = tokens.grams(order)
    keys, known = _memory(n)
    slot = (hashes & np.uint64(_SLOTS - 1)).astype(np.int64)
    found = known[slot].astype(np.int64)
    missing = np.flatnonzero(keys[slot] != hashes)
    if len(missing):
        fresh, first, where = np.unique(hashes[missing], return_index=True, return_inverse=True)
        values = np.array([_digest(text, n) for text in tokens.gram_texts(at[missing[first]], order)], np.int64)
        found[missing] = values[where]
        slots = (fresh & np.uint64(_SLOTS - 1)).astype(np.int64)
        keys[slots], known[slots] = fresh, values
    return found, at


def _digest(text: str, n: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), "big") % n


def _runs(raw: NDArray[np.uint32], words_only: bool) -> tuple[NDArray[np.uint32], Index, Index, NDArray[np.bool_], Hashes]:
    """Code points in lower case; begin, end, kind and hash of every token among them."""
    table, n = _table(), len(raw)
    fast = loops(n)
    if fast is not None:
        points, start, stop = np.empty(n, np.uint32), np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
        is_word, hashes = np.empty(n + 1, np.bool_), np.empty(n + 1, np.uint64)
        t = fast[0](raw, table, words_only, points, start, stop, is_word, hashes)
        return points, start[:t], stop[:t], is_word[:t], hashes[:t]
    entries = table.take(raw)
    points = entries & np.uint32((1 << KIND) - 1)
    kind = (entries >> KIND).astype(np.uint8)
    edges = np.concatenate(([0], np.flatnonzero(kind[1:] != kind[:-1]) + 1, [n]))
    of_run = kind[edges[:-1]] if n else kind
    seen = np.flatnonzero(of_run == WORD if words_only else of_run)
    start, stop = edges[seen], edges[seen + 1]
    return points, start, stop, of_run[seen] == WORD, _hash_runs(points, start, stop)


def _fitting(row: Index, n: int) -> Index:
    """The tokens after which n-1 more of the same row follow."""
    return np.flatnonzero(row[n - 1 :] == row[: max(len(row) + 1 - n, 0)])


def _sums(values: Array, powers: Hashes) -> Hashes:
    """Σ values·powers up to every place, modulo 2^64, 0 in front."""
    sums = np.empty(len(values) + 1, np.uint64)
    sums[0] = 0
    np.multiply(values, powers, out=sums[1:])
    np.cumsum(sums[1:], out=sums[1:])
    return sums


def _hash_runs(points: NDArray[np.uint32], start: Index, stop: Index) -> Hashes:
    """A polynomial in the characters of each run, modulo 2^64, from one cumulative sum; its length counts too. Then mixed."""
    powers, inverse = _powers(len(points) + 1)
    sums = _sums(points, powers[: len(points)])
    lengths: Hashes = (stop - start).astype(np.uint64)
    return splitmix64((sums[stop] - sums[start]) * inverse[start] + lengths * BASE)


_grown: dict[str, Hashes] = {}


def _powers(n: int) -> tuple[Hashes, Hashes]:
    """The powers 0 … n-1 of the base and of its inverse, kept and grown as needed."""
    if len(_grown.get("powers", ())) < n:
        size = max(n, BLOCK + 1024)
        for name, base in (("powers", BASE), ("inverse", INVERSE)):
            _grown[name] = np.concatenate((np.ones(1, np.uint64), np.cumprod(np.full(size - 1, base, np.uint64))))
    return _grown["powers"], _grown["inverse"]


@cache
def _table() -> NDArray[np.uint32]:
    """For every code point its lower case, where that is one letter, and from bit 30 on what Python's `re` sees in that."""
    kinds, lower = np.full(0x110000, OTHER, np.uint32), np.arange(0x110000, dtype=np.uint32)
    every = text_of(lower)
    for kind, pattern in ((WORD, r"\w+"), (SPACE, r"\s+")):
        for run in re.finditer(pattern, every):
            kinds[run.start() : run.end()] = kind
    for point in range(0x1F000):  # letters with a case lie below
        small = chr(point).lower()
        if len(small) == 1:
            lower[point] = ord(small)
    return lower | kinds[lower] << KIND


@cache
def _memory(n: int) -> tuple[Hashes, NDArray[np.int32]]:
    """The table of remembered n-grams: key and bucket a slot. Key 0 is taken for an n-gram with bucket 0 once in 2^64."""
    return np.zeros(_SLOTS, np.uint64), np.zeros(_SLOTS, np.int32)
