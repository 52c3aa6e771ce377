"""A sweep: the run's model at one checkpoint after another, for one batch of rows after another, shared by every scorer that asks.

Rows are the outer loop and checkpoints the inner, so memory does not grow with the dataset, and what has to be folded over checkpoints
(a variance of gradients) lives only as long as its batch.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from curate.errors import InputError
from curate.progress import Task
from curate.protocols import Sweeps
from curate.signals.ghost import GhostNorms, require_eval
from curate.signals.inputs import Inputs

BATCH: Final = 128

Weights = Mapping[str, Tensor]


class View:
    """What a scorer sees of one batch at one checkpoint. What several scorers ask for is computed once.

    `inputs` are the model's arguments, `labels` (b,) int64; the model is in eval mode. `rate` is the learning rate of that epoch.
    """

    def __init__(self, epoch: int, rate: float, model: nn.Module, ghost: GhostNorms, inputs: Inputs, rows: Tensor, labels: Tensor) -> None:
        self.epoch, self.rate, self.model, self.labels = epoch, rate, model, labels
        self.inputs = inputs.batch(rows)
        self._ghost, self._source, self._rows = ghost, inputs, rows

    @cached_property
    def squared_norms(self) -> Tensor:
        """‖∇ loss‖² over all trainable parameters, (b,)."""
        return self._ghost(self.inputs, self.labels, lambda i: self._source.batch(self._rows[i : i + 1]))[1]

    @property
    def logits(self) -> Tensor:
        """(b, classes) float32."""
        return self._last_layer[0]

    @property
    def features(self) -> Tensor:
        """What goes into the last linear layer, (b, d) float32. InputError where the logits are not that layer's output."""
        if self._last_layer[1] is None:
            raise InputError(
                "The model does not end in one linear layer over one vector a row, which this scorer needs. "
                "Choose `grand` or `tracin:layers=all`, which take every layer."
            )
        return self._last_layer[1]

    def input_gradient(self, output: Literal["logit", "prob"]) -> tuple[Tensor, Tensor]:
        """The gradient of each row's label's logit or probability by its input, (b, …), and which places are not padding, (b, T) or (b, 1).

        For images and tables the input is what the model is given; for tokens it is the embedding layer's output, (b, T, width), and
        for a bag of words the bag's, (b, width). One backward pass a batch: rows do not speak to each other in eval mode.
        """
        require_eval(self.model)
        if self.inputs[0].is_floating_point():
            given = self.inputs[0].detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self._chosen(self.model(given, *self.inputs[1:]), output), given)
            return gradient, torch.ones_like(gradient[:, :1].flatten(1)[:, :1], dtype=torch.bool)
        found: list[Any] = []
        handles = [layer.register_forward_hook(_first_embedding(found, self.inputs[0])) for layer in _embeddings(self.model)]
        try:
            logits = self.model(*self.inputs)
        finally:
            for handle in handles:
                handle.remove()
        if not found:
            raise InputError("The model reads token ids through no `nn.Embedding`, so there is no input to take a gradient by.")
        (gradient,) = torch.autograd.grad(self._chosen(logits, output), found[0])
        if gradient.ndim == 2:
            return gradient, torch.ones(len(gradient), 1, dtype=torch.bool, device=gradient.device)
        masked = len(self.inputs) > 1 and self.inputs[1].shape == self.inputs[0].shape
        return gradient, self.inputs[1].bool() if masked else torch.ones_like(self.inputs[0], dtype=torch.bool)

    def _chosen(self, logits: Tensor, output: str) -> Tensor:
        values = logits.float().softmax(dim=1) if output == "prob" else logits
        return values.gather(1, self.labels[:, None]).sum()

    @cached_property
    def _last_layer(self) -> tuple[Tensor, Tensor | None]:
        calls: list[tuple[Tensor, Tensor]] = []
        layers = [layer for layer in self.model.modules() if isinstance(layer, nn.Linear)]
        handles = [layer.register_forward_hook(lambda _, inputs, output: calls.append((inputs[0], output))) for layer in layers]
        try:
            with torch.inference_mode():
                logits = self.model(*self.inputs)
        finally:
            for handle in handles:
                handle.remove()
        ends = bool(calls) and calls[-1][0].ndim == 2 and calls[-1][1].shape == logits.shape and torch.equal(calls[-1][1], logits)
        return logits.float(), calls[-1][0].float() if ends else None


def sweep_rows(
    scorers: Sequence[Sweeps],
    model: nn.Module,
    weights: Mapping[int, Weights],
    rates: Mapping[int, float],
    inputs: Inputs,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    device: torch.device,
    task: Task,
) -> list[dict[str, NDArray[np.float32]]]:
    """The columns of every scorer for these rows (n,), with their labels (n,); not finite becomes NaN.

    `weights` are state dicts by epoch; `rates` learning rates. Memory: the weights, and a batch's activations and memories.
    """
    ghost = GhostNorms(model)
    model.eval()
    parts: list[list[dict[str, Tensor]]] = [[] for _ in scorers]
    y = torch.from_numpy(labels.copy())
    for start in range(0, len(rows), BATCH):
        batch = torch.from_numpy(rows[start : start + BATCH].copy()).to(device)
        given = y[start : start + BATCH].to(device)
        memories: list[Any] = [None] * len(scorers)
        for epoch in sorted(weights):
            model.load_state_dict(weights[epoch])
            view = View(epoch, rates[epoch], model, ghost, inputs, batch, given)
            for i, scorer in enumerate(scorers):
                if epoch in (scorer.epochs or ()):
                    memories[i] = scorer.visit(view, memories[i])
        for part, scorer, memory in zip(parts, scorers, memories, strict=True):
            part.append({name: value.detach().float().cpu() for name, value in scorer.leave(memory).items()})
        task.advance(len(batch))
    return [{name: _finite(torch.cat([p[name] for p in part])) for name in part[0]} if part else {} for part in parts]


def _finite(values: Tensor) -> NDArray[np.float32]:
    """A row of which anything is not finite is NaN as a whole."""
    broken = ~values.isfinite().reshape(len(values), -1).all(dim=1)
    values[broken] = torch.nan
    found: NDArray[np.float32] = values.numpy()
    return found


def _embeddings(model: nn.Module) -> list[nn.Module]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Embedding | nn.EmbeddingBag)]


def _first_embedding(found: list[Any], ids: Tensor) -> Any:
    """A hook that notes the place in the graph of the first embedding of the ids themselves (not of positions or kinds)."""

    def after(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if found or inputs[0].shape != ids.shape or not torch.equal(inputs[0], ids):
            return None
        if not output.requires_grad:  # a frozen embedding
            output = output.detach().requires_grad_()
        found.append(get_gradient_edge(output))
        return output

    return after
