"""A sweep: the run's model at one checkpoint after another, for one batch of rows after another, shared by every scorer that asks.

Rows are the outer loop and checkpoints the inner, so memory does not grow with the dataset, and what has to be folded over checkpoints
(a variance of gradients) lives only as long as its batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from curate.errors import InputError
from curate.progress import Task
from curate.protocols import Projected, Sweeps
from curate.rng import KeyedRandom
from curate.signals.ghost import GhostNorms, Recorded, cross_entropy, log_odds
from curate.signals.inputs import Inputs
from curate.signals.projection import Projection

BATCH: Final = 128

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Pass:
    """A recorded forward pass, and what else was seen on the way."""

    recorded: Recorded
    given: Any  # what a gradient by the input is taken by: the input itself, or the embedding's place in the graph; None if neither
    linear: Sequence[tuple[Tensor, Tensor]]  # in and out of every linear layer


class View:
    """What a scorer sees of one batch at one checkpoint. What several scorers ask for is computed once.

    `inputs` are the model's arguments, `labels` (b,) int64; the model is in eval mode. `rate` is the learning rate of that epoch. Where
    the view is `shared`, one forward pass serves norms, sketches, gradients by the input, logits and features.
    """

    def __init__(
        self,
        epoch: int,
        rate: float,
        model: nn.Module,
        ghost: GhostNorms,
        inputs: Inputs,
        rows: Tensor,
        labels: Tensor,
        *,
        shared: bool,
    ) -> None:
        self.epoch, self.rate, self.model, self.labels = epoch, rate, model, labels
        self.inputs = inputs.batch(rows)
        self._ghost, self._source, self._rows, self._shared = ghost, inputs, rows, shared
        self._sketches: dict[object, Tensor] = {}

    @cached_property
    def squared_norms(self) -> Tensor:
        """‖∇ loss‖² over all trainable parameters, (b,)."""
        return self._ghost.norms(self._pass.recorded, self.inputs, self.labels, self._one)

    def sketch(self, output: Literal["loss", "log_odds"], width: int, kind: Projected, seed: int) -> Tensor:
        """Each row's gradient of its loss, or of its label's log-odds, over all trainable parameters, projected, (b, width) float32.

        Keyed by seed and epoch: rows and targets that meet the same checkpoint meet the same projection.
        """
        key = (output, width, kind, seed)
        if key not in self._sketches:
            outputs = {"loss": cross_entropy, "log_odds": log_odds}
            terms, explicit = self._ghost.gradients(self._pass.recorded, self.inputs, self.labels, self._one, outputs[output])
            project = Projection(self.model, width, kind, KeyedRandom(seed, "projection", self.epoch))
            with torch.no_grad():
                self._sketches[key] = project(terms, explicit, len(self.labels), self.labels.device)
        return self._sketches[key]

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
        seen = self._pass
        if seen.given is None:
            raise InputError("The model reads token ids through no `nn.Embedding`, so there is no input to take a gradient by.")
        with torch.enable_grad():
            chosen = self._chosen(seen.recorded.logits, output)
        (gradient,) = torch.autograd.grad(chosen, seen.given, retain_graph=True)
        if self.inputs[0].is_floating_point():
            return gradient, torch.ones_like(gradient[:, :1].flatten(1)[:, :1], dtype=torch.bool)
        if gradient.ndim == 2:
            return gradient, torch.ones(len(gradient), 1, dtype=torch.bool, device=gradient.device)
        masked = len(self.inputs) > 1 and self.inputs[1].shape == self.inputs[0].shape
        return gradient, self.inputs[1].bool() if masked else torch.ones_like(self.inputs[0], dtype=torch.bool)

    def _chosen(self, logits: Tensor, output: str) -> Tensor:
        values = logits.float().softmax(dim=1) if output == "prob" else logits
        return values.gather(1, self.labels[:, None]).sum()

    def _one(self, i: int) -> tuple[Tensor, ...]:
        return self._source.batch(self._rows[i : i + 1])

    @cached_property
    def _pass(self) -> Pass:
        """The one forward pass with a graph. Floats are given as a copy that may be written to, so that the leaf behind it stays."""
        found: list[Any] = []
        arguments = self.inputs
        hooks = [(layer, _first_embedding(found, self.inputs[0])) for layer in _embeddings(self.model)]
        if self.inputs[0].is_floating_point():
            found.append(self.inputs[0].detach().requires_grad_())
            arguments, hooks = (found[0].clone(), *self.inputs[1:]), []
        linear: list[tuple[Tensor, Tensor]] = []
        with torch.enable_grad(), _hooked([*hooks, *_of_linear(self.model, linear)]):
            recorded = self._ghost.record(arguments, len(self.labels))
        return Pass(recorded, found[0] if found else None, linear)

    @cached_property
    def _last_layer(self) -> tuple[Tensor, Tensor | None]:
        if self._shared:
            logits, calls = self._pass.recorded.logits.detach(), self._pass.linear
        else:
            calls = []
            with torch.inference_mode(), _hooked(_of_linear(self.model, calls)):
                logits = self.model(*self.inputs)
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
            visiting = [i for i, scorer in enumerate(scorers) if epoch in (scorer.epochs or ())]
            view = View(epoch, rates[epoch], model, ghost, inputs, batch, given, shared=len(visiting) > 1)
            for i in visiting:
                memories[i] = scorers[i].visit(view, memories[i])
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


@contextmanager
def _hooked(hooks: Sequence[tuple[nn.Module, Any]]) -> Iterator[None]:
    handles = [layer.register_forward_hook(hook) for layer, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _of_linear(model: nn.Module, calls: list[tuple[Tensor, Tensor]]) -> list[tuple[nn.Module, Any]]:
    """Hooks that note what goes into and comes out of every linear layer."""

    def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((inputs[0].detach(), output.detach()))

    return [(layer, after) for layer in model.modules() if isinstance(layer, nn.Linear)]


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
