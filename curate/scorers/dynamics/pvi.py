"""PVI: how many bits a model gets out of the input for the given label, low where the input does not support it.

Ethayarajh, Choi, Swayamdipta 2022, "Understanding Dataset Difficulty with V-Usable Information"; official code kawine/dataset_difficulty.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from curate.errors import InputError
from curate.protocols import Columns, Keep, Shard, Sign, State
from curate.scores import Scores

Floats = NDArray[np.float64]

_LEAST: Final = 1e-12  # a probability of 0 is an overflow, not infinite surprise
_NORMAL: Final = 1.959964  # two-sided 95 %
_CHANCE: Final = 0.01  # accuracy above the majority's share up to which a model knows nothing worth a number


class PVI:
    """Pointwise V-information of a row, log2 p(label | input) - log2 p(label), in bits; low is hard, below 0 the input misleads.

    Reads `probs.oos`, (n, classes), of models that never saw the row, and `label`. The label's own probability is its share of the
    rows, which is what the best model without an input would give (the authors train one, whose entropies average to that). NaN for a
    row without a label or probabilities. One pass counts labels and sums their bits; the probabilities take four trainings more than a
    run alone.

    The mean over rows is the V-usable information of the dataset: `curate score`, `curate show` and the report tell it as `v_information`,
    in a 95 % interval over rows, `v_information_from` … `v_information_to` (training another model moves it besides; of several seeds the
    first is told), out of the `label_entropy` that there is to be had. Where the model is no more than a point better than the majority
    class, PVI is meaningless, and `verdict` says so.

    `null=DIR` names a score store of the same DATA whose `pvi` is a null model's that reads part of the input (made with --input PART, such
    as the premise alone): then both numbers are conditional on that part, log2 p(label | input) - log2 p(label | part).
    """

    requires: Sequence[str] = ("probs.oos", "label")
    hard_sign: Sign = -1
    keep: Keep = "high"
    passes = 1
    combine = "mean"
    version = 1

    def __init__(self, *, null: str | None = None) -> None:
        self.null = null
        self._null: NDArray[np.float32] | None = None

    @property
    def scores_read(self) -> Path | None:
        """The store of the null model's scores, if there is one."""
        return None if self.null is None else Path(self.null)

    def identity(self) -> Mapping[str, str | None]:
        """What the null model's scores are, and not where."""
        if self.null is None:
            return {}
        files = _null_scores(self.null).store.files("pvi")
        return {"null": xxhash.xxh3_128_hexdigest(" ".join(entry.checksum for entry in files).encode())}

    def open(self, device: str) -> None:
        if self.null is not None:
            self._null = _null_scores(self.null)["pvi"]

    def close(self) -> None:
        self._null = None

    def settle(self, epochs: int) -> "PVI":
        """Nothing depends on the run's length."""
        return self

    def fit(self, shard: Shard, state: State | None) -> State:
        """By class: how many rows, the sum of log2 p(label | input) and of its square; and how many rows were right."""
        _, bits, p, label = self._bits(shard)
        classes = p.shape[1]
        sums = {"bits": np.bincount(label, bits, classes), "squares": np.bincount(label, bits * bits, classes)}
        return {"count": np.bincount(label, minlength=classes), **sums, "right": np.array([(p.argmax(1) == label).sum()])}

    def merge(self, states: Sequence[State]) -> State:
        return {key: np.sum([state[key] for state in states], axis=0) for key in states[0]}

    def conclude(self, state: State) -> Mapping[str, float | int | str]:
        """The V-usable information of the dataset, in bits.

        The interval is the normal one of the mean PVI. That the prior is estimated from the same rows is in it: the influence of a row on
        entropy minus conditional entropy is its PVI minus the mean.
        """
        n, count = int(state["count"].sum()), state["count"]
        if not n:
            return {"verdict": "no row has a label and probabilities"}
        prior = _log_prior(count)  # (classes,), in bits
        mean = float((state["bits"] - count * prior).sum()) / n
        square = float((state["squares"] - 2 * state["bits"] * prior + count * prior * prior).sum()) / n
        reach = _NORMAL * math.sqrt(max(0.0, square - mean * mean) / max(1, n - 1))
        accuracy, majority = float(state["right"].sum()) / n, float(count.max()) / n
        return {
            "v_information": mean,
            "v_information_from": mean - reach,
            "v_information_to": mean + reach,
            "label_entropy": -float((count * prior).sum()) / n,
            "accuracy": accuracy,
            "majority_share": majority,
            "verdict": _verdict(accuracy, majority, mean - reach),
        }

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "a pass has run"
        there, bits, _, label = self._bits(shard)
        score = np.full(len(shard.rows), np.nan, np.float32)
        score[there] = bits - _log_prior(state["count"])[label]
        return {"score": score}

    def _bits(self, shard: Shard) -> tuple[NDArray[np.int64], Floats, Floats, NDArray[np.int64]]:
        """Which rows have all that is needed, log2 p(label | input) less what the null model knows, probabilities and labels of those."""
        null = np.zeros(len(shard.rows)) if self._null is None else self._null[shard.rows].astype(np.float64)
        there = np.flatnonzero(~np.isnan(shard["probs.oos"][:, 0]) & (shard["label"] >= 0) & ~np.isnan(null))
        p, label = shard["probs.oos"][there].astype(np.float64), shard["label"][there]
        own = np.clip(p[np.arange(len(label)), label], _LEAST, 1)
        return there, np.log2(own) - null[there], p, label


def _null_scores(folder: str) -> Scores:
    """The store of the null model's scores; InputError where it has no finished, unconditional `pvi`."""
    found = Scores.open(folder)
    if "pvi" not in found or sum(entry.rows for entry in found.store.files("pvi")) != len(found):
        raise InputError(
            f'pvi: null="{folder}" has no finished score "pvi" (it has {", ".join(found.names) or "none"}). '
            "Make one: curate score DATA --input PART --scorer pvi --out DIR."
        )
    if found.about("pvi")["options"].get("null"):
        raise InputError(
            f'pvi: the scores in null="{folder}" are conditional themselves; those of a model of part of the input are expected.'
        )
    return found


def _log_prior(count: NDArray[np.int64]) -> Floats:
    """log2 of each class's share of the rows; far below 0, and not minus infinity, where it has none."""
    bits: Floats = np.log2(np.maximum(count / max(1, count.sum()), _LEAST))
    return bits


def _verdict(accuracy: float, majority: float, low: float) -> str:
    if accuracy <= majority + _CHANCE:
        return "the model is no better than the majority class, so PVI says nothing here: train longer, or another --model"
    if low <= 0:
        return "the model may get nothing out of the input: the interval holds 0"
    return "the model gets that much out of the input"
