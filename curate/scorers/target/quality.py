"""quality: a text classifier that tells the target from the rows, on hashed n-grams.

Li et al. 2024, "DataComp-LM: In search of the next generation of training sets for language models", with a fastText classifier;
official code mlfoundations/dclm.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError, OptionError
from curate.ngrams import Index, Tokens, blocks, bucketed
from curate.protocols import Array, Columns, Keep, Shard, Sign, State
from curate.rng import KeyedRandom

FOLDS: Final = 3
LONGEST: Final = 1024  # n-grams of a text that it is trained on
SCALE: Final = 32.0  # turns shares of n-grams into numbers of the size that the penalty is meant for


class Quality:
    """Probability that a text is of the target and not of the rows, 0 … 1, by logistic regression; high is kept.

    Reads `text` and `target.text`, the good texts: instructions and answers at DCLM, an encyclopaedia at GPT-3. Features are the shares of
    a text's unigrams and bigrams (up to `ngrams`), hashed into `buckets`, which is what fastText averages; ours has no hidden layer
    and is trained to the optimum, with L2 penalty 1/(2·`c`), so it does not depend on luck. Trained on up to `sample` texts of each
    side, their first 1,024 n-grams, both sides weighted alike.

    No text is scored by a classifier that has seen it: there are three, each trained without one third of either side, cut by content so
    that copies stay together. DCLM keeps the best tenth: `--budget 10%`. Fact: AUROC of telling the target from the rows, on the
    thirds left out; near 0.5 the two are alike and the score is noise. Costs three passes; memory three numbers a bucket and the sample's
    n-grams.
    """

    requires = ("text", "target.text")
    hard_sign: Sign = 0
    keep: Keep = "high"
    passes = 2
    combine: Literal["mean"] = "mean"
    version = 1

    def __init__(self, *, ngrams: int = 2, buckets: int = 1 << 18, sample: int = 10_000, c: float = 1.0) -> None:
        if not 1 <= ngrams <= 8:
            raise OptionError(f"quality: ngrams must be 1 … 8, got {ngrams}.")
        if not 2 <= buckets <= 1 << 24:
            raise OptionError(f"quality: buckets must be 2 … {1 << 24:,}, got {buckets}.")
        if sample < 2:
            raise OptionError(f"quality: sample must be 2 texts or more, got {sample}.")
        if not 0 < c < np.inf:
            raise OptionError(f"quality: c must be above 0, got {c}.")
        self.ngrams = ngrams
        self.buckets = buckets
        self.sample = sample
        self.c = c

    def settle(self, epochs: int) -> Self:
        return self

    def fit_target(self, shard: Shard) -> State:
        return self._drawn(shard["target.text"])

    def merge_target(self, states: Sequence[State]) -> State:
        drawn = self._joined(states)
        if not len(drawn["lengths"]):
            raise InputError("quality: the target set has no words, only empty texts. Name its text column with --target-input.")
        return drawn

    def fit(self, shard: Shard, state: State | None) -> State:
        assert state is not None, "the target is there"
        if "luck" not in state:
            return self._drawn(shard["text"])
        return self._trained(state) if len(shard) and shard.rows[0] == 0 else {}  # once, by whoever has the first row

    def merge(self, states: Sequence[State]) -> State:
        trained = [state for state in states if "weights" in state]
        return trained[0] if trained else self._joined(states)

    def conclude(self, state: State) -> Mapping[str, float | int | str]:
        return {"auroc_left_out": round(float(state["auroc"][0]), 4)}

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "there are passes before"
        from scipy.special import expit

        logit = np.zeros(len(shard))
        for rows, tokens in blocks(shard["text"]):
            bucket, row = self._features(tokens)
            n = rows.stop - rows.start
            total = np.maximum(np.bincount(row, minlength=n), 1)
            unseen_by = _fold(_luck(tokens))
            logit[rows] = state["bias"][unseen_by] + SCALE * np.bincount(row, state["weights"][unseen_by[row], bucket], minlength=n) / total
            logit[rows][tokens.counts == 0] = np.nan
        return {"score": expit(logit).astype(np.float32)}

    def _features(self, tokens: Tokens) -> tuple[Index, Index]:
        pairs = [tokens.grams(order) for order in range(1, self.ngrams + 1)]
        return bucketed(np.concatenate([h for h, _ in pairs]), self.buckets), np.concatenate([tokens.row[at] for _, at in pairs])

    def _drawn(self, texts: Array) -> State:
        """The texts of least luck, which is a hash of their content, as their first n-grams."""
        lucks, heads = [np.empty(0)], []
        for _, tokens in blocks(texts):
            bucket, row = self._features(tokens)
            order = np.argsort(row, kind="stable")
            ends = np.cumsum(np.bincount(row, minlength=len(tokens.counts)))
            starts = np.concatenate(([0], ends[:-1]))
            full = np.flatnonzero(tokens.counts)
            lucks.append(_luck(tokens)[full])
            heads += [bucket[order[a : min(b, a + LONGEST)]].astype(np.int32) for a, b in zip(starts[full], ends[full], strict=True)]
        return _least(np.concatenate(lucks), heads, self.sample)

    def _joined(self, states: Sequence[State]) -> State:
        heads = [head for state in states for head in _heads(state)]
        return _least(np.concatenate([state["luck"] for state in states]), heads, self.sample)

    def _trained(self, state: State) -> State:
        """Weights and bias of each fold's classifier, and how well they tell the two sides apart where they were not trained."""
        sides = [{name: state[prefix + name] for name in ("luck", "lengths", "heads")} for prefix in ("", "target.")]
        x = [self._matrix(side) for side in sides]
        folds = [_fold(side["luck"]) for side in sides]
        weights, bias, auroc = np.zeros((FOLDS, self.buckets)), np.zeros(FOLDS), []
        for i in range(FOLDS):
            apart = all((fold == i).any() and (fold != i).any() for fold in folds)  # a handful of texts cannot be cut
            weights[i], bias[i] = self._regression(*(m[fold != i] if apart else m for m, fold in zip(x, folds, strict=True)))
            if apart:
                auroc.append(_auroc(*(m[fold == i] @ weights[i] for m, fold in zip(x, folds, strict=True))))
        return {"weights": weights, "bias": bias, "auroc": np.array([np.mean(auroc) if auroc else 0.5])}

    def _matrix(self, drawn: State) -> Any:
        from scipy.sparse import csr_matrix

        lengths = drawn["lengths"]
        share = np.repeat(SCALE / np.maximum(lengths, 1), lengths)
        return csr_matrix((share, drawn["heads"], np.concatenate(([0], np.cumsum(lengths)))), shape=(len(lengths), self.buckets))

    def _regression(self, rows: Any, good: Any) -> tuple[NDArray[np.float64], float]:
        from scipy.sparse import vstack
        from sklearn.linear_model import LogisticRegression

        sides = np.repeat([0, 1], [rows.shape[0], good.shape[0]])
        found = LogisticRegression(C=self.c, class_weight="balanced", max_iter=300).fit(vstack([rows, good]), sides)
        return found.coef_[0], float(found.intercept_[0])


def _luck(tokens: Tokens) -> NDArray[np.float64]:
    """A number in (0, 1) for every text of a block, that follows from its words alone."""
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(tokens.hash)))
    content = sums[tokens.bounds[1:]] - sums[tokens.bounds[:-1]]
    return KeyedRandom(0, "quality").uniform(content.view(np.int64))


def _fold(luck: NDArray[np.float64]) -> Index:
    """Which fold a text is of; other digits of its luck than those by which it is drawn."""
    fold: Index = (luck * (1 << 40)).astype(np.int64) % FOLDS
    return fold


def _least(luck: NDArray[np.float64], heads: Sequence[Array], k: int) -> State:
    order = np.argsort(luck, kind="stable")[:k]
    chosen = [heads[i] for i in order]
    lengths = np.array([len(head) for head in chosen], np.int64)
    return {"luck": luck[order], "lengths": lengths, "heads": np.concatenate([np.empty(0, np.int32), *chosen])}


def _heads(drawn: State) -> list[Array]:
    return np.split(drawn["heads"], np.cumsum(drawn["lengths"])[:-1]) if len(drawn["lengths"]) else []


def _auroc(low: Array, high: Array) -> float:
    """The chance that one of `high` is above one of `low`; half of it for ties."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([low, high]))
    return float((ranks[len(low) :].sum() - len(high) * (len(high) + 1) / 2) / (len(low) * len(high)))
