"""MinHash: texts that share most of their word n-grams, found without comparing every pair.

Broder 1997, "On the Resemblance and Containment of Documents"; defaults of FineWeb (Penedo et al. 2024);
official code huggingface/datatrove.
"""

from collections.abc import Sequence

import numpy as np

from curate.errors import OptionError
from curate.index.components import components
from curate.index.minhash import band_keys, found_pairs, signatures
from curate.protocols import Columns, Shard, State
from curate.scorers.duplicates.verdict import verdict


class MinHash:
    """How many rows are near-duplicates of each other where this row is one, 1 for a row without any; keep low.

    Columns `component` (the lowest row of the group) and `is_duplicate` (in a group and not its lowest row), for
    `--where "not minhash.is_duplicate"`. Two texts are joined where one of `bands` bands of `rows` hashes of their word n-grams agrees,
    which happens to a pair of Jaccard similarity J with probability 1 - (1 - J^rows)^bands: at 14 x 8 to 56 % at .7, 92 % at .8. With
    `threshold` the whole signature must agree in that share of places, too. Groups hang together by pairs, so that their ends may
    be less alike. Words are runs of letters and digits in lower case; a text of fewer than `ngram` words is never a duplicate (of
    headlines take ngram=3 or 2). State: 8 bytes a band and row, with `threshold` 4 a hash more.
    """

    requires = ("text",)
    hard_sign = 0
    keep = "low"
    passes = 1
    combine = "mean"
    version = 1

    def __init__(self, *, bands: int = 14, rows: int = 8, ngram: int = 5, threshold: float | None = None) -> None:
        for option, value in (("bands", bands), ("rows", rows), ("ngram", ngram)):
            if not 1 <= value <= 1000:
                raise OptionError(f"minhash: {option} must be 1 … 1000, got {value}.")
        if threshold is not None and not 0 < threshold <= 1:
            raise OptionError(f"minhash: threshold is a similarity, above 0 and up to 1; got {threshold}.")
        self.bands = bands
        self.rows = rows
        self.ngram = ngram
        self.threshold = threshold

    def settle(self, epochs: int) -> "MinHash":
        """Nothing depends on a run."""
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        minima, has = signatures(list(shard["text"]), self.bands * self.rows, self.ngram)
        kept = {"row": shard.rows[has], "band": band_keys(minima[has], self.bands)}
        return kept | ({"minima": minima[has]} if self.threshold is not None else {})

    def merge(self, states: Sequence[State]) -> State:
        """The groups; the signatures have done their work."""
        row = np.concatenate([state["row"] for state in states])
        bands = (np.concatenate([state["band"][:, i] for state in states]) for i in range(self.bands))  # one at a time
        minima = np.concatenate([state["minima"] for state in states]) if self.threshold is not None else None
        return {"row": row, "component": row[components(found_pairs(bands, minima, self.threshold or 0.0), len(row))]}

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "a pass has run"
        return verdict(shard.rows, state["row"], state["component"])
