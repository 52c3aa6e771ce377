"""How much memory a language model is going to need, known from its configuration: no weight is read."""

from typing import Any, Final

import torch

from curate.signals.hub import loaded
from curate.signals.lm.loading import Precision, dtype_on, kind_of, required

LOGITS: Final = 3 * 4 * (1 << 24)  # the chunk of logits that is held, in float32, and its softmax
STATES: Final = 4  # hidden states held at a time: what goes in, what is added to it, the norm of both, what comes out


def needed(name: str, device: str, precision: Precision, batch_tokens: int) -> int:
    """Bytes of the weights as they are held, and of what a batch of so many tokens makes of them; about right, and no lower bound."""
    transformers = required(name)
    config = loaded("configuration", name, transformers.AutoConfig.from_pretrained)
    with torch.device("meta"):
        model = kind_of(config).from_config(config)
    weights = sum(weight.numel() for weight in model.parameters())
    layers = [module for module in model.modules() if module is not model.get_output_embeddings()]  # its logits come in chunks
    a_token = STATES * int(config.get_text_config().hidden_size) + 2 * max(map(_width, layers))
    tokens = 1 if device.startswith("cuda") else batch_tokens  # a batch that a GPU does not hold is halved
    found: int = dtype_on(device, precision).itemsize * (weights + tokens * a_token) + LOGITS
    return found


def _width(module: torch.nn.Module) -> int:
    """The wider side of a layer's matrix."""
    weight: Any = getattr(module, "weight", None)
    return max(weight.shape) if weight is not None and weight.ndim == 2 and not isinstance(module, torch.nn.Embedding) else 0
