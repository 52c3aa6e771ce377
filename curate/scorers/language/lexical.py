"""lexical: how varied a text's words are.

Covington, McFall 2010, "Cutting the Gordian Knot: The Moving-Average Type-Token Ratio (MATTR)".
"""

import numpy as np
from numpy.typing import NDArray

from curate.errors import OptionError
from curate.ngrams import Index, Tokens, blocks
from curate.protocols import Array, Columns, PerRow, Shard
from curate.rng import splitmix64


class Lexical(PerRow):
    """Moving-average type-token ratio: the share of different words in a window, mean over all windows, 0 … 1; high is kept.

    Reads `text`; words are runs of letters and digits in lower case. A text shorter than `window` is one window. Unlike the plain
    ratio it does not fall with length, so a low score means repetition: boilerplate, lists, loops of a generator. `distinct_1`
    and `distinct_2` are different words and word pairs over all of them (distinct-n), `feature_density` both together; `words` counts.
    NaN where there is no word. One pass, no state.
    """

    requires = ("text",)

    def __init__(self, *, window: int = 50) -> None:
        if window < 2:
            raise OptionError(f"lexical: window must be 2 words or more, got {window}.")
        self.window = window

    def score_rows(self, shard: Shard) -> Columns:
        n = len(shard)
        columns: dict[str, Array] = {name: np.zeros(n, np.float32) for name in ("score", "distinct_1", "distinct_2", "feature_density")}
        columns["words"] = np.zeros(n, np.int32)
        for rows, words in blocks(shard["text"], words_only=True):
            for name, values in self._of_block(words).items():
                columns[name][rows] = values
        return columns

    def _of_block(self, words: Tokens) -> dict[str, Array]:
        (kinds, all_), (pairs, all_pairs) = (_distinct(words, order) for order in (1, 2))
        none = np.where(words.counts > 0, 1.0, np.nan)
        return {
            "score": none * _moving(words, self.window),
            "distinct_1": none * kinds / np.maximum(all_, 1),
            "distinct_2": none * np.where(all_pairs > 0, pairs / np.maximum(all_pairs, 1), 1.0),
            "feature_density": none * (kinds + pairs) / np.maximum(all_ + all_pairs, 1),
            "words": words.counts,
        }


def _distinct(words: Tokens, order: int) -> tuple[Index, Index]:
    """How many different n-grams each row has, and how many in all; both (rows,)."""
    hashes, at = words.grams(order)
    row, n = words.row[at], len(words.counts)
    _, first = np.unique(_of_row(hashes, row), return_index=True)
    return np.bincount(row[first], minlength=n), np.bincount(row, minlength=n)


def _moving(words: Tokens, window: int) -> NDArray[np.float64]:
    """The moving-average type-token ratio of each row, (rows,).

    A word is new in the windows that begin after its last occurrence, so each word adds to a known number of windows: no window is visited.
    """
    row = words.row
    place = np.arange(len(row)) - words.bounds[row]
    size = np.minimum(words.counts, window)
    last = words.counts - size  # the place at which a row's last window begins
    earliest = np.maximum(_previous(_of_row(words.hash, row), place) + 1, np.maximum(place - size[row] + 1, 0))
    new_in = np.maximum(np.minimum(place, last[row]) - earliest + 1, 0)
    total = np.bincount(row, new_in, minlength=len(words.counts))
    mean: NDArray[np.float64] = total / np.maximum(size * (last + 1), 1)
    return mean


def _previous(keys: Array, place: Index) -> Index:
    """Where the same word stood before in its row, -1 where it is new, (t,)."""
    order = np.argsort(keys, kind="stable")
    same = np.concatenate(([False], keys[order][1:] == keys[order][:-1]))[: len(keys)]
    found = np.full(len(keys), -1, np.int64)
    found[order[same]] = place[order[np.flatnonzero(same) - 1]]
    return found


def _of_row(hashes: Array, row: Index) -> Array:
    """Hashes that differ between rows."""
    return hashes ^ splitmix64(row.astype(np.uint64))
