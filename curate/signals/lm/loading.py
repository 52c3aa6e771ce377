"""Opens a model and its tokenizer from the hub or a folder, and says in plain words why one cannot be used."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import torch
import xxhash

from curate.disk import checksum
from curate.errors import InputError, MissingExtraError, OptionError
from curate.signals.hub import loaded

Precision = Literal["auto", "float32", "bfloat16"]

_FILES: Final = (
    "*.safetensors",
    "*.bin",
    "config.json",
    "tokenizer*",
    "*.model",
    "vocab*",
    "merges.txt",
    "chat_template*",
    "special_tokens*",
)


def load(name: str, device: str, precision: Precision) -> tuple[Any, Any]:
    """(model, tokenizer), the model in eval mode on the device. Code that comes with a model is never run.

    `auto` is bfloat16 on a GPU that has it, else float32; float16 is not offered, for T5 overflows in it.
    """
    transformers = required(name)
    with _quiet(transformers):
        config = loaded("configuration", name, transformers.AutoConfig.from_pretrained)
        tokenizer = loaded("tokenizer", name, transformers.AutoTokenizer.from_pretrained)
        model, told = loaded("weights", name, kind_of(config).from_pretrained, dtype=dtype_on(device, precision), output_loading_info=True)
    if told["missing_keys"]:
        raise InputError(
            f'"{name}" has no weights for {", ".join(sorted(told["missing_keys"])[:3])}, so it is no whole language model '
            f"(its configuration says {', '.join(config.architectures or ['nothing'])}). Name a causal or encoder-decoder language model."
        )
    rows = model.get_output_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise InputError(
            f'The tokenizer of "{name}" has {len(tokenizer):,} tokens, its model only {rows:,}. '
            "Model and tokenizer must be of one save_pretrained folder."
        )
    return model.to(device).eval().requires_grad_(False), tokenizer


def required(name: str) -> Any:
    """transformers, where it is installed, and what was named is no folder that is not there."""
    try:
        import transformers
    except ImportError:
        raise MissingExtraError(f'Model "{name}" needs transformers. Install it: pip install "curatekit[llm]"') from None
    _require_folder(name)
    return transformers


def kind_of(config: Any) -> Any:
    """The class that opens models of a configuration."""
    import transformers

    return transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM


def dtype_on(device: str, precision: Precision) -> torch.dtype:
    """The type that weights are held in."""
    on_gpu = device.startswith("cuda")
    if precision == "auto":
        return torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported() else torch.float32
    if precision not in ("float32", "bfloat16"):
        raise OptionError(f'precision must be auto, float32 or bfloat16; got "{precision}".')
    return torch.float32 if precision == "float32" else torch.bfloat16


def identity(name: str) -> str:
    """A folder is known by its name and the hash of its files, so that other weights are noticed; a hub model by its name."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return name
    files = sorted({file for pattern in _FILES for file in folder.glob(pattern) if file.is_file()})
    return f"{folder.resolve().name}#{_hash_of(tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files))}"


@cache
def _hash_of(files: tuple[tuple[str, int, int], ...]) -> str:
    digest = xxhash.xxh3_64()
    for path, _, _ in files:
        digest.update(json.dumps([Path(path).name, checksum(Path(path))]).encode())
    return digest.hexdigest()


def _require_folder(name: str) -> None:
    """A path that is not there would be looked for on the hub, under an error of another kind."""
    looks_like_path = name.startswith(("/", ".", "~")) or name.count("/") > 1
    if looks_like_path and not Path(name).expanduser().is_dir():
        raise InputError(f'Model folder "{name}" does not exist. A folder made by save_pretrained is expected, or a hub name (org/name).')


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Progress is ours to show; its bars would run through it."""
    logs = transformers.utils.logging
    shown, level = logs.is_progress_bar_enabled(), logs.get_verbosity()
    logs.disable_progress_bar()
    logs.set_verbosity_error()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if shown:
            logs.enable_progress_bar()
