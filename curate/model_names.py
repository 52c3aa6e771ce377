"""The models that `--model` can name, in words, for lists that must not import torch."""

from typing import Final

MODELS: Final = {
    "convnet": "three convolutions, for small images; the default for images",
    "resnet18": "ResNet-18 with the stem for small images, as in the papers; wants a GPU",
    "text_bag": "hashed word n-grams, mean embedding, one hidden layer; the default for text",
    "mlp": "two hidden layers; the default for tables and embeddings",
    "timm:NAME": 'a timm image model; needs pip install "curatekit[timm]"',
    "hf:NAME-OR-PATH": 'a transformers sequence classifier; needs pip install "curatekit[text]"',
    "hf-causal:NAME-OR-PATH": 'a language model, for instructions and texts; tells a loss a row; needs pip install "curatekit[text]"',
    "hf-causal-lora:NAME-OR-PATH": 'the same, training adapters alone; needs pip install "curatekit[peft]"',
    "FILE.py:FUNCTION": "your own: FUNCTION(shape, classes) -> torch.nn.Module",
}


def reads_no_label(name: str | None) -> bool:
    """Whether `--model` names one that learns from the texts alone."""
    return (name or "").startswith(("hf-causal:", "hf-causal-lora:"))
