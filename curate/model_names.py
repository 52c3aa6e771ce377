"""The models that `--model` can name, in words, for lists that must not import torch."""

from typing import Final

MODELS: Final = {
    "convnet": "three convolutions, for small images; the default for images",
    "resnet18": "ResNet-18 with the stem for small images, as in the papers; wants a GPU",
    "text_bag": "hashed word n-grams, mean embedding, one hidden layer; the default for text",
    "mlp": "two hidden layers; the default for tables and embeddings",
    "timm:NAME": 'a timm image model; needs pip install "curatekit[timm]"',
    "hf:NAME-OR-PATH": 'a transformers sequence classifier; needs pip install "curatekit[text]"',
    "FILE.py:FUNCTION": "your own: FUNCTION(shape, classes) -> torch.nn.Module",
}
