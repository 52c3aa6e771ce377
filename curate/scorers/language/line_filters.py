"""line_filters: the share of line-quality filters that a text's lines pass, weighted by what each does for perplexity.

Sharma et al. 2024, "Text Quality-Based Pruning for Efficient Training of Language Models".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.errors import OptionError
from curate.ngrams import Index, Tokens, blocks, bucketed, tokenize
from curate.protocols import Array, Columns, Keep, Shard, Sign, State
from curate.rng import splitmix64

STOP_WORDS: Final = "the be to of and that have with"
DETERMINERS: Final = "the a an this that these those my your his her its our their some any no every each either neither both all another"
BUCKETS: Final = 1 << 18
FILTERS: Final = (
    "first_letter_caps",
    "not_all_caps",
    "few_repeated_words",
    "few_digits_and_punctuation",
    "no_braces",
    "terminal_punctuation",
    "two_stop_words",
    "no_javascript_or_lorem_ipsum",
    "more_than_3_tokens",
    "4_to_255_words",
    "has_determiner",
    "words_with_letters",
    "usual_word_length",
    "no_ellipsis",
)


class LineFilters:
    """Token-weighted mean over lines of the weighted share of 14 filters that a line passes, 0 … 1; high is kept.

    Reads `text`; empty lines do not count. Eleven filters are the paper's: the first letter is a capital; not all are; at most 0.2 of
    the words repeat; digits and punctuation are at most 0.25 of the words; no `{`; a line ends in . ! ? or a quote; two stop words; neither
    "javascript" nor "lorem ipsum"; more than 3 tokens; 4 to 255 words; a determiner. The paper's other three (noun, object, complexity)
    need a parser; in their place stand Gopher's: 0.8 of the words have a letter, words are 3 to 10 letters long on average, and
    no line ends in an ellipsis. They are made for English: in other scripts a low score says little.

    All filters weigh alike, or as `weights` say: 14 numbers joined by `+`, in the order above. The paper's are max(0, (PPL_all -
    PPL_passing) / PPL_all), with a pretrained language model's perplexity of the lines that pass a filter. `reference=bigram` does so with
    an interpolated hashed bigram model of the rows themselves, each pair left out of its own count: no download, two more passes. On mixed
    web text it left half of the filters without weight, since repeated markup surprises such a model least; try it on one kind of text.

    A column a filter holds the share of tokens in lines that pass it; `lines` counts. Facts: the weights.
    """

    requires = ("text",)
    hard_sign: Sign = 0
    keep: Keep = "high"
    combine: Literal["mean"] = "mean"
    merges_early: Literal[True] = True
    version = 1

    def __init__(self, *, weights: tuple[float, ...] | None = None, reference: Literal["none", "bigram"] = "none") -> None:
        if weights is not None and (len(weights) != len(FILTERS) or min(weights) < 0 or not 0 < sum(weights) < np.inf):
            raise OptionError(
                f"line_filters: weights must be {len(FILTERS)} numbers from 0 up, not all 0; got {'+'.join(map(str, weights))}."
            )
        if weights is not None and reference != "none":
            raise OptionError("line_filters: weights are given or follow from a reference, not both. Leave one out.")
        self.weights = weights
        self.reference: Literal["none", "bigram"] = reference
        self.passes = 0 if reference == "none" else 2

    def settle(self, epochs: int) -> Self:
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        if state is None:
            counts = {"words": np.zeros(BUCKETS, np.int64), "pairs": np.zeros(BUCKETS, np.int64)}
            for _, _, tokens in _lines(shard["text"]):
                counts["words"] += np.bincount(bucketed(tokens.hash, BUCKETS), minlength=BUCKETS)
                counts["pairs"] += np.bincount(bucketed(tokens.grams(2)[0], BUCKETS), minlength=BUCKETS)
            return counts
        nll, size = np.zeros(len(FILTERS) + 1), np.zeros(len(FILTERS) + 1, np.int64)
        for _, lines, tokens in _lines(shard["text"]):
            passes = np.vstack([_passes(lines, tokens), np.ones(len(lines), np.bool_)])
            nll += passes @ np.bincount(tokens.row, _surprise(tokens, state), minlength=len(lines))
            size += passes @ tokens.counts
        return {"nll": nll, "tokens": size}

    def merge(self, states: Sequence[State]) -> State:
        return {name: np.sum([state[name] for state in states], axis=0) for name in states[0]}

    def conclude(self, state: State) -> Mapping[str, float | int | str]:
        weights = self._weights(state)
        if len(set(weights.tolist())) == 1:
            return {"weights": f"all {len(FILTERS)} filters alike"}
        told = [f"{FILTERS[i]} {weights[i]:.3g}" for i in np.argsort(-weights, kind="stable") if weights[i]]
        return {"weights": ", ".join(told) + (f"; none for the other {len(FILTERS) - len(told)}" if len(told) < len(FILTERS) else "")}

    def score(self, shard: Shard, state: State | None) -> Columns:
        weights, n = self._weights(state or {}), len(shard)
        share, size, count = np.zeros((len(FILTERS) + 1, n)), np.zeros(n), np.zeros(n, np.int32)
        for row, lines, tokens in _lines(shard["text"]):
            passes = _passes(lines, tokens)
            for i, values in enumerate([*passes, weights @ passes / weights.sum()]):
                share[i] += np.bincount(row, values * tokens.counts, minlength=n)
            size += np.bincount(row, tokens.counts, minlength=n)
            count += np.bincount(row, minlength=n).astype(np.int32)
        with np.errstate(invalid="ignore"):
            share = (share / size).astype(np.float32)  # 0 / 0: a text without any line is NaN
        return {"score": share[-1], **dict(zip(FILTERS, share, strict=False)), "lines": count}

    def _weights(self, state: State) -> NDArray[np.float64]:
        if self.reference == "none":
            return np.ones(len(FILTERS)) if self.weights is None else np.array(self.weights)
        size = np.maximum(state["tokens"], 1)
        perplexity = np.where(state["tokens"] > 0, np.exp(state["nll"] / size), np.inf)
        weights = np.maximum(0, (perplexity[-1] - perplexity[:-1]) / perplexity[-1]) if state["tokens"][-1] else np.zeros(len(FILTERS))
        return weights if weights.any() else np.ones(len(FILTERS))  # where no filter helps, all count alike


def _lines(texts: Array) -> Iterator[tuple[Index, list[str], Tokens]]:
    """Lines that are not empty, in blocks: the text that each is of, the lines, their tokens."""
    cut = [[line for line in str(text).split("\n") if line.strip()] for text in texts]
    every = [line for lines in cut for line in lines]
    row = np.repeat(np.arange(len(cut)), np.fromiter(map(len, cut), np.int64, len(cut)))
    for part, tokens in blocks(every):
        yield row[part], every[part], tokens


def _passes(lines: list[str], tokens: Tokens) -> NDArray[np.bool_]:
    """Which filters each line passes, (filters, lines)."""
    text, n = pa.array(lines, pa.large_string()), len(lines)
    words = tokens.words()
    count = np.maximum(words.counts, 1)

    def has(function: Callable[..., Any], *arguments: Any, **options: Any) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.asarray(function(text, *arguments, **options))
        return found

    first, numeric = np.array([line.lstrip()[:1].isupper() for line in lines]), _numeric(words)
    odd = tokens.counts - words.counts + np.bincount(words.row, numeric, minlength=n)
    _, unique = np.unique(words.hash ^ splitmix64(words.row.astype(np.uint64)), return_index=True)
    repeated = 1 - np.bincount(words.row[unique], minlength=n) / count
    length = np.bincount(words.row, words.stop - words.start, minlength=n) / count
    return np.array(
        [
            first,
            ~has(pc.utf8_is_upper),
            repeated <= 0.2,
            odd / count <= 0.25,
            ~has(pc.match_substring, "{"),
            has(pc.match_substring_regex, r'[.!?"”’]\s*$'),
            _number_of(words, STOP_WORDS) >= 2,
            ~has(pc.match_substring_regex, "javascript|lorem ipsum", ignore_case=True),
            tokens.counts > 3,
            (words.counts > 3) & (words.counts < 256),
            _number_of(words, DETERMINERS) >= 1,
            np.bincount(words.row, ~numeric, minlength=n) / count >= 0.8,
            (length >= 3) & (length <= 10),
            ~has(pc.match_substring_regex, r"(\.\.\.|…)\s*$"),
        ]
    )


def _numeric(words: Tokens) -> NDArray[np.bool_]:
    """Which words are digits only."""
    digits = np.concatenate(([0], np.cumsum((words.points >= ord("0")) & (words.points <= ord("9")))))
    all_digits: NDArray[np.bool_] = digits[words.stop] - digits[words.start] == words.stop - words.start
    return all_digits


def _number_of(words: Tokens, wanted: str) -> Index:
    return np.bincount(words.row, np.isin(words.hash, tokenize([wanted]).hash), minlength=len(words.counts)).astype(np.int64)


def _surprise(tokens: Tokens, state: State) -> NDArray[np.float64]:
    """-ln p of each token after the one before it in its line, nats: half bigram, half unigram counts, its own occurrence left out."""
    counts = state["words"]
    own = counts[bucketed(tokens.hash, BUCKETS)]
    p = own / (counts.sum() + BUCKETS)
    pair, at = tokens.grams(2)
    after = np.maximum(state["pairs"][bucketed(pair, BUCKETS)] - 1, 0) / np.maximum(own[at] - 1, 1)
    p[at + 1] = 0.5 * p[at + 1] + 0.5 * np.minimum(after, 1.0)
    surprise: NDArray[np.float64] = -np.log(p)
    return surprise
