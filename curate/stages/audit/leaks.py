"""Rows of one set that another holds too: word for word, nearly so, or, of images and vectors, at next to no distance."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.data import Dataset
from curate.index.graph import nearest_between
from curate.index.minhash import agreeing, band_keys, signatures
from curate.signals.encoders import joined_texts

BANDS: Final = 20
BAND_ROWS: Final = 5
ALIKE: Final = 0.75  # of word n-grams
SAME_PLACE: Final = 0.03  # of the typical distance between two rows
BY_CHANCE: Final = 1e-3  # of the rows, that are taken for copies though they are not

Mask = NDArray[np.bool_]


def ngram_for(data: Dataset) -> int:
    """How many words an n-gram has, so that one changed word leaves a text nearly the same: 1 in headlines and comments, 3 in paragraphs
    (of 30 words a changed one leaves 80 % of the runs of three, of 15 not 60 %), 5 in pages.
    """
    rows = np.linspace(0, len(data) - 1, min(len(data), 2000)).astype(np.int64)
    words = float(np.median([len(text.split()) for text in joined_texts(data.select(rows), 0, len(rows))]))
    return 1 if words < 30 else 3 if words < 60 else 5


def minhash_spec(ngram: int) -> str:
    """The scorer as one would write it."""
    return f"minhash:bands={BANDS},rows={BAND_ROWS},ngram={ngram},threshold={ALIKE}"


def shared_content(hashes: NDArray[np.uint64], others: NDArray[np.uint64]) -> tuple[Mask, Mask]:
    """Which of each are in the other; 0 is an empty row and in none."""
    return np.isin(hashes, others) & (hashes != 0), np.isin(others, hashes) & (others != 0)


def near_texts(data: Dataset, test: Dataset, ngram: int) -> tuple[Mask, Mask]:
    """Which texts of each have one in the other with an estimated Jaccard similarity of .75 or more."""
    (minima, has), (theirs, there) = (signatures(joined_texts(one, 0, len(one)), BANDS * BAND_ROWS, ngram) for one in (data, test))
    ours, others = np.zeros(len(data), np.bool_), np.zeros(len(test), np.bool_)
    for key, other in zip(band_keys(minima, BANDS).T, band_keys(theirs, BANDS).T, strict=True):
        one, two = _meetings(np.where(has, key, 0), np.where(there, other, 0))
        alike = _alike(minima, theirs, one, two)
        ours[one[alike]] = True
        others[two[alike]] = True
    return ours & has, others & there


def same_place(nearest: NDArray[np.floating], typical: float, d: int) -> float:
    """Up to which distance two vectors are nearly the same: a thirtieth of the typical distance, less where rows lie close by nature.

    In d dimensions a neighbour lies within a share s of the median distance of nearest neighbours with probability 1 - 2^-(s^d); above
    a thousandth that is no sign of a copy. Of two or three numbers a row that rules, of embeddings the thirtieth.

    >>> round(same_place(np.array([0.1, 0.2, 0.3]), 1.0, 2), 4), same_place(np.array([0.1, 0.2, 0.3]), 1.0, 64)
    (0.0076, 0.03)
    """
    apart = nearest[np.isfinite(nearest) & (nearest > 0)]
    if not len(apart):
        return SAME_PLACE * typical
    return min(SAME_PLACE * typical, float(np.median(apart)) * math.pow(BY_CHANCE / math.log(2), 1 / d))


def near_vectors(vectors: NDArray[Any], others: NDArray[Any], same: float) -> tuple[Mask, Mask]:
    """Which rows of each have one of the other within that distance."""
    known, there = (np.flatnonzero(np.isfinite(one).all(axis=1)) for one in (vectors, others))
    ours, theirs = np.zeros(len(vectors), np.bool_), np.zeros(len(others), np.bool_)
    if len(known) and len(there):
        rows, distance = nearest_between(others[there].astype(np.float32), vectors[known].astype(np.float32), 1)
        near = distance[:, 0] <= same
        theirs[there[near]] = True
        ours[known[rows[near, 0]]] = True
    return ours, theirs


def _meetings(keys: NDArray[np.uint64], others: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs with one key: each of `others` with up to eight of `keys`, which are as many as tell whether it is known."""
    order = np.argsort(keys, kind="stable")
    first = np.searchsorted(keys[order], others)
    ones, twos = [], []
    for step in range(8):
        at = first + step
        met = np.flatnonzero((at < len(keys)) & (others != 0))
        met = met[keys[order[at[met]]] == others[met]]
        ones.append(order[at[met]])
        twos.append(met)
    return np.concatenate(ones), np.concatenate(twos)


def _alike(minima: NDArray[np.uint32], others: NDArray[np.uint32], one: NDArray[np.int64], two: NDArray[np.int64]) -> Mask:
    both = np.concatenate([minima[one], others[two]])
    return agreeing(both, np.arange(len(one)), np.arange(len(one), 2 * len(one)), ALIKE)
