"""MinHash: texts that share most of their word n-grams, found without comparing every pair.

Broder 1997, "On the Resemblance and Containment of Documents"; defaults of FineWeb (Penedo et al. 2024);
official code huggingface/datatrove.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from curate.errors import MissingExtraError, OptionError
from curate.index.components import components
from curate.index.minhash import band_keys, found_pairs, rensa_version, signatures
from curate.protocols import Columns, Shard, State
from curate.scorers.duplicates.verdict import verdict


class MinHash:
    """How many rows are near-duplicates of each other where this row is one, 1 for a row without any; keep low.

    Columns `component` (the lowest row of the group) and `is_duplicate` (in a group and not its lowest row), for
    `--where "not minhash.is_duplicate"`. Two texts are joined where one of `bands` bands of `rows` hashes of their word n-grams agrees,
    which happens to a pair of Jaccard similarity J with probability 1 - (1 - J^rows)^bands: at 14 x 8 to 56 % at .7, 92 % at .8. With
    `threshold` the whole signature must agree in that share of places, too. Groups hang together by pairs, so that their ends may
    be less alike. Words are runs of letters and digits in lower case; a text of fewer than `ngram` words is never a duplicate (of
    headlines take ngram=3 or 2). Signatures are made by rensa where it is installed, in about half the time, else by numpy; they find as
    much but not the same pairs, so `backend=auto` stays with what a store was begun with. State: 8 bytes a band and row, with `threshold`
    4 a hash more.
    """

    requires = ("text",)
    hard_sign = 0
    keep = "low"
    passes = 1
    combine = "mean"
    version = 1

    def __init__(
        self,
        *,
        bands: int = 14,
        rows: int = 8,
        ngram: int = 5,
        threshold: float | None = None,
        backend: Literal["auto", "numpy", "rensa"] = "auto",
    ) -> None:
        for option, value in (("bands", bands), ("rows", rows), ("ngram", ngram)):
            if not 1 <= value <= 1000:
                raise OptionError(f"minhash: {option} must be 1 … 1000, got {value}.")
        if threshold is not None and not 0 < threshold <= 1:
            raise OptionError(f"minhash: threshold is a similarity, above 0 and up to 1; got {threshold}.")
        self.bands = bands
        self.rows = rows
        self.ngram = ngram
        self.threshold = threshold
        self.backend: Literal["auto", "numpy", "rensa"] = backend

    def settle(self, epochs: int) -> "MinHash":
        """Nothing depends on a run."""
        return self

    def on_machine(self, recorded: Mapping[str, Any] | None) -> "MinHash":
        """`backend=auto` is what the recorded scores were made with, or else rensa where it is installed."""
        here, backend = rensa_version(), self.backend
        if backend == "auto":
            known = here if recorded is None else recorded.get("backend")
            backend = "numpy" if known is None else "rensa"
        if backend == "rensa" and here is None:
            of = "of this store" if recorded is not None and "backend" in recorded else "that were asked for"
            raise MissingExtraError(
                f"minhash: the signatures {of} are rensa's, which is not installed here, and numpy's cannot stand beside them. "
                'Install it: pip install "curatekit[minhash]", or make new ones: --scorer NEWNAME=minhash:backend=numpy'
            )
        return MinHash(bands=self.bands, rows=self.rows, ngram=self.ngram, threshold=self.threshold, backend=backend)

    def identity(self) -> Mapping[str, str | None]:
        """Which rensa made the signatures; nothing where numpy did, whose never change."""
        return {"backend": f"rensa {rensa_version()}" if self.backend == "rensa" else None}

    def fit(self, shard: Shard, state: State | None) -> State:
        backend = self.backend
        if backend == "auto":  # by hand, without a store that would say what it was begun with
            backend = "numpy" if rensa_version() is None else "rensa"
        minima, has = signatures(list(shard["text"]), self.bands * self.rows, self.ngram, backend)
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
