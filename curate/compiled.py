"""The loops of `ngrams` as machine code where numba is installed (`pip install "curatekit[compiled]"`): the same numbers, sooner.

They are plain Python over arrays, so that they are tested without numba, too; it alone makes them fast.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from curate.rng import GAMMA, MIX_1, MIX_2

WORTH: Final = 1 << 25  # characters after which numba's start, about a second, is won back
SPACE, WORD, OTHER = 0, 1, 2
KIND: Final = np.uint32(30)  # the bit of a table's entry from which on stands what the character is; below, its lower case

BASE: Final = np.uint64(0x9E3779B97F4A7C55)  # odd, so that it has an inverse modulo 2^64
INVERSE: Final = np.uint64(pow(int(BASE), -1, 1 << 64))

_POINT: Final = np.uint32((1 << 30) - 1)
_27, _30, _31 = np.uint64(27), np.uint64(30), np.uint64(31)

Loop = Callable[..., int]
_log = logging.getLogger(__name__)
_passed = [0]  # characters so far


def loops(chars: int) -> tuple[Loop, Loop] | None:
    """`runs` and `grams`, compiled; None without numba, and for as long as fewer characters than it takes have gone by, with these."""
    _passed[0] += chars
    return _compiled() if _passed[0] >= WORTH else None


def begin() -> bool:
    """Takes them from now on, however few characters are to come; says whether numba is there."""
    _passed[0] = WORTH
    return _compiled() is not None


def runs(raw: Any, table: Any, words_only: bool, points: Any, start: Any, stop: Any, is_word: Any, hashes: Any) -> int:
    """Cuts `raw`, (c,) code points, into tokens; says how many, and fills the rest: `points`, (c,) in lower case, and a place a token.

    These must have c + 1 places. No branch but the loop's: where a token ends cannot be foretold, and to be wrong costs more than
    to write a place twice.
    """
    n, run, before = len(raw), 0, np.uint32(3)
    total, power, inverse = np.uint64(0), np.uint64(1), np.uint64(1)
    scale, kinds = np.empty(n + 1, np.uint64), np.empty(n + 1, np.uint8)
    for i in range(n):
        entry = table[raw[i]]
        kind, point = entry >> KIND, entry & _POINT
        points[i] = point
        start[run], hashes[run], scale[run], kinds[run] = i, total, inverse, kind
        run += kind != before
        before = kind
        total += np.uint64(point) * power
        power *= BASE
        inverse *= INVERSE
    start[run], hashes[run] = n, total
    t = 0
    for r in range(run):
        begin, end, kind = start[r], start[r + 1], kinds[r]
        z = (hashes[r + 1] - hashes[r]) * scale[r] + np.uint64(end - begin) * BASE + GAMMA
        z = (z ^ (z >> _30)) * MIX_1
        z = (z ^ (z >> _27)) * MIX_2
        start[t], stop[t], is_word[t], hashes[t] = begin, end, kind == WORD, z ^ (z >> _31)
        t += (kind == WORD) | ((kind == OTHER) & (not words_only))
    return t


def grams(tokens: Any, bounds: Any, n: int, hashes: Any, at: Any) -> int:
    """The hash of every n-gram of `tokens`, (t,) hashes, inside a row, and the token that it begins with; says how many."""
    top = np.uint64(1)
    for _ in range(n - 1):
        top *= BASE
    g = 0
    for row in range(len(bounds) - 1):
        total, power = np.uint64(0), np.uint64(1)
        for i in range(bounds[row], bounds[row + 1]):
            if i - bounds[row] < n:
                total += tokens[i] * power
                power *= BASE
            else:
                total = (total - tokens[i - n]) * INVERSE + tokens[i] * top
            if i - bounds[row] >= n - 1:
                z = total + GAMMA
                z = (z ^ (z >> _30)) * MIX_1
                z = (z ^ (z >> _27)) * MIX_2
                hashes[g], at[g] = z ^ (z >> _31), i - n + 1
                g += 1
    return g


@cache
def _compiled() -> tuple[Loop, Loop] | None:
    try:
        from numba import njit
    except ImportError as error:  # not installed, or not for this numpy
        _log.info("n-grams are made without numba: %s", error)
        return None
    try:
        return njit(cache=True, nogil=True)(runs), njit(cache=True, nogil=True)(grams)
    except RuntimeError:  # nowhere to keep what is compiled: some seconds a process
        return njit(nogil=True)(runs), njit(nogil=True)(grams)
