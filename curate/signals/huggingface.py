"""A transformers sequence classifier as a proxy: tokens padded per batch, weights from the hub or a local folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor, nn

from curate.data import Dataset
from curate.errors import MissingExtraError, OptionError
from curate.progress import Progress
from curate.signals.hub import loaded
from curate.signals.inputs import EMPTY_TEXT, Inputs
from curate.signals.proxies import Proxy

MAX_TOKENS = 512


class TokenInputs:
    """Texts as token ids, ragged on the device; a batch is (input_ids, attention_mask), (b, longest)."""

    def __init__(self, data: Dataset, device: torch.device, progress: Progress, tokenizer: Any) -> None:
        self.shape = (len(tokenizer),)
        self.failed: dict[int, str] = {}
        self._pad = tokenizer.pad_token_id
        limit = min(MAX_TOKENS, tokenizer.model_max_length)
        ids: list[Tensor] = []
        with progress.task("tokenise", len(data)) as task:
            for start in range(0, len(data), 1024):
                stop = min(start + 1024, len(data))
                sides = [data.texts(start, stop, side) for side in range(2 if data.modality == "text_pair" else 1)]
                self.failed |= {
                    start + i: EMPTY_TEXT for i, row in enumerate(zip(*sides, strict=True)) if any(not (t or "").strip() for t in row)
                }
                encoded = tokenizer(*[[text or "" for text in side] for side in sides], truncation=True, max_length=limit)
                ids += [torch.tensor(row) for row in encoded["input_ids"]]
                task.advance(stop - start)
        self._ids = [row.to(device) for row in ids]

    def batch(self, rows: Tensor, augment: torch.Generator | None = None) -> tuple[Tensor, ...]:
        chosen = [self._ids[row] for row in rows.tolist()]
        padded = nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=self._pad)
        lengths = torch.tensor([len(row) for row in chosen], device=padded.device)
        mask = torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]
        return padded, mask.long()


class Classifier(nn.Module):
    """Gives the logits alone, as the other proxies do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def huggingface_proxy(name: str, data: Dataset) -> Proxy:
    """AutoModelForSequenceClassification of a hub name or folder, with its own tokenizer; never runs code that comes with a model."""
    if data.modality not in ("text", "text_pair", "chat"):
        raise OptionError(f'Model "hf:{name}" reads text, but "{data.source}" is {data.modality} data. Leave --model out for a default.')
    try:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError:
        raise MissingExtraError(f'Model "hf:{name}" needs transformers. Install it: pip install "curatekit[text]"') from None
    tokenizer = loaded("tokenizer", name, AutoTokenizer.from_pretrained)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token

    def build(shape: Sequence[int], classes: int) -> nn.Module:
        load = AutoModelForSequenceClassification.from_pretrained
        model = loaded("weights", name, load, num_labels=classes, ignore_mismatched_sizes=True)
        model.config.pad_token_id = tokenizer.pad_token_id
        return Classifier(model)

    def prepare(data: Dataset, device: torch.device, progress: Progress, **_: Any) -> Inputs:
        return TokenInputs(data, device, progress, tokenizer)

    return Proxy(f"hf:{identity(name)}", build, prepare)


def identity(name: str) -> str:
    """A local folder is known by its name and the hash of its weights, so that a manifest holds no path and a new model is noticed."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return name
    digest = xxhash.xxh3_64()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("config.json")]):
        digest.update(file.read_bytes())
    return f"{folder.name}#{digest.hexdigest()}"
