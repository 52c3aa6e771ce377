"""Perplexity: how much a text surprises a language model.

Marion et al. 2023, "When Less is More: Investigating Data Pruning for Pretraining LLMs at Scale", and Ankner et al. 2024,
"Perplexed by Perplexity"; no official code.
"""

from typing import TYPE_CHECKING

import numpy as np

from curate.errors import OptionError
from curate.protocols import Columns, Keep, Shard
from curate.scorers.language.by_losses import AbstractByLosses, Bos, Counts, Floats, Precision

if TYPE_CHECKING:
    from curate.signals.lm.model import Part
    from curate.signals.lm.tokens import Encoded


class Perplexity(AbstractByLosses):
    """exp of the mean negative log-likelihood a token, (n,) float32, 1 or more; which end to keep depends on the corpus.

    Reads `text`. `keep` is `low` (perplexity filtering), `high` (what "Perplexed by Perplexity" found best on the Pile) or `middle`
    (on Dolma): a comparison with random tells; `--label SOURCE --per-class` cuts within each source or language, as CCNet does. Short
    and boilerplate texts score low, and so do those in the model's own language.
    Columns: `loss` in nats a token, `bits_per_byte` = sum of losses / (ln 2 x bytes), which models of other tokenizers share, `tokens` and
    `bytes` that were judged.

    A text is judged in `windows` of `length` tokens (at most the model's context), each token once; the rest of a very long text is left
    out. A later window begins with `overlap` tokens, and always one, that were judged already. `bos`: a model that puts a token before
    each text judges the text's own first one; `auto` does as its tokenizer does, `add` puts bos or else eos there, `none` nothing, so that
    the first token has no loss. Of an encoder-decoder the first `length` tokens are read: half by the encoder, the rest is judged.

    `model` is a hub name or a folder; code that comes with it is never run. A batch holds up to `batch_tokens` padded tokens; on a GPU
    `precision=auto` is bfloat16. About 2 x parameters x tokens operations.
    """

    requires = ("text",)
    name = "perplexity"
    least = 2
    hard_sign = 0
    keep: Keep = "low"

    def __init__(
        self,
        *,
        model: str = "gpt2",
        keep: Keep = "low",
        length: int = 1024,
        windows: int = 16,
        overlap: int = 0,
        bos: Bos = "auto",
        precision: Precision = "auto",
        batch_tokens: int = 16_384,
    ) -> None:
        super().__init__(model, length, bos, precision, batch_tokens)
        if windows < 1:
            raise OptionError(f"perplexity: windows must be 1 or more, got {windows}.")
        if not 0 <= overlap <= length - 2:
            raise OptionError(f"perplexity: overlap must be 0 … {length - 2} (length - 2), got {overlap}.")
        self.keep = keep
        self.windows = windows
        self.overlap = overlap

    def open(self, device: str) -> None:
        super().open(device)
        self._overlap = min(self.overlap, self._length - 2)

    def score_rows(self, shard: Shard) -> Columns:
        from curate.signals.lm.batches import windows

        lm = self._lm
        n = len(shard)
        nll, tokens, size = np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.int64)
        for start, stop in windows(n):
            texts = self._encoded(shard["text"][start:stop].tolist())
            cut = [self._parts(text) for text in texts]
            owner = np.repeat(np.arange(start, stop), [len(parts) for parts in cut])
            loss, count = lm.losses([part for parts in cut for part in parts])
            np.add.at(nll, owner, loss)
            np.add.at(tokens, owner, count)
            size[start:stop] = [self._bytes(text, count) for text, count in zip(texts, tokens[start:stop].tolist(), strict=True)]
        return _columns(nll, tokens, size)

    def _encoded(self, texts: "list[str]") -> "list[Encoded]":
        from curate.signals.lm.tokens import encode

        reach = (
            self._length if self._lm.two_sided else self.windows * (self._length - 1 - self._overlap) + self._overlap + 1 - len(self._first)
        )
        return encode(self._lm.tokenizer, texts, reach)

    def _parts(self, text: "Encoded") -> "list[Part]":
        """The text cut into windows of which each judges what the one before did not."""
        from curate.signals.lm.model import Part

        if self._lm.two_sided:
            half = len(text.ids) // 2
            return [Part(text.ids[:half], text.ids[half:])] if half else []
        ids = [*self._first, *text.ids]
        parts, judged = [], 1
        while judged < len(ids):
            start = max(judged - 1 - self._overlap, 0)
            parts.append(Part(ids[start:judged], ids[judged : start + self._length]))
            judged = start + self._length
        return parts

    def _bytes(self, text: "Encoded", count: int) -> int:
        """The bytes of the tokens that were judged, which are the text's last ones."""
        return text.bytes_between(len(text.ids) - count, len(text.ids)) if count else 0


def _columns(nll: Floats, tokens: Counts, size: Counts) -> Columns:
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = np.where(tokens > 0, nll / tokens, np.nan)
        bits = np.where(size > 0, nll / (np.log(2) * size), np.nan)
    finite = np.isfinite(loss)
    score = np.exp(np.minimum(np.where(finite, loss, np.nan), 88.0))  # beyond, float32 has no number
    status = np.where(finite, "", np.where(tokens > 0, "not_finite", "too_short"))
    return {
        "score": score.astype(np.float32),
        "status": status.astype(str),
        "loss": np.where(finite, loss, np.nan).astype(np.float32),
        "bits_per_byte": np.where(finite, bits, np.nan).astype(np.float32),
        "tokens": tokens.astype(np.int32),
        "bytes": size.astype(np.int64),
    }
