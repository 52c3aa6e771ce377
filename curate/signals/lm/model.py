"""A language model that reads many texts at a time and keeps of each only what was asked: a loss, or the next token's probabilities."""

import inspect
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.signals.lm.batches import plan
from curate.signals.lm.loading import Precision, load

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Counts = NDArray[np.int64]

LOGITS: Final = 1 << 24  # logits that are held at a time: 64 MB in float32
PREFIX: Final = 16  # tokens that all prompts must share for reading them once to pay
IGNORED: Final = -1


@dataclass(frozen=True)
class Part:
    """Token ids to be judged, `target`, and those that come before and are not, `condition`."""

    condition: Sequence[int]
    target: Sequence[int]


@dataclass(frozen=True)
class Foretold:
    """For every token of a row but the first: whether it is the likeliest by what comes before, `hits`, and its loss in nats."""

    hits: NDArray[np.bool_]
    losses: Floats32


class LanguageModel:
    """A causal or encoder-decoder model with its tokenizer.

    Texts are padded on the right, so that every token has the position and sees the tokens that it has and sees alone; with causal
    attention what stands to its right changes nothing, and no mask is needed. Of an encoder-decoder the condition goes to the encoder.
    A batch holds up to `batch_tokens` padded tokens, or as many as a GPU's memory turns out to hold.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.batch_tokens = batch_tokens
        self.two_sided = bool(model.config.is_encoder_decoder)
        self._model = model
        self._device = model.device
        self._head = model.get_output_embeddings()
        self._chunk = max(1, LOGITS // int(self._head.weight.shape[0]))
        cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        self._finish: Callable[[Tensor], Tensor] = (lambda logits: logits) if not cap else lambda logits: cap * torch.tanh(logits / cap)
        self._splits = not self.two_sided and self._head_alone_agrees()
        self._too_much = sys.maxsize  # padded tokens that this GPU did not hold
        accepted = inspect.signature(model.base_model.forward).parameters
        self._cache = "cache" if "cache" in accepted else "past_key_values"  # its name until transformers 5

    @classmethod
    def open(cls, name: str, device: str, *, precision: Precision = "auto", batch_tokens: int = 16_384) -> "LanguageModel":
        """The model of a hub name or folder, ready on a device; InputError where it cannot be used."""
        return cls(*load(name, device, precision), batch_tokens)

    @property
    def context(self) -> int:
        """The most tokens that it was made for; 512 for T5, whose relative positions set no limit but whose training did."""
        config = self._model.config.get_text_config()
        own = [getattr(config, key, None) for key in ("max_position_embeddings", "n_positions", "n_ctx")]
        limits = [n for n in (*own, self.tokenizer.model_max_length) if isinstance(n, int) and 1 < n < 1 << 30]
        return min(limits) if limits else 512 if self.two_sided else 2048

    @property
    def bos(self) -> int | None:
        """The token that its tokenizer puts before a text of its own accord; None where it puts none, as GPT-2's."""
        plain, marked = (self.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
        return int(marked[0]) if marked[: len(plain)] != plain else None

    @torch.inference_mode()
    def losses(self, parts: Sequence[Part]) -> tuple[Floats, Counts]:
        """The summed negative log-likelihood of each part's target, (n,) nats, and over how many tokens.

        The first token of all has nothing before it and so no loss: of a causal model's target without a condition it is left out.
        """
        total, count = np.zeros(len(parts)), np.zeros(len(parts), np.int64)
        reads = self._losses_of_two_sides if self.two_sided else self._losses_of_one
        lengths = np.array([len(part.condition) + len(part.target) for part in parts], np.int64)
        told = np.flatnonzero([len(part.target) > 0 and (self.two_sided or len(part.condition) + len(part.target) > 1) for part in parts])

        def read(rows: NDArray[np.int64]) -> None:
            total[told[rows]], count[told[rows]] = reads([parts[i] for i in told[rows]])

        self._in_batches(lengths[told], read)
        return total, count

    @torch.inference_mode()
    def foretold(self, rows: Sequence[Sequence[int]]) -> list[Foretold]:
        """What a causal model would have said in place of each token, given those before it as they are."""
        nothing = Foretold(np.zeros(0, bool), np.zeros(0, np.float32))
        found = [nothing] * len(rows)

        def read(chosen: NDArray[np.int64]) -> None:
            ids = self._padded([rows[i] for i in chosen], fill=0)  # (b, t)
            sizes = [len(rows[i]) - 1 for i in chosen]
            known = torch.arange(ids.shape[1] - 1, device=self._device) < torch.tensor(sizes, device=self._device)[:, None]
            wanted, at, hits, losses = ids[:, 1:][known], 0, [], []
            for logits in self._logits(ids[:, :-1], known):  # (chunk, vocabulary)
                here = wanted[at : at + len(logits)]
                hits.append((logits.argmax(dim=1) == here).cpu().numpy())
                losses.append(torch.nn.functional.cross_entropy(logits, here, reduction="none").cpu().numpy())
                at += len(logits)
            cuts = np.cumsum(sizes)[:-1]
            for i, *both in zip(chosen, *(np.split(np.concatenate(values), cuts) for values in (hits, losses)), strict=True):
                found[i] = Foretold(*both)

        lengths = np.array([len(row) for row in rows], np.int64)
        told = np.flatnonzero(lengths > 1)
        self._in_batches(lengths[told], lambda rows: read(told[rows]))
        return found

    @torch.inference_mode()
    def pooled(self, rows: Sequence[Sequence[int]]) -> Floats32:
        """The mean of each row's last hidden states in which token i of L weighs i, (n, d); later ones have read more.

        NaN for a row without a token. Of an encoder-decoder the encoder's states.
        """
        lengths = np.array([len(row) for row in rows], np.int64)
        found = np.full((len(rows), self._model.config.get_text_config().hidden_size), np.nan, np.float32)

        def read(chosen: NDArray[np.int64]) -> None:
            ids = self._padded([rows[i] for i in chosen], fill=0)  # (b, t)
            size = torch.from_numpy(lengths[chosen]).to(self._device)
            place = torch.arange(1, ids.shape[1] + 1, device=self._device)
            weight = place * (place <= size[:, None]) / (size * (size + 1) / 2)[:, None]  # i / (1 + 2 + … + L)
            found[chosen] = torch.einsum("bt,btd->bd", weight.float(), self._states(ids, weight > 0).float()).cpu().numpy()

        told = np.flatnonzero(lengths)
        self._in_batches(lengths[told], lambda rows: read(told[rows]))
        return found

    @torch.inference_mode()
    def next_token(self, prompts: Sequence[Sequence[int]], ids: Sequence[int]) -> Floats:
        """The probability, over the whole vocabulary, that each of `ids` comes next, (n, len(ids)); of an encoder-decoder, comes first."""
        found = np.zeros((len(prompts), len(ids)))
        shared = 0 if self.two_sided else _shared(prompts)
        past = self._read(prompts[0][:shared]) if shared >= PREFIX else None
        skip = shared if past is not None else 0
        columns = torch.tensor(ids, device=self._device)

        def read(rows: NDArray[np.int64]) -> None:
            logits = self._next_logits([prompts[i][skip:] for i in rows], past)
            found[rows] = torch.log_softmax(logits, dim=1)[:, columns].exp().double().cpu().numpy()

        self._in_batches(np.array([len(prompt) - skip for prompt in prompts], np.int64), read)
        return found

    def _in_batches(self, lengths: NDArray[np.int64], work: Callable[[NDArray[np.int64]], None]) -> None:
        """Does the work for all rows; a batch that a GPU's memory does not hold is halved, and so is every later one as large."""
        waiting = deque(plan(lengths, self.batch_tokens))
        while waiting:
            rows = waiting.popleft()
            padded = len(rows) * int(lengths[rows].max())
            if padded >= self._too_much and len(rows) > 1:
                waiting.extendleft(reversed(np.array_split(rows, 2)))
                continue
            try:
                work(rows)
                continue
            except torch.OutOfMemoryError:
                if len(rows) == 1:
                    raise
            self._too_much = padded
            waiting.appendleft(rows)
            torch.cuda.empty_cache()

    def _losses_of_one(self, parts: Sequence[Part]) -> tuple[Floats, Counts]:
        ids = [[*part.condition, *part.target] for part in parts]
        inputs = self._padded([row[:-1] for row in ids], fill=0)  # (b, t)
        labels = self._padded(
            [
                [IGNORED] * (max(len(part.condition), 1) - 1) + row[max(len(part.condition), 1) :]
                for part, row in zip(parts, ids, strict=True)
            ],
            fill=IGNORED,
        )
        return self._summed(labels, lambda chosen: self._logits(inputs, chosen))

    def _losses_of_two_sides(self, parts: Sequence[Part]) -> tuple[Floats, Counts]:
        labels = self._padded([part.target for part in parts], fill=IGNORED)
        start = [[self._start, *part.target][: len(part.target)] for part in parts]
        logits = self._decoded([part.condition for part in parts], self._padded(start, fill=0))
        return self._summed(labels, lambda chosen: iter([logits[chosen].float()]))

    def _summed(self, labels: Tensor, logits_at: Callable[[Tensor], Iterator[Tensor]]) -> tuple[Floats, Counts]:
        """Loss and number of labels by row; only the chosen positions' logits are ever made, a chunk at a time."""
        chosen = labels != IGNORED  # (b, t)
        row, wanted = chosen.nonzero()[:, 0], labels[chosen]
        total = torch.zeros(len(labels), dtype=torch.float64, device="cpu")
        at = 0
        for logits in logits_at(chosen):  # (chunk, vocabulary)
            here = slice(at, at + len(logits))
            loss = torch.nn.functional.cross_entropy(logits, wanted[here], reduction="none")
            total.index_add_(0, row[here].cpu(), loss.double().cpu())
            at += len(logits)
        return total.numpy(), chosen.sum(dim=1).cpu().numpy()

    def _logits(self, inputs: Tensor, chosen: Tensor) -> Iterator[Tensor]:
        if not self._splits:
            yield self._model(input_ids=inputs, use_cache=False).logits[chosen].float()
            return
        hidden = self._model.base_model(input_ids=inputs, use_cache=False).last_hidden_state[chosen]  # (positions, d)
        for part in hidden.split(self._chunk):
            yield self._finish(self._head(part).float())

    def _states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The last hidden state of every token, (b, t, d); behind a padded row's end they mean nothing."""
        inner = self._model.get_encoder() if self.two_sided else self._model.base_model
        if inner is self._model:
            out: Tensor = self._model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[-1]
        else:
            out = inner(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return out

    def _next_logits(self, prompts: Sequence[Sequence[int]], past: Any) -> Tensor:
        """(b, vocabulary) after each prompt's last token."""
        if self.two_sided:
            start = torch.full((len(prompts), 1), self._start, device=self._device)
            return self._decoded(prompts, start)[:, 0].float()
        inputs = self._padded(prompts, fill=0)
        last = torch.zeros(inputs.shape, dtype=torch.bool, device=self._device)
        last[torch.arange(len(prompts)), [len(prompt) - 1 for prompt in prompts]] = True
        if past is None:
            return torch.cat(list(self._logits(inputs, last)))
        out = self._model.base_model(input_ids=inputs, use_cache=True, **{self._cache: _repeated(past, len(prompts))})
        return self._finish(self._head(out.last_hidden_state[last]).float())

    def _read(self, prefix: Sequence[int]) -> Any:
        """Keys and values of what all prompts begin with; None where this model keeps something else in their place."""
        from transformers import DynamicCache

        if not self._splits:
            return None
        past = getattr(self._model.base_model(input_ids=self._padded([prefix], fill=0), use_cache=True), self._cache)
        return past if type(past) is DynamicCache else None

    def _decoded(self, conditions: Sequence[Sequence[int]], decoder: Tensor) -> Tensor:
        """Logits of every decoder position, (b, t, vocabulary)."""
        end = [self.tokenizer.eos_token_id] if self.tokenizer.eos_token_id is not None else []
        ends = [([*ids, *end] if list(ids[-1:]) != end else list(ids)) or [self._start] for ids in conditions]
        mask = self._padded([[1] * len(ids) for ids in ends], fill=0)
        logits: Tensor = self._model(input_ids=self._padded(ends, fill=0), attention_mask=mask, decoder_input_ids=decoder).logits
        return logits

    @property
    def _start(self) -> int:
        config = self._model.config
        named = (getattr(config, key, None) for key in ("decoder_start_token_id", "bos_token_id", "pad_token_id"))
        return int(next((n for n in named if n is not None), 0))

    def _padded(self, rows: Sequence[Sequence[int]], *, fill: int) -> Tensor:
        lengths = np.array([len(row) for row in rows])
        padded = np.full((len(rows), int(lengths.max())), fill, np.int64)
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.concatenate([np.asarray(row, np.int64) for row in rows])
        return torch.from_numpy(padded).to(self._device)

    @torch.inference_mode()
    def _head_alone_agrees(self) -> bool:
        """Whether the head on the last hidden state gives this architecture's logits; some scale or shift them in between.

        Where it does not, the whole forward pass is used: right, though it holds the logits of all positions.
        """
        inner = self._model.base_model
        if inner is self._model:
            return False
        ids = torch.arange(4, device=self._device)[None] % int(self._head.weight.shape[0])
        whole = self._model(input_ids=ids, use_cache=False).logits.float()
        ours = self._finish(self._head(inner(input_ids=ids, use_cache=False).last_hidden_state).float())
        return bool((whole - ours).abs().max() <= 1e-2 * whole.abs().max())


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, short of each one's last, which has to be read for its logits."""
    every = [list(prompt) for prompt in prompts]
    low, high = min(every, default=[]), max(every, default=[])  # in lexical order, the two that differ first
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return min(same, min(map(len, prompts), default=1) - 1)


def _repeated(past: Any, times: int) -> Any:
    """A copy of a one-row cache for so many rows; what is read afterwards is added to the copy."""
    from copy import deepcopy

    copy = deepcopy(past)
    copy.batch_repeat_interleave(times)
    return copy
