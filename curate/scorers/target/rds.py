"""RDS+: how near a row lies to the rows of a target, by a language model's hidden states or any other embedding.

Ivison et al. 2025, "Large-Scale Data Selection for Instruction Tuning"; official code hamishivi/automated-instruction-selection.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from curate.errors import InputError, OptionError
from curate.index.vectors import Vectors, known
from curate.protocols import Array, Columns, PerRow, Shard, State
from curate.scorers.language.by_losses import Bos, Precision

if TYPE_CHECKING:
    from curate.signals.lm.model import LanguageModel

QUERIES: Final = 4096  # columns of the similarity at most: 16 kB a row
BLOCK: Final = 4096  # rows compared at a time


class RDS(PerRow):
    """Cosine between a row and the nearest row of the target, -1 … 1; high is kept, best by the sampler of this name.

    With `model`, a hub name or folder, reads `text` and `target.text`: a row's vector is the mean of the model's last hidden states, the
    i-th token weighted i, for later ones have read more. The official code leaves padding in and so runs one text at a time; ours
    leaves it out. A text is read to `length` tokens; `bos`, `precision` and `batch_tokens` as for perplexity. Without a model, reads
    `embedding` and `target.embedding`: `--embeddings DIR`, any encoder's.

    `similarity`, (n, queries), is what the sampler takes turns by. A query is a row of the target; with `tasks` a label of the target,
    and the similarity the largest to any of its rows. `target_row` is the nearest. Rows without a vector have none of these. Costs
    2·n·d·rows of the target, 4 bytes a query and row on disk, and with `model` 2 x parameters a token.
    """

    keep = "high"

    def __init__(
        self,
        *,
        model: str | None = None,
        tasks: bool = False,
        length: int = 2048,
        bos: Bos = "auto",
        precision: Precision = "auto",
        batch_tokens: int = 16_384,
    ) -> None:
        if length < 1:
            raise OptionError(f"rds: length must be 1 token or more, got {length}.")
        if batch_tokens < 1:
            raise OptionError(f"rds: batch_tokens must be 1 or more, got {batch_tokens}.")
        self.model = model
        self.tasks = tasks
        self.length = length
        self.bos: Bos = bos
        self.precision: Precision = precision
        self.batch_tokens = batch_tokens
        self._reads = "embedding" if model is None else "text"
        self.requires = (self._reads, f"target.{self._reads}", *(("target.label",) if tasks else ()))
        self._lm: LanguageModel | None = None

    def identity(self) -> Mapping[str, str | None]:
        if self.model is None:  # the other options are the model's
            return dict.fromkeys(("model", "length", "bos", "precision"))
        from curate.signals.lm.loading import identity

        return {"model": identity(self.model)}

    def weight(self, device: str) -> int:
        if self.model is None:
            return 0
        from curate.signals.lm.memory import needed

        return needed(self.model, device, self.precision, self.batch_tokens)

    def open(self, device: str) -> None:
        if self.model is None:
            return
        from curate.signals.lm.bos import first_token
        from curate.signals.lm.model import LanguageModel

        self._lm = LanguageModel.open(self.model, device, precision=self.precision, batch_tokens=self.batch_tokens)
        self._first = first_token(self._lm, self.bos, self.model)

    def close(self) -> None:
        self._lm = None

    def fit_target(self, shard: Shard) -> State:
        vectors = self._placed(shard[f"target.{self._reads}"])
        task = shard["target.label"] if self.tasks else shard.rows
        usable = np.isfinite(vectors).all(axis=1) & (task >= 0)
        return {"vectors": vectors[usable], "row": shard.rows[usable], "task": task[usable]}

    def merge_target(self, states: Sequence[State]) -> State:
        """The target's vectors, those of a task together; `first` is where each query's begin."""
        whole = {name: np.concatenate([state[name] for state in states]) for name in states[0]}
        order = np.argsort(whole["task"], kind="stable")
        task, first = np.unique(whole["task"][order], return_index=True)
        if not len(task):
            raise InputError("rds: no row of the target has a vector. Name its text column with --target-input, or embed it again.")
        if len(task) > QUERIES:
            raise InputError(
                f"rds: the target has {len(task):,} rows, and each takes 4 bytes a row to be scored; {QUERIES:,} are the most. "
                "Take a sample of it, or group its rows by --target-label with tasks=true."
            )
        return {"vectors": whole["vectors"][order], "row": whole["row"][order], "first": first}

    def conclude(self, state: State) -> Mapping[str, float | int | str]:
        return {"target_rows": len(state["target.row"]), "queries": len(state["target.first"])}

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None, "the target is there"
        n, first, goal = len(shard), state["target.first"], state["target.vectors"]
        vectors = self._placed(shard[self._reads])
        if vectors.shape[1] != goal.shape[1]:
            raise InputError(
                f"rds: the rows have vectors of {vectors.shape[1]} numbers, the target of {goal.shape[1]}. Embed both with one encoder."
            )
        similarity, nearest = np.empty((n, len(first)), np.float32), np.empty(n, np.int64)
        for start in range(0, n, BLOCK):
            cosine = vectors[start : start + BLOCK] @ goal.T  # (b, rows of the target)
            similarity[start : start + BLOCK] = np.maximum.reduceat(cosine, first, axis=1)
            nearest[start : start + BLOCK] = state["target.row"][cosine.argmax(axis=1)]
        lost = np.isnan(similarity[:, 0]) if n else np.zeros(0, bool)
        nearest[lost] = -1
        status = np.where(lost, "no_vector", "").astype(str)
        return {"score": similarity.max(axis=1), "status": status, "target_row": nearest, "similarity": similarity}

    def _placed(self, values: Array) -> Vectors:
        """Vectors of length 1, NaN throughout where there is none."""
        vectors = np.asarray(values, np.float32) if self._lm is None else self._pooled(values.tolist())
        there, units = known(vectors, "cosine")
        placed = np.full(vectors.shape, np.nan, np.float32)
        placed[there] = units
        return placed

    def _pooled(self, texts: list[str]) -> Vectors:
        from curate.signals.lm.batches import windows
        from curate.signals.lm.tokens import encode

        lm = self._lm
        assert lm is not None, "open comes before"
        room = max(min(self.length, lm.context) - len(self._first), 1)
        parts = []
        for start, stop in windows(len(texts)):
            read = encode(lm.tokenizer, texts[start:stop], room)
            parts.append(lm.pooled([[*self._first, *text.ids] if text.ids else [] for text in read]))
        return np.concatenate(parts) if parts else lm.pooled([])
