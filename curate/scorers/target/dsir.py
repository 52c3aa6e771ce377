"""DSIR: how much likelier a text is under the target's n-grams than under those of the rows.

Xie, Santurkar, Ma, Liang 2023, "Data Selection for Language Models via Importance Resampling"; official code p-lambda/dsir.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError, OptionError
from curate.ngrams import Index, Tokens, blocks, bucketed, sha256_buckets
from curate.numerics import pieces_at
from curate.protocols import Array, Columns, Keep, Shard, Sign, State
from curate.rng import KeyedRandom

Floats = NDArray[np.float64]

FLOOR: Final = 1e-8  # what the official code adds to every probability
CHUNK: Final = 128  # words of a chunk in the paper's pipeline
SAMPLED: Final = 2048  # rows by which the gain is estimated
LONGEST: Final = 2048  # n-grams of each that count there


class DSIR:
    """Log importance weight of a row: the sum over its n-grams of ln p(n-gram | target) - ln p(n-gram | rows); high is kept.

    Reads `text` and `target.text`. Features are unigrams and bigrams (up to `ngrams`) of lower-cased words and punctuation, hashed
    into `buckets`; probabilities are counts over their sum plus 1e-8, or with `laplace` above 0 counts plus that many (0.1 did
    better wherever the target was under a few hundred thousand n-grams). `log_weight`
    is the plain sum, as the official package has it: there long texts win if the target is near and short ones if it is far, which its
    authors met by cutting texts to 128-word chunks first. So `score` is by default the log-weight per n-gram times the n-grams of
    such a chunk (`length=chunk`); `mean` per n-gram, `sqrt` over its root, `none` the plain sum. `words` counts the tokens.

    The paper draws rows in proportion to the weight and without replacement: `--sampler gumbel:scale=raw,temperature=1`; `--sampler top`
    is the package's `top_k`. It leaves out texts under 100 tokens: `--where "dsir.words >= 100"`.

    `hash=sha256` gives the buckets of the official package, and its weights to rounding (with NLTK below 3.10, which cuts words as
    Python's `re` does); `fast`, the default, other buckets and so other collisions, at seven to fourteen times the speed. Fits on all
    rows where the package stops at 100,000 n-grams a bucket. Costs two passes; memory two counts a bucket. Facts: the KL divergence
    from the target of all rows, of the best and of a random tenth (by n-grams) of 2,048 sampled rows, one count added to each bucket.
    """

    requires = ("text", "target.text")
    hard_sign: Sign = 0
    keep: Keep = "high"
    passes = 1
    combine: Literal["mean"] = "mean"
    merges_early: Literal[True] = True
    version = 1

    def __init__(
        self,
        *,
        hash: Literal["fast", "sha256"] = "fast",
        ngrams: int = 2,
        buckets: int = 10_000,
        length: Literal["chunk", "mean", "sqrt", "none"] = "chunk",
        laplace: float = 0.0,
    ) -> None:
        if not 1 <= ngrams <= 8:
            raise OptionError(f"dsir: ngrams must be 1 … 8, got {ngrams}.")
        if not 2 <= buckets <= 1 << 24:
            raise OptionError(f"dsir: buckets must be 2 … {1 << 24:,}, got {buckets}.")
        if not 0 <= laplace < np.inf:
            raise OptionError(f"dsir: laplace must be 0 or more, got {laplace}.")
        self.hash: Literal["fast", "sha256"] = hash
        self.ngrams = ngrams
        self.buckets = buckets
        self.length: Literal["chunk", "mean", "sqrt", "none"] = length
        self.laplace = laplace

    def settle(self, epochs: int) -> Self:
        return self

    def fit_target(self, shard: Shard) -> State:
        return {"counts": self._counts(shard["target.text"])}

    def merge_target(self, states: Sequence[State]) -> State:
        counts = np.sum([state["counts"] for state in states], axis=0)
        if not counts.any():
            raise InputError("dsir: the target set has no words, only empty texts. Name its text column with --target-input.")
        return {"counts": counts}

    def fit(self, shard: Shard, state: State | None) -> State:
        counts = np.zeros(self.buckets, np.int64)
        luck = KeyedRandom(0, "dsir").uniform(shard.rows)
        drawn = np.sort(np.argsort(luck, kind="stable")[:SAMPLED])
        kept: list[tuple[Array, Index]] = [(np.empty(0, np.int32), np.empty(0, np.int64))]
        for rows, tokens in blocks(shard["text"]):
            bucket, row = self._features(tokens)
            counts += np.bincount(bucket, minlength=self.buckets)
            kept.append(_heads(bucket, row, drawn[(drawn >= rows.start) & (drawn < rows.stop)] - rows.start))
        heads, lengths = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        return {"counts": counts, "luck": luck[drawn], "heads": heads, "lengths": lengths}

    def merge(self, states: Sequence[State]) -> State:
        luck, every, size = (np.concatenate([state[name] for state in states]) for name in ("luck", "heads", "lengths"))
        order = np.argsort(luck, kind="stable")[:SAMPLED]
        heads, lengths = pieces_at(every, size, order)
        return {"counts": np.sum([state["counts"] for state in states], axis=0), "luck": luck[order], "heads": heads, "lengths": lengths}

    def conclude(self, state: State) -> Mapping[str, float | int | str]:
        target, heads, lengths = state["target.counts"], state["heads"], state["lengths"]
        facts: dict[str, float | int | str] = {"target_n_grams": int(target.sum()), "kl_of_rows": _kl(target, state["counts"])}
        if len(lengths) >= 10:
            row = np.repeat(np.arange(len(lengths)), lengths)
            sums = np.bincount(row, self._log_ratio(state)[heads], minlength=len(lengths)).astype(np.float64)
            best = np.argsort(-np.nan_to_num(self._corrected(sums, lengths), nan=-np.inf), kind="stable")
            for name, order in (("best", best), ("random", np.arange(len(lengths)))):
                facts[f"kl_of_{name}_tenth"] = _kl(target, self._tenth(pieces_at(heads, lengths, order)[0]))
        return facts

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "there is a pass before"
        ratio = self._log_ratio(state)
        n = len(shard)
        log_weight, features, words = np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.int64)
        for rows, tokens in blocks(shard["text"]):
            bucket, row = self._features(tokens)
            size = rows.stop - rows.start
            log_weight[rows] = np.bincount(row, ratio[bucket], minlength=size)
            features[rows] = np.bincount(row, minlength=size)
            words[rows] = tokens.counts
        return {
            "score": self._corrected(log_weight, features),
            "log_weight": log_weight.astype(np.float32),
            "words": words.astype(np.int32),
        }

    def _counts(self, texts: Array) -> NDArray[np.int64]:
        counts = np.zeros(self.buckets, np.int64)
        for _, tokens in blocks(texts):
            counts += np.bincount(self._features(tokens)[0], minlength=self.buckets)
        return counts

    def _features(self, tokens: Tokens) -> tuple[Index, Index]:
        """The bucket of every n-gram of every order, and the row of the block that it is of."""
        pairs = list(self._orders(tokens))
        return np.concatenate([bucket for bucket, _ in pairs]), np.concatenate([tokens.row[at] for _, at in pairs])

    def _orders(self, tokens: Tokens) -> Iterator[tuple[Index, Index]]:
        for order in range(1, self.ngrams + 1):
            if self.hash == "sha256":
                yield sha256_buckets(tokens, self.buckets, order)
            else:
                hashes, at = tokens.grams(order)
                yield bucketed(hashes, self.buckets), at

    def _log_ratio(self, state: State) -> Floats:
        """ln p(bucket | target) - ln p(bucket | rows), (buckets,)."""
        logs = []
        for counts in (state["target.counts"], state["counts"]):
            counts = counts + self.laplace
            p = counts / max(counts.sum(), 1)
            logs.append(np.log(p if self.laplace else p + FLOOR))
        ratio: Floats = logs[0] - logs[1]
        return ratio

    def _corrected(self, log_weight: Floats, features: Array) -> NDArray[np.float32]:
        count = np.maximum(features, 1).astype(np.float64)
        of_chunk = self.ngrams * CHUNK - self.ngrams * (self.ngrams - 1) // 2
        divisor = {"chunk": count / of_chunk, "mean": count, "sqrt": np.sqrt(count), "none": np.ones(len(count))}[self.length]
        score: NDArray[np.float32] = np.where(features > 0, log_weight / divisor, np.nan).astype(np.float32)
        return score

    def _tenth(self, heads: Array) -> NDArray[np.int64]:
        """The counts of the first tenth of all n-grams, so that two such differ in what they hold and not in how much."""
        return np.bincount(heads[: max(len(heads) // 10, 1)], minlength=self.buckets)


def _heads(bucket: Index, row: Index, wanted: Index) -> tuple[Array, Index]:
    """The first features of these rows of a block, one row after another, and how many of each."""
    place = np.full(int(max(row.max(initial=0), wanted.max(initial=0))) + 1, -1)
    place[wanted] = np.arange(len(wanted))
    of = np.flatnonzero(place[row] >= 0)
    of = of[np.argsort(row[of], kind="stable")]
    lengths = np.bincount(place[row[of]], minlength=len(wanted))
    rank = np.arange(len(of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return bucket[of[rank < LONGEST]].astype(np.int32), np.minimum(lengths, LONGEST)


def _kl(target: Array, other: Array) -> float:
    """The divergence of two counts, nats; one is added to every bucket, so that none is infinite."""
    p, q = ((counts + 1) / (counts.sum() + len(counts)) for counts in (target, other))
    return round(float(p @ np.log(p / q)), 6)
