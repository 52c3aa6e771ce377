"""Encoders that read a network: sentence-transformers, transformers, timm, or the model of a recorded run."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from curate.data import Dataset
from curate.errors import InputError, MissingExtraError, OptionError, UnknownNameError, did_you_mean
from curate.progress import Silent
from curate.scores import require_same_dataset
from curate.signals.encoders import BROKEN_IMAGE, Encoder, Fitted, empty_texts, joined_texts
from curate.signals.hub import loaded
from curate.signals.huggingface import identity
from curate.signals.runs import Run, find_runs

if TYPE_CHECKING:
    from PIL import Image

    from curate.signals.inputs import Inputs

BATCH: Final = 64
MAX_TOKENS: Final = 512

Encoded = tuple[NDArray[np.float32], dict[int, str]]


def network(kind: str, name: str, data: Dataset, device: str) -> Encoder:
    """The encoder `kind:name`; MissingExtraError, InputError or UnknownNameError at once where the model is not to be had."""
    place = torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    made: Mapping[str, Any] = {"sentence": Sentence, "hf": HuggingFace, "timm": Timm}
    if kind == "run":
        return RunFeatures(name, data, place)
    found: Encoder = made[kind](name, place)
    return found


class Sentence:
    """A sentence-transformers model's vectors, brought to length 1, (rows, d) float32."""

    dimensions = None

    def __init__(self, name: str, device: torch.device) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise MissingExtraError(
                f'Encoder "sentence:{name}" needs sentence-transformers. Install it: pip install "curatekit[sentence]"'
            ) from None
        self.name = f"sentence:{identity(name)}"
        self.model = loaded("weights", name, SentenceTransformer, device=str(device))

    def fit(self, data: Dataset, seed: int) -> Fitted:
        return {}

    def encode(self, data: Dataset, first: int, stop: int, fitted: Mapping[str, NDArray[Any]]) -> Encoded:
        texts = joined_texts(data, first, stop)
        vectors = self.model.encode(texts, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32), empty_texts(texts, first)


class HuggingFace:
    """The mean over tokens of a transformers encoder's last hidden states, brought to length 1, (rows, d) float32.

    At most 512 tokens a text; padding does not count. Of an encoder-decoder the encoder is read. Texts are batched by length.
    """

    dimensions = None

    def __init__(self, name: str, device: torch.device) -> None:
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError:
            raise MissingExtraError(f'Encoder "hf:{name}" needs transformers. Install it: pip install "curatekit[text]"') from None
        self.name = f"hf:{identity(name)}"
        self.device = device
        self.tokenizer = loaded("tokenizer", name, AutoTokenizer.from_pretrained)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        model = loaded("weights", name, AutoModel.from_pretrained)
        self.model = (model.get_encoder() if model.config.is_encoder_decoder else model).to(device).eval()
        self.limit = min(MAX_TOKENS, self.tokenizer.model_max_length)

    def fit(self, data: Dataset, seed: int) -> Fitted:
        return {}

    def encode(self, data: Dataset, first: int, stop: int, fitted: Mapping[str, NDArray[Any]]) -> Encoded:
        texts = joined_texts(data, first, stop)
        order = np.argsort([len(text) for text in texts], kind="stable")
        with torch.inference_mode():
            parts = [self._mean([texts[i] for i in order[start : start + BATCH]]) for start in range(0, len(order), BATCH)]
        vectors = np.empty_like(np.concatenate(parts))
        vectors[order] = np.concatenate(parts)
        return vectors, empty_texts(texts, first)

    def _mean(self, texts: Sequence[str]) -> NDArray[np.float32]:
        # An empty text may have no token at all, and then no mean; it is among the failed.
        tokens = self.tokenizer(
            [text or " ." for text in texts], truncation=True, max_length=self.limit, padding=True, return_tensors="pt"
        ).to(self.device)
        hidden = self.model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state.float()
        mask = tokens["attention_mask"][:, :, None]
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1)
        found: NDArray[np.float32] = nn.functional.normalize(mean, dim=1).cpu().numpy()
        return found


class Timm:
    """A timm model's pooled features before the classifier, (rows, d) float32.

    Images are resized and cropped at the centre to the model's own input size, and normalised by its mean and deviation.
    """

    dimensions = None

    def __init__(self, name: str, device: torch.device) -> None:
        try:
            import timm
        except ImportError:
            raise MissingExtraError(f'Encoder "timm:{name}" needs timm. Install it: pip install "curatekit[timm]"') from None
        if name.split(".")[0] not in timm.list_models():
            raise UnknownNameError(f'timm has no model "{name}".{did_you_mean(name, timm.list_models())}')
        self.name = f"timm:{name}"
        self.device = device
        self.model: nn.Module = timm.create_model(name, pretrained=True, num_classes=0).to(device).eval()
        self.about: Mapping[str, Any] = self.model.pretrained_cfg

    def fit(self, data: Dataset, seed: int) -> Fitted:
        return {}

    def encode(self, data: Dataset, first: int, stop: int, fitted: Mapping[str, NDArray[Any]]) -> Encoded:
        parts: list[NDArray[np.float32]] = []
        failed: dict[int, str] = {}
        for start in range(first, stop, BATCH):
            images = data.images(start, min(start + BATCH, stop))
            failed |= {row: BROKEN_IMAGE for row, image in enumerate(images, start) if image is None}
            pixels = torch.from_numpy(np.stack([self._pixels(image) for image in images])).to(self.device)
            with torch.inference_mode():
                parts.append(self.model(pixels).float().cpu().numpy())
        return np.concatenate(parts), failed

    def _pixels(self, image: "Image.Image | None") -> NDArray[np.float32]:
        """(3, side, side), normalised; zeros for a broken image."""
        from PIL import Image

        side = int(self.about["input_size"][-1])
        if image is None:
            return np.zeros((3, side, side), np.float32)
        image = image.convert("RGB")
        ratio = side / float(self.about.get("crop_pct", 0.875)) / min(image.size)
        image = image.resize((max(side, round(image.width * ratio)), max(side, round(image.height * ratio))), Image.Resampling.BICUBIC)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        pixels = np.asarray(image.crop((left, top, left + side, top + side)), np.float32) / 255
        mean, deviation = (np.float32(self.about[key]) for key in ("mean", "std"))
        return np.ascontiguousarray(((pixels - mean) / deviation).transpose(2, 0, 1))


class RunFeatures:
    """What the last linear layer of a run's final model reads, (rows, d) float32: the penultimate features, in eval mode.

    Of the run's own dataset; the first run where a store has several seeds. Holds the dataset's inputs in memory, as training did.
    """

    dimensions = None

    def __init__(self, path: str, data: Dataset, device: torch.device) -> None:
        from curate.signals.proxies import find

        self.run, self.data, self.device = _finished(path, data), data, device
        model = self.run.store.job.get("model")
        if model is None or self.run.store.job.get("model_spec", model) is None:
            raise OptionError(
                f'Run "{self.run.store.path}" was recorded in a loop of your own, so its model cannot be built here. '
                "Embed inside the loop, and name the vectors with --encoder column:NAME."
            )
        self.name = f"run:{self.run.store.path.name}"
        self.proxy = find(model, data)
        self.checkpoint = self.run.checkpoint(self.run.epochs)

    @cached_property
    def inputs(self) -> "Inputs":
        size = self.run.store.job.get("image_size")
        return self.proxy.prepare(self.data, self.device, Silent(), image_size=size, augment="none")

    @cached_property
    def model(self) -> nn.Module:
        from safetensors.torch import load_file

        model = self.proxy.build(self.inputs.shape, len(self.data.label_names)).to(self.device)
        model.load_state_dict({name: value.to(self.device) for name, value in load_file(str(self.checkpoint)).items()})
        return model.eval()

    def fit(self, data: Dataset, seed: int) -> Fitted:
        return {}

    def encode(self, data: Dataset, first: int, stop: int, fitted: Mapping[str, NDArray[Any]]) -> Encoded:
        failed = {row: why for row, why in self.inputs.failed.items() if first <= row < stop}
        usable = [row for row in range(first, stop) if row not in failed]
        vectors = np.zeros((stop - first, self._width), np.float32)
        for start in range(0, len(usable), BATCH):
            rows = usable[start : start + BATCH]
            vectors[np.array(rows) - first] = self._features(rows)
        return vectors, failed

    @cached_property
    def _width(self) -> int:
        row = next((row for row in range(len(self.data)) if row not in self.inputs.failed), None)
        if row is None:
            raise InputError(f'None of {len(self.data):,} rows of "{self.data.source}" can be read.')
        return int(self._features([row]).shape[1])

    def _features(self, rows: Sequence[int]) -> NDArray[np.float32]:
        read: list[torch.Tensor] = []
        layers = [layer for layer in self.model.modules() if isinstance(layer, nn.Linear)]
        hooks = [layer.register_forward_pre_hook(lambda _, given: read.append(given[0])) for layer in layers]
        with torch.inference_mode():
            self.model(*self.inputs.batch(torch.tensor(rows, device=self.device)))
        for hook in hooks:
            hook.remove()
        if not read:
            raise InputError(f'The model of run "{self.run.store.path}" has no linear layer, so it has no features in front of one.')
        return np.asarray(read[-1].float().reshape(len(rows), -1).cpu().numpy())


def _finished(path: str, data: Dataset) -> Run:
    if not Path(path).is_dir():
        raise InputError(f'There is no folder "{path}". --encoder run:DIR names a run, or a store that `curate score` trained one for.')
    runs = [run for run in find_runs(path) if run.is_finished]
    if not runs:
        raise InputError(f'"{path}" holds no finished training run. `curate score DATA --scorer aum --out DIR` trains one.')
    require_same_dataset(runs[0].store, data)
    return runs[0]
