"""leakage: how much of an evaluation set a language model knows by heart.

Xu, Wang, Li et al. 2024, "Benchmarking Benchmark Leakage in Large Language Models"; official code GAIR-NLP/benbench.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError, OptionError
from curate.protocols import Columns, Keep, Shard, State
from curate.scorers.language.by_losses import AbstractByLosses, Bos, Precision

if TYPE_CHECKING:
    from curate.signals.lm.model import Foretold

Floats = NDArray[np.float64]


class Leakage(AbstractByLosses):
    """n-gram accuracy, 0 … 1: at which share of `starts` places a model goes on with the row's very next `n` tokens; low is kept.

    Rows are those of an evaluation set. Reads `text`, or with `answers` `question` and `answer`, joined by a blank. Places are spread
    evenly from the third token on; the model's greedy choice is compared token by token, which one pass over the row tells for all
    places. The paper's softer measures, edit similarity and ROUGE-L of what is said instead, are not given. `perplexity` is of the text,
    or the answer.

    With `reference` the target, `--target`, are texts that the model cannot have seen: the same rows in other words, as in the paper, or
    new ones of the kind. `is_leaked` is then a row of which more is known than of any of those; by chance one row in as many as the
    target has passes that. Without, it is a row known at every place. `reference_score` and `reference_perplexity` are those of the
    target's row of the same number; the report gives the paper's statistic, by how many percent the mean falls from rows to reference.

    Causal models only. `model`, `length`, `bos`, `precision` and `batch_tokens` as for perplexity. Costs 2 x parameters x tokens.
    """

    name = "leakage"
    least = 2
    keep: Keep = "low"

    def __init__(
        self,
        *,
        model: str = "gpt2",
        n: int = 5,
        starts: int = 5,
        answers: bool = False,
        reference: bool = False,
        length: int = 2048,
        bos: Bos = "auto",
        precision: Precision = "auto",
        batch_tokens: int = 16_384,
    ) -> None:
        super().__init__(model, length, bos, precision, batch_tokens)
        if n < 1:
            raise OptionError(f"leakage: n must be 1 token or more, got {n}.")
        if starts < 1:
            raise OptionError(f"leakage: starts must be 1 or more, got {starts}.")
        if length < n + 2:
            raise OptionError(f"leakage: length must be {n + 2} (n + 2) tokens or more, got {length}.")
        self.n = n
        self.starts = starts
        self.answers = answers
        self.reference = reference
        self._reads = ("question", "answer") if answers else ("text",)
        self.requires = (*self._reads, *(f"target.{name}" for name in self._reads if reference))

    def open(self, device: str) -> None:
        super().open(device)
        if self._lm.two_sided:
            raise InputError(
                f'leakage: "{self.model}" has an encoder and a decoder; a causal model is expected, which goes on with a text.'
            )

    def fit_target(self, shard: Shard) -> State:
        if not self.reference:
            return {}
        accuracy, loss = self._measured([shard[f"target.{name}"].tolist() for name in self._reads])
        return {"accuracy": accuracy, "loss": loss}

    def merge_target(self, states: Sequence[State]) -> State:
        if not self.reference:
            return {}
        whole = {name: np.concatenate([state[name] for state in states]) for name in states[0]}
        if np.isnan(whole["accuracy"]).all():
            raise InputError(f"leakage: no row of the target has the {self.n + 2} tokens that it takes. Name its text with --target-input.")
        return whole

    def conclude(self, state: State) -> Mapping[str, float | int | str]:
        if not self.reference:
            return {}
        accuracy = state["target.accuracy"]
        told = {"mean": float(np.nanmean(accuracy)), "most": float(np.nanmax(accuracy))}
        return {"reference_rows": int(np.isfinite(accuracy).sum())} | {f"reference_{name}": round(v, 4) for name, v in told.items()}

    def score(self, shard: Shard, state: State | None) -> Columns:
        accuracy, loss = self._measured([shard[name].tolist() for name in self._reads])
        known = np.isfinite(accuracy)
        columns: dict[str, NDArray[np.generic]] = {
            "score": accuracy.astype(np.float32),
            "status": np.where(known, "", "too_short").astype(str),
            "perplexity": _perplexity(loss),
        }
        most = 1.0
        if self.reference:
            assert state is not None, "the target is there"
            theirs = state["target.accuracy"]
            most = float(np.nanmax(theirs))
            there = np.where(shard.rows < len(theirs), shard.rows, -1)
            for name, values in (("score", theirs.astype(np.float32)), ("perplexity", _perplexity(state["target.loss"]))):
                columns[f"reference_{name}"] = np.where(there >= 0, values[there], np.nan).astype(np.float32)
        return columns | {"is_leaked": known & (accuracy > most if self.reference else accuracy >= most)}

    def _measured(self, sides: Sequence[list[str]]) -> tuple[Floats, Floats]:
        """n-gram accuracy and mean loss, both (rows,), NaN where a row is too short."""
        from curate.signals.lm.batches import windows

        rows = len(sides[0])
        accuracy, loss = np.full(rows, np.nan), np.full(rows, np.nan)
        for start, stop in windows(rows):
            ids, judged = self._ids([side[start:stop] for side in sides])
            for row, (found, begin) in enumerate(zip(self._lm.foretold(ids), judged, strict=True), start):
                if len(found.hits) + 1 >= self.n + 2:
                    accuracy[row] = self._accuracy(found)
                    loss[row] = found.losses[begin:].mean() if begin < len(found.losses) else np.nan
        return accuracy, loss

    def _accuracy(self, found: "Foretold") -> float:
        places = starting_points(len(found.hits) + 1, self.n, self.starts)
        runs = found.hits[places[:, None] - 1 + np.arange(self.n)]  # the first token is nobody's prediction
        return float(runs.all(axis=1).mean())

    def _ids(self, sides: Sequence[list[str]]) -> tuple[list[list[int]], list[int]]:
        """Token ids of every row, and after how many losses those begin that count for its perplexity."""
        from curate.signals.lm.tokens import encode

        texts = [encode(self._lm.tokenizer, side, self._length) for side in sides[:1]]
        texts += [encode(self._lm.tokenizer, [f" {text}" if text else "" for text in side], self._length) for side in sides[1:]]
        rows = [[*self._first, *(token for part in parts for token in part.ids)] for parts in zip(*texts, strict=True)]
        before = [len(self._first) + len(parts[0].ids) - 1 if len(parts) > 1 else 0 for parts in zip(*texts, strict=True)]
        empty = [not parts[-1].ids for parts in zip(*texts, strict=True)]
        return [[] if none else ids[: self._length] for ids, none in zip(rows, empty, strict=True)], [max(b, 0) for b in before]


def starting_points(length: int, n: int, k: int) -> NDArray[np.int64]:
    """Where in a row of so many tokens the n-grams begin, (k,).

    >>> starting_points(60, 5, 5).tolist()
    [2, 15, 28, 41, 55]
    """
    return np.linspace(2, length - n, k).astype(np.int64)


def _perplexity(loss: Floats) -> NDArray[np.float32]:
    return np.exp(np.minimum(loss, 88.0)).astype(np.float32)
