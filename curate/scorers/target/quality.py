"""quality: a text classifier that tells the target from the rows, on hashed n-grams.

Li et al. 2024, "DataComp-LM: In search of the next generation of training sets for language models", with a fastText classifier;
official code mlfoundations/dclm.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from curate.errors import InputError
from curate.ngram_classifier import NGramClassifier
from curate.protocols import Columns, Keep, Shard, Sign, State


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
    merges_early: Literal[True] = True
    version = 2

    def __init__(self, *, ngrams: int = 2, buckets: int = 1 << 18, sample: int = 10_000, c: float = 1.0) -> None:
        self._classifier = NGramClassifier("quality", ngrams=ngrams, buckets=buckets, sample=sample, c=c)
        self.ngrams = ngrams
        self.buckets = buckets
        self.sample = sample
        self.c = c

    def settle(self, epochs: int) -> Self:
        return self

    def fit_target(self, shard: Shard) -> State:
        return self._classifier.drawn(shard["target.text"])

    def merge_target(self, states: Sequence[State]) -> State:
        drawn = self._classifier.joined(states)
        if not len(drawn["luck"]):
            raise InputError("quality: the target set has no words, only empty texts. Name its text column with --target-input.")
        return drawn

    def fit(self, shard: Shard, state: State | None) -> State:
        assert state is not None, "the target is there"
        if "luck" not in state:
            return self._classifier.drawn(shard["text"])
        if not len(shard) or shard.rows[0] != 0:  # once, by whoever has the first row
            return {}
        target = {name.removeprefix("target."): value for name, value in state.items() if name.startswith("target.")}
        return self._classifier.trained(state, target)

    def merge(self, states: Sequence[State]) -> State:
        trained = [state for state in states if "weights" in state]
        return trained[0] if trained else self._classifier.joined(states)

    def conclude(self, state: State) -> Mapping[str, float | int | str]:
        return {"auroc_left_out": round(float(state["auroc"][0]), 4)}

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "there are passes before"
        return {"score": self._classifier.scored(shard["text"], state)}
