"""PreSelect: how like a text is to those on which better language models have lower losses.

Shum, Huang et al. 2025, "Predictive Data Selection: The Data That Predicts Is the Data That Teaches"; official code hkust-nlp/PreSelect.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError, OptionError
from curate.ngram_classifier import NGramClassifier, chosen, pieces
from curate.protocols import Columns, Keep, Shard, Sign, State
from curate.scorers.language.by_losses import Bos, Precision
from curate.scorers.language.perplexity import Perplexity

MOST: Final = 1 << 17  # bytes of a sampled text that the models are given
LADDER: Final = (
    "huggyllama/llama-7b",
    "meta-llama/Llama-2-7b-hf",
    "huggyllama/llama-13b",
    "meta-llama/Llama-2-13b-hf",
    "huggyllama/llama-30b",
    "huggyllama/llama-65b",
)
FEWEST: Final = 0.05  # of the sample that good texts are, where fewer agree with the models in every pair


class PreSelect:
    """Probability that a text predicts which models are good, 0 … 1, by a classifier on hashed n-grams; high is kept.

    Reads `text`. `models`, hub names or folders from the weakest to the strongest (`a+b+c`; by default the paper's six Llamas in the
    order of their mean on benchmarks), read up to `sample` texts. A text's predictive strength is the number of pairs of models of which
    the stronger has the lower loss, in bits a byte, so that tokenizers may differ. Good are the texts on which all pairs agree (15 of
    15), at least a twentieth and at most a half; as many of the weakest are bad. The classifier is that of `quality`, with the thirds
    that it has not seen; the paper trains fastText. The official script compares losses of overlapping windows of 1,900 tokens; ours
    judges each token once, in `windows` of `length`.

    The paper keeps a tenth: --sampler top --budget 10%. Facts: how many texts were read, on how many all pairs agree, and how well the
    classifier tells good from bad where it was not trained. Costs a pass to draw the sample, 2 x parameters x tokens of it by every model,
    one model in memory at a time, and a pass without any model.
    """

    requires = ("text",)
    hard_sign: Sign = 0
    keep: Keep = "high"
    passes = 2
    combine: Literal["mean"] = "mean"
    merges_early: Literal[True] = True
    version = 2

    def __init__(
        self,
        *,
        models: tuple[str, ...] = LADDER,
        sample: int = 10_000,
        ngrams: int = 2,
        buckets: int = 1 << 18,
        c: float = 1.0,
        length: int = 1024,
        windows: int = 2,
        bos: Bos = "auto",
        precision: Precision = "auto",
        batch_tokens: int = 16_384,
    ) -> None:
        if len(models) < 2:
            raise OptionError(f"preselect: models must be two or more, from the weakest to the strongest (a+b+c); got {len(models)}.")
        if len(set(models)) < len(models):
            raise OptionError(f"preselect: models must differ, got {'+'.join(models)}.")
        self._classifier = NGramClassifier("preselect", ngrams=ngrams, buckets=buckets, sample=sample, c=c)
        self.models = tuple(models)
        self.sample = sample
        self.ngrams = ngrams
        self.buckets = buckets
        self.c = c
        self.length = length
        self.windows = windows
        self.bos: Bos = bos
        self.precision: Precision = precision
        self.batch_tokens = batch_tokens
        self._reader(models[0])  # its options are checked here
        self._device = "cpu"

    def settle(self, epochs: int) -> Self:
        return self

    def identity(self) -> Mapping[str, str | None]:
        from curate.signals.lm.loading import identity

        return {"models": "+".join(identity(model) for model in self.models)}

    def weight(self, device: str) -> int:
        return max(self._reader(model).weight(device) for model in self.models)  # one is open at a time

    def open(self, device: str) -> None:
        self._device = device  # models are opened one after another, when the sample is there

    def close(self) -> None:
        """Nothing is held between passes."""

    def fit(self, shard: Shard, state: State | None) -> State:
        if state is None:
            return self._classifier.drawn(shard["text"], {"bytes": _bytes})
        return self._taught(state) if len(shard) and shard.rows[0] == 0 else {}  # once, by whoever has the first row

    def merge(self, states: Sequence[State]) -> State:
        taught = [state for state in states if "weights" in state]
        if taught:
            return taught[0]
        return self._classifier.joined(states)

    def conclude(self, state: State) -> Mapping[str, float | int | str]:
        told = {name: int(state[name][0]) for name in ("texts_read", "all_pairs_agree")}
        return told | {"auroc_left_out": round(float(state["auroc"][0]), 4)}

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "the passes come before"
        return {"score": self._classifier.scored(shard["text"], state)}

    def _taught(self, drawn: State) -> State:
        if len(drawn["luck"]) < 4:
            raise InputError(f"preselect: {len(drawn['luck'])} texts have a word; it takes 4 or more to learn from.")
        texts = np.array([one.tobytes().decode("utf-8", "replace") for one in pieces(drawn, "bytes")], object)
        losses = np.stack([self._losses(model, texts) for model in self.models], axis=1)  # (sample, models)
        strength = predictive_strength(losses)
        pairs = len(self.models) * (len(self.models) - 1) // 2
        low, high = sides(strength, drawn["luck"], pairs)
        if not len(high):
            raise InputError("preselect: fewer than 4 of the sampled texts are long enough for every model to have a loss.")
        known = np.isfinite(losses).all(axis=1)
        told = {"texts_read": np.array([int(known.sum())]), "all_pairs_agree": np.array([int((strength == pairs).sum())])}
        return self._classifier.trained(chosen(drawn, low), chosen(drawn, high)) | told

    def _losses(self, model: str, texts: NDArray[np.object_]) -> NDArray[np.float64]:
        """Bits a byte of every text, (n,), NaN where it is too short."""
        reader = self._reader(model)
        reader.open(self._device)
        try:
            return np.asarray(reader.score_rows(Shard(np.arange(len(texts)), {"text": texts}))["bits_per_byte"], np.float64)
        finally:
            reader.close()

    def _reader(self, model: str) -> Perplexity:
        return Perplexity(
            model=model,
            length=self.length,
            windows=self.windows,
            bos=self.bos,
            precision=self.precision,
            batch_tokens=self.batch_tokens,
        )


def predictive_strength(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The number of pairs of models, the weaker first, of which the stronger has the lower loss, (n,); NaN where a loss is missing.

    >>> predictive_strength(np.array([[2.0, 1.9, 1.95, 1.8, 1.85, 1.7]])).tolist()
    [13.0]
    """
    weak, strong = np.triu_indices(losses.shape[1], 1)
    pairs = (losses[:, weak] > losses[:, strong]).sum(axis=1)
    return np.where(np.isnan(losses).any(axis=1), np.nan, pairs)


def sides(strength: NDArray[np.float64], luck: NDArray[np.float64], pairs: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which texts are bad and which good, as many of each; of equals those of least luck. Both empty where fewer than four are known."""
    known = np.flatnonzero(~np.isnan(strength))
    if len(known) < 4:
        return known[:0], known[:0]
    best = known[np.lexsort((luck[known], -strength[known]))]
    full = int((strength[known] == pairs).sum())
    size = min(max(full, int(np.ceil(FEWEST * len(known))), 2), len(known) // 2)
    worst = known[np.lexsort((luck[known], strength[known]))]
    return worst[:size], best[:size]


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text[:MOST].encode("utf-8", "replace")[:MOST], np.uint8)
