"""IFD: how little an instruction helps a language model to foresee its answer.

Li et al. 2024, "Superfiltering: Weak-to-Strong Data Filtering for Fast Instruction-Tuning"; official code tianyi-lab/Superfiltering.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from curate.protocols import Columns, Shard
from curate.scorers.language.by_losses import AbstractByLosses, Bos, Counts, Precision
from curate.signals.lm.batches import windows

if TYPE_CHECKING:
    from curate.signals.lm.model import Part


class IFD(AbstractByLosses):
    """Perplexity of the answer given the instruction, over that of the answer alone, (n,) float32 above 0; keep the highest below 1.

    Reads `question` and `answer`: the last answer of a conversation and all before it, or the two texts of a pair. At 1 or more the
    instruction does not help, which tells of a mismatch; Superfiltering drops those (`--where "ifd < 1"`) and keeps the highest of the
    rest. `form=ppl` is exp(L_c - L_d), as Superfiltering has it; `loss` is L_c / L_d, as Cherry_LLM; L_c and L_d are mean losses in
    nats a token, columns `conditioned` and `alone`; `tokens` counts those of the answer that were judged.

    The official code finds the answer by tokenising the instruction again, cuts the answer differently for the two losses, and with
    GPT-2, which has no first token, leaves the answer's first one out of L_d alone. Here ids are concatenated and both losses are of
    the same tokens. The answer keeps at least half of `length` tokens (at most the model's context), the instruction its end. `bos` is as
    for `perplexity`. The official models are GPT-2 (Superfiltering) or the model to be tuned; `model` is a hub name or a folder. Costs two
    passes over the answer and one over the instruction.
    """

    requires = ("question", "answer")
    name = "ifd"
    least = 4
    hard_sign = 0
    keep = "high"

    def __init__(
        self,
        *,
        model: str = "gpt2",
        form: Literal["ppl", "loss"] = "ppl",
        length: int = 1024,
        bos: Bos = "auto",
        precision: Precision = "auto",
        batch_tokens: int = 16_384,
    ) -> None:
        super().__init__(model, length, bos, precision, batch_tokens)
        self.form: Literal["ppl", "loss"] = form

    def score_rows(self, shard: Shard) -> Columns:
        lm = self._lm
        n = len(shard)
        sums, tokens = np.zeros((2, n)), np.zeros(n, np.int64)
        for start, stop in windows(n):
            pairs = self._pairs(shard["question"][start:stop].tolist(), shard["answer"][start:stop].tolist())
            for side in (0, 1):
                sums[side, start:stop], tokens[start:stop] = lm.losses([pair[side] for pair in pairs])
        status = _status(shard, tokens)
        with np.errstate(divide="ignore", invalid="ignore"):
            conditioned, alone = sums / tokens
            ratio = np.exp(np.minimum(conditioned - alone, 88.0)) if self.form == "ppl" else conditioned / alone
        known = (status == "") & np.isfinite(ratio)
        status[(status == "") & ~known] = "not_finite"
        columns = {"score": ratio, "conditioned": conditioned, "alone": alone}
        told = {name: np.where(known, values, np.nan).astype(np.float32) for name, values in columns.items()}
        return {**told, "status": status, "tokens": tokens.astype(np.int32)}

    def _pairs(self, questions: list[str], answers: list[str]) -> "list[tuple[Part, Part]]":
        """For each row the answer after the question, and alone."""
        from curate.signals.lm.tokens import encode

        asked = [text.ids for text in encode(self._lm.tokenizer, questions)]
        told = [text.ids for text in encode(self._lm.tokenizer, answers, self._length)]
        return [self._pair(question, answer) for question, answer in zip(asked, told, strict=True)]

    def _pair(self, question: list[int], answer: list[int]) -> "tuple[Part, Part]":
        from curate.signals.lm.model import Part

        room = self._length - len(self._first)
        answer = answer[: max(room - len(question), room // 2)]
        question = question[max(len(question) - (room - len(answer)), 0) :]
        if self._first or self._lm.two_sided:
            return Part([*self._first, *question], answer), Part(self._first, answer)
        return Part([*question, *answer[:1]], answer[1:]), Part(answer[:1], answer[1:])  # nothing foresees the first token in L_d


def _status(shard: Shard, tokens: Counts) -> NDArray[np.str_]:
    empty = {name: np.array([not text.strip() for text in shard[name]], bool) for name in ("question", "answer")}
    found = np.full(len(shard), "", "U16")
    found[tokens == 0] = "too_short"
    found[empty["question"]] = "empty_question"
    found[empty["answer"]] = "empty_answer"
    return found
