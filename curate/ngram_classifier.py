"""A text classifier on hashed n-grams that tells one side of a set of texts from the other: logistic regression, trained to the optimum."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.errors import OptionError
from curate.ngrams import Index, Tokens, blocks, bucketed
from curate.numerics import pieces_at
from curate.protocols import Array, State
from curate.rng import KeyedRandom

FOLDS: Final = 3
LONGEST: Final = 1024  # n-grams of a text that it is trained on
SCALE: Final = 32.0  # turns shares of n-grams into numbers of the size that the penalty is meant for
LENGTHS: Final = "_lengths"


class NGramClassifier:
    """Features are the shares of a text's n-grams up to `ngrams`, hashed into `buckets`, which is what fastText averages; no hidden layer.

    Trained with L2 penalty 1/(2·`c`) on up to `sample` texts a side, their first 1,024 n-grams, both sides weighted alike. There are
    three, each trained without one third of either side, cut by content so that copies stay together: no text is scored by one that
    has seen it. `name` is the method's, for errors.
    """

    def __init__(self, name: str, *, ngrams: int, buckets: int, sample: int, c: float) -> None:
        if not 1 <= ngrams <= 8:
            raise OptionError(f"{name}: ngrams must be 1 … 8, got {ngrams}.")
        if not 2 <= buckets <= 1 << 24:
            raise OptionError(f"{name}: buckets must be 2 … {1 << 24:,}, got {buckets}.")
        if sample < 2:
            raise OptionError(f"{name}: sample must be 2 texts or more, got {sample}.")
        if not 0 < c < np.inf:
            raise OptionError(f"{name}: c must be above 0, got {c}.")
        self.ngrams = ngrams
        self.buckets = buckets
        self.sample = sample
        self.c = c

    def drawn(self, texts: Array, also: Mapping[str, Callable[[str], Array]] | None = None) -> State:
        """The texts of least `luck`, which is a hash of their content, as their first n-grams, `heads`; and what else is made of each."""
        lucks, heads, rows = [np.empty(0)], [], [np.empty(0, np.int64)]
        for of, tokens in blocks(texts):
            bucket, row = self._features(tokens)
            order = np.argsort(row, kind="stable")
            ends = np.cumsum(np.bincount(row, minlength=len(tokens.counts)))
            starts = np.concatenate(([0], ends[:-1]))
            full = np.flatnonzero(tokens.counts)
            lucks.append(_luck(tokens)[full])
            rows.append(of.start + full)
            heads += [bucket[order[a : min(b, a + LONGEST)]].astype(np.int32) for a, b in zip(starts[full], ends[full], strict=True)]
        luck, row = np.concatenate(lucks), np.concatenate(rows)
        order = np.argsort(luck, kind="stable")[: self.sample]
        made = {name: [make(str(texts[i])) for i in row[order]] for name, make in (also or {}).items()}
        return {"luck": luck[order]} | _packed({"heads": [heads[i] for i in order], **made})

    def joined(self, states: Sequence[State]) -> State:
        """What `drawn` would give for the texts of all of them."""
        luck = np.concatenate([state["luck"] for state in states])
        order = np.argsort(luck, kind="stable")[: self.sample]
        names = _names(states[0])
        whole = {name: np.concatenate([state[name] for state in states]) for name in (*names, *(name + LENGTHS for name in names))}
        return chosen({"luck": luck, **whole}, order)

    def trained(self, low: State, high: State) -> State:
        """Weights and bias of each fold's classifier, and how well they tell the two sides apart where they were not trained."""
        x = [self._matrix(side) for side in (low, high)]
        folds = [_fold(side["luck"]) for side in (low, high)]
        weights, bias, auroc = np.zeros((FOLDS, self.buckets)), np.zeros(FOLDS), []
        for i in range(FOLDS):
            apart = all((fold == i).any() and (fold != i).any() for fold in folds)  # a handful of texts cannot be cut
            weights[i], bias[i] = self._regression(*(m[fold != i] if apart else m for m, fold in zip(x, folds, strict=True)))
            if apart:
                auroc.append(_auroc(*(m[fold == i] @ weights[i] for m, fold in zip(x, folds, strict=True))))
        return {"weights": weights, "bias": bias, "auroc": np.array([np.mean(auroc) if auroc else 0.5])}

    def scored(self, texts: Array, state: State) -> NDArray[np.float32]:
        """The probability of the high side, (n,), NaN for a text without a word."""
        from scipy.special import expit

        logit = np.zeros(len(texts))
        for rows, tokens in blocks(texts):
            bucket, row = self._features(tokens)
            n = rows.stop - rows.start
            total = np.maximum(np.bincount(row, minlength=n), 1)
            unseen_by = _fold(_luck(tokens))
            logit[rows] = state["bias"][unseen_by] + SCALE * np.bincount(row, state["weights"][unseen_by[row], bucket], minlength=n) / total
            logit[rows][tokens.counts == 0] = np.nan
        found: NDArray[np.float32] = expit(logit).astype(np.float32)
        return found

    def _features(self, tokens: Tokens) -> tuple[Index, Index]:
        pairs = [tokens.grams(order) for order in range(1, self.ngrams + 1)]
        return bucketed(np.concatenate([h for h, _ in pairs]), self.buckets), np.concatenate([tokens.row[at] for _, at in pairs])

    def _matrix(self, drawn: State) -> Any:
        from scipy.sparse import csr_matrix

        lengths = drawn["heads" + LENGTHS]
        share = np.repeat(SCALE / np.maximum(lengths, 1), lengths)
        return csr_matrix((share, drawn["heads"], np.concatenate(([0], np.cumsum(lengths)))), shape=(len(lengths), self.buckets))

    def _regression(self, low: Any, high: Any) -> tuple[NDArray[np.float64], float]:
        """The weight of every bucket and the bias; a bucket that no text has keeps weight 0 and is left out of the work."""
        from scipy.sparse import vstack
        from sklearn.linear_model import LogisticRegression

        x, sides = vstack([low, high]), np.repeat([0, 1], [low.shape[0], high.shape[0]])
        used = np.unique(x.indices)
        found = LogisticRegression(C=self.c, class_weight="balanced", max_iter=300).fit(x[:, used], sides)
        weights = np.zeros(self.buckets)
        weights[used] = found.coef_[0]
        return weights, float(found.intercept_[0])


def chosen(drawn: State, index: Index) -> State:
    """Those of the drawn texts that stand at these places."""
    found = {"luck": drawn["luck"][index]}
    for name in _names(drawn):
        found[name], found[name + LENGTHS] = pieces_at(drawn[name], drawn[name + LENGTHS], index)
    return found


def pieces(drawn: State, name: str) -> list[Array]:
    """What a state holds of each text, text by text."""
    return np.split(drawn[name], np.cumsum(drawn[name + LENGTHS])[:-1]) if len(drawn[name + LENGTHS]) else []


def _packed(lists: Mapping[str, Sequence[Array]]) -> State:
    kinds = {"heads": np.int32}
    whole = {name: np.concatenate([np.empty(0, kinds.get(name, np.uint8)), *values]) for name, values in lists.items()}
    return whole | {name + LENGTHS: np.array([len(one) for one in values], np.int64) for name, values in lists.items()}


def _names(drawn: State) -> list[str]:
    return [name.removesuffix(LENGTHS) for name in drawn if name.endswith(LENGTHS)]


def _luck(tokens: Tokens) -> NDArray[np.float64]:
    """A number in (0, 1) for every text of a block, that follows from its words alone."""
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(tokens.hash)))
    content = sums[tokens.bounds[1:]] - sums[tokens.bounds[:-1]]
    return KeyedRandom(0, "quality").uniform(content.view(np.int64))


def _fold(luck: NDArray[np.float64]) -> Index:
    """Which fold a text is of; other digits of its luck than those by which it is drawn."""
    fold: Index = (luck * (1 << 40)).astype(np.int64) % FOLDS
    return fold


def _auroc(low: Array, high: Array) -> float:
    """The chance that one of `high` is above one of `low`; half of it for ties."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([low, high]))
    return float((ranks[len(low) :].sum() - len(high) * (len(high) + 1) / 2) / (len(low) * len(high)))
