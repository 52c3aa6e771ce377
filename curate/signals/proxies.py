"""Finds the model that a run trains: a built-in by name, `timm:NAME`, `hf:NAME`, `hf-causal:NAME`, or a function in the user's own file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from curate.data import Dataset
from curate.errors import InputError, MissingExtraError, OptionError, UnknownNameError, did_you_mean
from curate.model_names import reads_no_label
from curate.plugins import import_file
from curate.signals.inputs import Inputs, prepare
from curate.signals.models import MLP, ConvNet, ResNet18, TextBag

Builder = Callable[[Sequence[int], int], nn.Module]

BUILT_IN: Final[Mapping[str, tuple[Builder, tuple[str, ...]]]] = {
    "convnet": (ConvNet, ("image",)),
    "resnet18": (ResNet18, ("image",)),
    "text_bag": (TextBag, ("text", "text_pair", "chat")),
    "mlp": (MLP, ("table", "embedding")),
}


@dataclass(frozen=True)
class Proxy:
    """A model to be trained: how to build it, what it is called in a manifest (no path), and how it reads the data.

    Where it is `loss_only` its output is a loss a row, (b,), instead of logits, and it reads no label.
    """

    name: str
    build: Builder
    prepare: Callable[..., Inputs]
    loss_only: bool = False


def find(spec: str | None, data: Dataset) -> Proxy:
    """The proxy that `--model` names, by default the small built-in one for the data's modality."""
    name = spec or _default(data)
    if reads_no_label(name):
        from curate.signals.causal import causal_proxy

        prefix, _, model = name.partition(":")
        return causal_proxy(model, data, lora=prefix == "hf-causal-lora")
    if name.startswith("hf:"):
        from curate.signals.huggingface import huggingface_proxy

        return huggingface_proxy(name.removeprefix("hf:"), data)
    if name.startswith("timm:"):
        return Proxy(name, _timm(name.removeprefix("timm:")), prepare)
    if ".py:" in name:
        return _from_file(name)
    if name not in BUILT_IN:
        raise UnknownNameError(
            f'No model named "{name}".{did_you_mean(name, BUILT_IN)} Built in: {", ".join(BUILT_IN)}; '
            "else timm:NAME, hf:NAME-OR-PATH, hf-causal:NAME-OR-PATH or ./file.py:build_model."
        )
    builder, modalities = BUILT_IN[name]
    if data.modality not in modalities:
        raise OptionError(
            f'Model "{name}" reads {" or ".join(modalities)}, but "{data.source}" is {data.modality} data. '
            f'Leave --model out for "{_default(data)}".'
        )
    return Proxy(name, builder, prepare)


def _default(data: Dataset) -> str:
    return next(name for name, (_, modalities) in BUILT_IN.items() if data.modality in modalities)


def _timm(name: str) -> Builder:
    """Says at once, not when the inputs are read, that timm or the model is missing."""
    try:
        import timm
    except ImportError:
        raise MissingExtraError(f'Model "timm:{name}" needs timm. Install it: pip install "curatekit[timm]"') from None
    if name not in timm.list_models():
        raise UnknownNameError(f'timm has no model "{name}".{did_you_mean(name, timm.list_models())}')

    def build(shape: Sequence[int], classes: int) -> nn.Module:
        model: nn.Module = timm.create_model(name, pretrained=True, num_classes=classes, in_chans=shape[0])
        return model

    return build


def load_function(name: str, what: str, form: str) -> tuple[str, Callable[..., Any]]:
    """The function that `FILE.py:FUNCTION` names, and what a manifest calls it: no path, but a hash of the file.

    `what` says what the function is for and `form` how it looks, for the errors.
    """
    module, function, source_hash = import_file(name, what)
    path = Path(name.rpartition(":")[0])
    found: Any = getattr(module, function, None)
    if not callable(found):
        raise UnknownNameError(f'"{path}" has no function "{function}"; write `def {function}{form}`.')
    return f"{path.name}:{function}#{source_hash[:16]}", found


def _from_file(name: str) -> Proxy:
    known_as, build = load_function(name, "Model", "(shape, classes): return torch.nn.Module")

    def checked(shape: Sequence[int], classes: int) -> nn.Module:
        model = build(shape, classes)
        if not isinstance(model, nn.Module):
            raise InputError(f'"{name}" returned {type(model).__name__}; a torch.nn.Module is expected.')
        return model

    return Proxy(known_as, checked, prepare)


def check_width(model: nn.Module, inputs: Inputs, rows: torch.Tensor, classes: int) -> None:
    """InputError before hours of work where a model's output does not fit the classes."""
    model.eval()
    with torch.no_grad():
        found = model(*inputs.batch(rows[:2]))
    if found.ndim != 2 or found.shape[1] != classes:
        raise InputError(
            f"The model gives an output of shape {tuple(found.shape)} for 2 rows; (2, {classes}) is expected, a logit a class."
        )
