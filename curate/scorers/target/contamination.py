"""contamination: how much of a text stands word for word in an evaluation set.

Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C (13-grams); the longest span as in Singh et al. 2024,
"Evaluation data contamination in LLMs: how do we measure it and (when) does it matter?".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError, OptionError
from curate.ngrams import Hashes, Index, Tokens, blocks
from curate.protocols import Array, Columns, Keep, Shard, Sign, State

DIRTY: Final = 0.8  # share of an evaluation row's words from which Touvron et al. 2023 call it dirty
SIEVE: Final = (1 << 16, 1 << 26)  # least and most places of the table that most n-grams are turned away by


@dataclass(frozen=True)
class _Found:
    """Where a block's n-grams stand in the target: the token that each begins with, its length in words, its place in the list."""

    at: Index
    order: Index
    which: Index


class Contamination:
    """Share of a row's words that lie in an n-gram of the evaluation set, 0 … 1; low is kept.

    Reads `text`, the training rows, and `target.text`, the evaluation set: `--target EVAL.jsonl`. Words are runs of letters and digits in
    lower case; case, punctuation and line ends do not hide a match. An evaluation row of `shortest` up to `n` words is looked for whole;
    one under `shortest` cannot be told from chance and is left out, and counted. Compares 64-bit hashes.

    `hits` counts the n-grams found: GPT-3's rule is to drop rows with any, `--where "contamination.hits == 0"`. `longest` is the longest
    unbroken stretch in words, the best sign of a leak; `start` and `stop` say where in the text it is, in characters, and `target_row`
    the evaluation row that its first n-gram stands in (the first of several); all -1 where there is none. n-grams that occur
    more than `common` times among the rows are stock phrases and do not count (GPT-3: 10; 0, the default, lets all count: a
    leak may be copied often).

    Facts: how many evaluation rows are in the rows to some extent, and how many to 80 % of their words or more. They take a pass of
    their own, as `common` does; `report=false` leaves it out, and then a row's score holds for it in any dataset. Memory: some
    40 bytes an n-gram of the evaluation set.
    """

    requires = ("text", "target.text")
    hard_sign: Sign = 0
    keep: Keep = "low"
    combine: Literal["mean"] = "mean"
    merges_early: Literal[True] = True
    version = 1

    def __init__(self, *, n: int = 13, shortest: int = 8, common: int = 0, report: bool = True) -> None:
        if not 1 <= n <= 100:
            raise OptionError(f"contamination: n must be 1 … 100 words, got {n}.")
        if shortest < 1:
            raise OptionError(f"contamination: shortest must be 1 or more words, got {shortest}.")
        if common < 0:
            raise OptionError(f"contamination: common must be 0 (off) or more, got {common}.")
        self.n = n
        self.shortest = shortest
        self.common = common
        self.report = report
        self.least = min(shortest, n)  # words of the shortest n-gram that is looked for
        self.passes = 1 if report or common else 0

    def settle(self, epochs: int) -> Self:
        return self

    def fit_target(self, shard: Shard) -> State:
        parts: dict[str, list[Array]] = {"hash": [], "head": [], "order": [], "row": [], "at": [], "words": [np.empty(0, np.int64)]}
        for rows, words in blocks(shard["target.text"], keep_places=True, words_only=True):
            parts["words"].append(words.counts)
            for order, hashes, at in self._of_target(words):
                parts["hash"].append(hashes)
                parts["head"].append(words.grams_at(at, self.least)[0])
                parts["order"].append(np.full(len(at), order))
                parts["row"].append(shard.rows[rows][words.row[at]])
                parts["at"].append(at - words.bounds[words.row[at]])
        return {name: np.concatenate(arrays) if arrays else np.empty(0, np.int64) for name, arrays in parts.items()}

    def merge_target(self, states: Sequence[State]) -> State:
        """Every n-gram of the target once, sorted, with its length and first row; and where each occurs, for the coverage."""
        whole = {name: np.concatenate([state[name] for state in states]) for name in states[0]}
        if not len(whole["hash"]):
            raise InputError(
                f"contamination: none of the {len(whole['words']):,} rows of the target has the {self.least} words that a match takes. "
                "Name its text column with --target-input, or lower shortest."
            )
        hashes, first, where = np.unique(whole["hash"].astype(np.uint64), return_index=True, return_inverse=True)
        own = {"hash": hashes, "head": whole["head"][first], "order": whole["order"][first], "first_row": whole["row"][first]}
        return own | {"gram": where, "row": whole["row"], "at": whole["at"], "words": whole["words"]}

    def fit(self, shard: Shard, state: State | None) -> State:
        assert state is not None, "the target is there"
        lookup = _Lookup(state, self.least)
        counts, touched = np.zeros(len(lookup.hashes), np.int64), 0
        for _, words in blocks(shard["text"], keep_places=True, words_only=True):
            found = lookup.find(words)
            counts += np.bincount(found.which, minlength=len(counts))
            touched += len(np.unique(words.row[found.at]))
        return {"counts": counts, "touched": np.array([touched])}

    def merge(self, states: Sequence[State]) -> State:
        return {name: np.sum([state[name] for state in states], axis=0) for name in states[0]}

    def conclude(self, state: State) -> Mapping[str, float | int | str]:
        words = state["target.words"]
        facts: dict[str, float | int | str] = {
            "target_rows": len(words),
            "target_rows_too_short": int((words < self.least).sum()),
        }
        if not self.passes:
            return facts
        covered = self._covered(state)
        facts["target_rows_touched"] = int((covered > 0).sum())
        facts["target_rows_at_80_percent"] = int((covered >= DIRTY * words)[words > 0].sum())
        return facts if self.common else facts | {"rows_touched": int(state["touched"][0])}

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "the target is there"
        lookup = _Lookup(state, self.least, self._allowed(state))
        n = len(shard)
        columns: dict[str, Array] = {"score": np.zeros(n, np.float32), "hits": np.zeros(n, np.int32), "longest": np.zeros(n, np.int32)}
        columns |= {name: np.full(n, -1, np.int64) for name in ("start", "stop", "target_row")}
        for rows, words in blocks(shard["text"], keep_places=True, words_only=True):
            found = lookup.find(words)
            if len(found.at):
                for name, values in _of_block(words, found, lookup.first_row).items():
                    columns[name][rows] = values
        return columns

    def _of_target(self, words: Tokens) -> "list[tuple[int, Hashes, Index]]":
        """The n-grams to look for: all of length n, and rows that are shorter as a whole."""
        wanted = [(self.n, *words.grams(self.n))]
        for order in range(self.least, self.n):
            hashes, at = words.grams(order)
            whole = words.counts[words.row[at]] == order
            wanted.append((order, hashes[whole], at[whole]))
        return wanted

    def _allowed(self, state: State) -> NDArray[np.bool_] | None:
        """Which n-grams of the target count."""
        return state["counts"] <= self.common if self.common else None

    def _covered(self, state: State) -> Index:
        """How many words of each target row lie in an n-gram that was found, (target rows,)."""
        counts = state["counts"] > 0
        allowed = self._allowed(state)
        hit = (counts if allowed is None else counts & allowed)[state["target.gram"]]
        words = state["target.words"]
        begins = np.concatenate(([0], np.cumsum(words)))
        at = begins[state["target.row"][hit]] + state["target.at"][hit]
        covered = _covered_words(at, state["target.order"][state["target.gram"][hit]], int(begins[-1]))
        sums = np.concatenate(([0], np.cumsum(covered)))
        found: Index = sums[begins[1:]] - sums[begins[:-1]]
        return found


class _Lookup:
    """Finds n-grams in the target's sorted list; a table of one byte a place turns most of them away first, by their first words.

    Every n-gram that is looked for, short or long, begins with `least` words, so that one hash a place tells where none of them can be.
    """

    def __init__(self, state: State, least: int, allowed: NDArray[np.bool_] | None = None) -> None:
        self.hashes: Hashes = state["target.hash"]
        self.first_row: Index = state["target.first_row"]
        self.least = least
        self.allowed = allowed
        self.orders = np.unique(state["target.order"]).tolist()
        self.bits = min(max(SIEVE[0], 16 * len(self.hashes)), SIEVE[1]).bit_length() - 1
        self.sieve = np.zeros(1 << self.bits, np.bool_)
        for shift in self._shifts():
            self.sieve[_place(state["target.head"], shift, self.bits)] = True

    def find(self, words: Tokens) -> _Found:
        """Where the words have n-grams of the target."""
        hashes, at = words.grams(self.least)
        for shift in self._shifts():  # the second place is looked at of those few whose first is taken
            maybe = np.flatnonzero(self.sieve.take(_place(hashes, shift, self.bits)))
            hashes, at = hashes[maybe], at[maybe]
        found = [self._find(order, *words.grams_at(at, order)) for order in self.orders]
        return _Found(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _find(self, order: int, hashes: Hashes, at: Index) -> tuple[Index, Index, Index]:
        which = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        hit = self.hashes[which] == hashes
        if self.allowed is not None:
            hit &= self.allowed[which]
        return at[hit], np.full(int(hit.sum()), order), which[hit]

    def _shifts(self) -> tuple[int, int]:
        return 64 - self.bits, 32 - self.bits


def _place(hashes: Hashes, shift: int, bits: int) -> Index:
    place: Index = ((hashes >> np.uint64(shift)) & np.uint64((1 << bits) - 1)).view(np.int64)
    return place


def _of_block(words: Tokens, found: _Found, first_row: Index) -> dict[str, Array]:
    """The columns of a block in which something was found."""
    n, row = len(words.counts), words.row
    covered = _covered_words(found.at, found.order, len(row))
    sums = np.concatenate(([0], np.cumsum(covered)))
    share = (sums[words.bounds[1:]] - sums[words.bounds[:-1]]) / np.maximum(words.counts, 1)
    columns: dict[str, Array] = {"score": share, "hits": np.bincount(row[found.at], minlength=n)}
    begin, end = _runs(covered, words.bounds)
    best = np.lexsort((begin, begin - end, row[begin]))  # a row's runs together, the longest first
    best = best[np.concatenate(([True], np.diff(row[begin[best]]) > 0))]
    begin, end, of = begin[best], end[best], row[begin[best]]
    order = np.argsort(found.at, kind="stable")
    first = found.which[order[np.searchsorted(found.at[order], begin)]]
    placed = {"longest": end - begin, "start": words.start[begin] - words.begins[of], "stop": words.stop[end - 1] - words.begins[of]}
    for name, values in (placed | {"target_row": first_row[first]}).items():
        columns[name] = np.full(n, 0 if name == "longest" else -1, np.int64)
        columns[name][of] = values
    return columns


def _covered_words(at: Index, order: Index, n: int) -> NDArray[np.bool_]:
    """Which of `n` words lie in an n-gram that begins at one of these, (n,)."""
    edges = np.bincount(at, minlength=n + 1) - np.bincount(at + order, minlength=n + 1)
    covered: NDArray[np.bool_] = np.cumsum(edges)[:n] > 0
    return covered


def _runs(covered: NDArray[np.bool_], bounds: Index) -> tuple[Index, Index]:
    """First word and end of every unbroken stretch; none goes on into the next row."""
    fresh = np.zeros(len(covered) + 1, np.bool_)
    fresh[bounds] = True
    padded = np.concatenate(([False], covered, [False]))
    begin = np.flatnonzero(padded[1:-1] & (~padded[:-2] | fresh[:-1]))
    end = np.flatnonzero(padded[1:-1] & (~padded[2:] | fresh[1:])) + 1
    return begin, end
