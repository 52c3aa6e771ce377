"""A causal language model as a proxy: fine-tuned on the answers alone, it gives each row's mean loss per token and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from curate import chat
from curate.data import Dataset
from curate.errors import InputError, MissingExtraError, OptionError
from curate.progress import Progress
from curate.signals.hub import loaded
from curate.signals.huggingface import MAX_TOKENS, identity
from curate.signals.inputs import EMPTY_TEXT, Inputs
from curate.signals.proxies import Proxy

IGNORED: Final = -100  # the label of what bears no loss: padding, and all but the answers
NO_ANSWER: Final = "no_answer"  # none there, or cut off behind a long question
LORA_RANK: Final = 16


class CausalInputs:
    """Rows as token ids with labels, ragged on the device; a batch is (input_ids, attention_mask, labels), (b, longest).

    Of a conversation the answers bear loss (`curate.chat`), of a plain text every token. Where the template has no end mark, the
    tokenizer's own ends the row and bears loss, for a model has to learn to stop. Rows are cut after 512 tokens; one that keeps no token
    with a loss is in `failed`. Memory: 16 bytes a token.
    """

    def __init__(self, data: Dataset, device: torch.device, progress: Progress, tokenizer: Any) -> None:
        self.shape = (len(tokenizer),)
        self.failed: dict[int, str] = {}
        self._pad = tokenizer.pad_token_id
        self._rows: list[tuple[Tensor, Tensor]] = []
        limit = min(MAX_TOKENS, tokenizer.model_max_length)
        with progress.task("tokenise", len(data)) as task:
            for start in range(0, len(data), 1024):
                stop = min(start + 1024, len(data))
                for row, (text, spans) in enumerate(texts_and_answers(data, start, stop, tokenizer.eos_token), start):
                    encoded = tokenizer(text, truncation=True, max_length=limit, return_offsets_mapping=True)
                    ids, labels = encoded["input_ids"], _labels(encoded["input_ids"], encoded["offset_mapping"], spans)
                    if not text.strip():
                        self.failed[row] = EMPTY_TEXT
                    elif all(label == IGNORED for label in labels[1:]):  # the first token is nobody's prediction
                        self.failed[row] = NO_ANSWER
                    self._rows.append((torch.tensor(ids, device=device), torch.tensor(labels, device=device)))
                task.advance(stop - start)

    def batch(self, rows: Tensor, augment: torch.Generator | None = None) -> tuple[Tensor, ...]:
        chosen = [self._rows[row] for row in rows.tolist()]
        ids = nn.utils.rnn.pad_sequence([ids for ids, _ in chosen], batch_first=True, padding_value=self._pad)
        labels = nn.utils.rnn.pad_sequence([labels for _, labels in chosen], batch_first=True, padding_value=IGNORED)
        lengths = torch.tensor([len(ids) for ids, _ in chosen], device=ids.device)
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        return ids, mask.long(), labels


class Causal(nn.Module):
    """Gives each row's mean cross-entropy over its tokens with a label, (b,) float32, in nats.

    Its state is what is trained: of LoRA the adapters alone.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits[:, :-1].float()
        wanted = labels[:, 1:]
        losses = nn.functional.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none")  # (b, tokens)
        return losses.sum(dim=1) / (wanted != IGNORED).sum(dim=1)

    def state_dict(self, *args: Any, **options: Any) -> Any:
        trained = {name for name, value in self.named_parameters(remove_duplicate=False) if value.requires_grad}
        return {name: value for name, value in super().state_dict(*args, **options).items() if name in trained}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        missing = self.state_dict().keys() ^ state_dict.keys()
        if strict and missing:
            raise InputError(f"The weights are of another model; they differ in {', '.join(sorted(missing)[:3])}.")
        return super().load_state_dict(state_dict, strict=False, assign=assign)


def texts_and_answers(data: Dataset, start: int, stop: int, end: str | None) -> list[tuple[str, list[tuple[int, int]]]]:
    """Each row's text and the character ranges of it that bear loss; `end` is put behind where the template has no end mark."""
    if data.chat_template is None:
        texts = [text or "" for text in data.texts(start, stop)]
        return [(text + (end or "") if text else "", [(0, len(text) + len(end or ""))]) for text in texts]
    found = []
    for row in data.table.select_columns(list(data.inputs)).select(range(start, stop)):
        segments = chat.render(row, data.chat_template)
        if segments and segments[-1].text and end and data.chat_template.name in ("alpaca", "prompt"):
            segments[-1] = chat.Segment(segments[-1].role, segments[-1].text + end, segments[-1].is_answer)
        found.append((chat.joined(segments) or "", chat.answer_spans(segments)))
    return found


def _labels(ids: Sequence[int], offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[int]:
    """A token bears loss where it begins inside an answer; special tokens that the tokenizer adds have no width and bear none."""
    return [
        token if end > begin and any(first <= begin < last for first, last in spans) else IGNORED
        for token, (begin, end) in zip(ids, offsets, strict=True)
    ]


def causal_proxy(name: str, data: Dataset, *, lora: bool) -> Proxy:
    """AutoModelForCausalLM of a hub name or folder, with its own tokenizer; all weights are trained, or with `lora` adapters of rank 16."""
    spec = f"{'hf-causal-lora' if lora else 'hf-causal'}:{name}"
    if data.modality not in ("text", "chat"):
        raise OptionError(f'Model "{spec}" reads texts or conversations, but "{data.source}" is {data.modality} data. Leave --model out.')
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise MissingExtraError(f'Model "{spec}" needs transformers. Install it: pip install "curatekit[text]"') from None
    if lora:
        _require_peft(spec)
    tokenizer = loaded("tokenizer", name, AutoTokenizer.from_pretrained)
    if not tokenizer.is_fast:
        raise InputError(f'The tokenizer of "{name}" does not say where in the text a token is, so answers cannot be told. Use a fast one.')
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token

    def build(shape: Sequence[int], classes: int) -> nn.Module:
        model = loaded("weights", name, AutoModelForCausalLM.from_pretrained)
        return Causal(_with_adapters(model) if lora else model)

    def prepare(data: Dataset, device: torch.device, progress: Progress, **_: Any) -> Inputs:
        return CausalInputs(data, device, progress, tokenizer)

    return Proxy(f"{spec.partition(':')[0]}:{identity(name)}", build, prepare, loss_only=True)


def _require_peft(spec: str) -> None:
    try:
        import peft  # noqa: F401
    except ImportError:
        raise MissingExtraError(f'Model "{spec}" needs peft. Install it: pip install "curatekit[peft]"') from None


def _with_adapters(model: nn.Module) -> nn.Module:
    """LoRA (Hu et al. 2021) on every linear layer but the last, with peft's own initial weights."""
    from peft import LoraConfig, get_peft_model

    adapted: nn.Module = get_peft_model(
        model, LoraConfig(r=LORA_RANK, lora_alpha=2 * LORA_RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    return adapted
