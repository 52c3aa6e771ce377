"""Ghost norms: every row's squared gradient norm over all parameters from one backward pass, without a gradient a row.

A layer's gradient for one row is a short sum of outer products of what went into the layer and what came back to its output, so the
norm follows from those two (Goodfellow 2015, "Efficient Per-Example Gradient Computations"; Li et al. 2022, "Large Language Models Can
Be Strong Differentially Private Learners", for sequences). Exact, not an estimate.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from curate.errors import InputError

log = logging.getLogger(__name__)

CHECKED_ROWS: Final = 2
TOLERANCE: Final = 1e-2  # of a squared norm; a rule that does not hold is off by far more, rounding by far less
NEGLIGIBLE: Final = 1e-8  # a parameter's share of a row's squared norm below which it is all rounding
VMAP_CHUNK: Final = 16  # rows whose explicit gradients are held at once, of parameters without a rule

BATCH_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class Outer:
    """A weight's gradient is the sum over t of g[t] a[t]ᵀ; (b, T, in) and (b, T, out). Of a grouped convolution, b is rows x groups."""

    a: Tensor
    g: Tensor


@dataclass(frozen=True)
class Scatter:
    """g[t] is added to the weight's row ids[t]; (b, T) and (b, T, d)."""

    ids: Tensor
    g: Tensor


@dataclass(frozen=True)
class Bag:
    """share[t] g is added to the weight's row ids[t]; (b, T), (b, T) and (b, d)."""

    ids: Tensor
    share: Tensor
    g: Tensor

    @property
    def scatter(self) -> Scatter:
        return Scatter(self.ids, self.share[:, :, None] * self.g[:, None, :])


@dataclass(frozen=True)
class Dense:
    """The gradient itself, (b, size): biases and norms, which are small."""

    value: Tensor


Term = Outer | Scatter | Bag | Dense
Rule = Callable[[Any, Sequence[Tensor], Tensor], dict[str, Term]]
Output = Callable[[Tensor, Tensor], Tensor]  # logits (b, classes) and labels (b,) to a number a row, (b,)


@dataclass(frozen=True)
class Call:
    """One use of a layer: what went in, and where in the graph its output is (an edge, for the output may be overwritten in place)."""

    layer: nn.Module
    inputs: tuple[Tensor, ...]
    edge: Any


@dataclass(frozen=True)
class Recorded:
    """A forward pass that can be gone back through more than once: the logits (b, classes) with their graph, and the layers' uses."""

    logits: Tensor
    calls: Sequence[Call]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """In nats, (b,)."""
    return nn.functional.cross_entropy(_wide(logits), labels, reduction="none")


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """log p / (1 - p) of the label's probability, (b,): its logit less the log-sum-exp of the others, TRAK's output function."""
    z, y = _wide(logits), labels[:, None]
    return z.gather(1, y)[:, 0] - z.scatter(1, y, -torch.inf).logsumexp(dim=1)


class GhostNorms:
    """Squared norms of the gradient of each row's cross-entropy over all trainable parameters, in eval mode.

    Layers: Linear, Conv1d, Conv2d, Embedding, EmbeddingBag, LayerNorm, GroupNorm, RMSNorm, BatchNorm; layers used twice and weights tied
    between layers included. Each rule is held against plain autograd on the first rows; parameters without one, or for which it does
    not hold (used past their layer, as in `nn.MultiheadAttention`), get explicit gradients by `vmap(grad)`, and the log says which.

    Costs a forward and a backward pass to the activations, 2/3 of a training step, and for each layer the cheaper of T² (in + out) and T in
    out operations a row, T being positions. Memory: the activations and their gradients, and for a convolution its unfolded input.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.explicit: set[str] | None = None  # parameters without a rule that holds; known after the first batch
        self._layers = [
            layer for layer in model.modules() if _rule(layer) and any(p.requires_grad for p in layer.parameters(recurse=False))
        ]

    def __call__(self, inputs: tuple[Tensor, ...], labels: Tensor, one: Callable[[int], tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
        """The logits (b, classes), and the squared norms (b,); `one(i)` are the model's arguments for the batch's row i alone."""
        recorded = self.record(inputs, len(labels))
        return recorded.logits.detach(), self.norms(recorded, inputs, labels, one)

    def record(self, inputs: tuple[Tensor, ...], b: int) -> Recorded:
        """One forward pass over a batch of `b` rows, that norms and other gradients may share."""
        require_eval(self.model)
        calls: list[Call] = []
        with _watched(self._layers, calls, b), torch.enable_grad():
            return Recorded(self.model(*inputs), calls)

    def norms(self, recorded: Recorded, inputs: tuple[Tensor, ...], labels: Tensor, one: Callable[[int], tuple[Tensor, ...]]) -> Tensor:
        """The squared norms, (b,), of a batch that was recorded."""
        terms, explicit = self.gradients(recorded, inputs, labels, one, cross_entropy)
        found = [squared_norm(term, len(labels)) for term in terms.values()]
        found += [g.square().sum(dim=1) for g in explicit.values()]
        return torch.stack(found).sum(dim=0) if found else torch.zeros_like(recorded.logits[:, 0])

    def gradients(
        self,
        recorded: Recorded,
        inputs: tuple[Tensor, ...],
        labels: Tensor,
        one: Callable[[int], tuple[Tensor, ...]],
        output: Output,
    ) -> tuple[dict[str, list[Term]], dict[str, Tensor]]:
        """Each row's gradient of `output` by parameter: as terms, and (b, size) where there is no rule that holds."""
        if self.explicit is None:
            self.explicit = self._find_explicit(labels, one)
        terms = {name: found for name, found in self._terms(recorded, labels, output).items() if name not in self.explicit}
        return terms, explicit_gradients(self.model, inputs, labels, self.explicit, output) if self.explicit else {}

    def _terms(self, recorded: Recorded, labels: Tensor, output: Output) -> dict[str, list[Term]]:
        with torch.enable_grad():
            total = output(recorded.logits, labels).sum()
        calls = recorded.calls
        edges = [call.edge for call in calls]
        gradients = torch.autograd.grad(total, edges, allow_unused=True, retain_graph=True) if calls else ()
        terms: dict[str, list[Term]] = {}
        names = {id(p): name for name, p in self.model.named_parameters()}
        with torch.no_grad():
            for call, gradient in zip(calls, gradients, strict=True):
                if gradient is None:
                    continue
                rule = _rule(call.layer)
                assert rule is not None, "only layers with a rule are watched"
                for name, term in rule(call.layer, call.inputs, gradient).items():
                    parameter = getattr(call.layer, name, None)
                    if parameter is not None and parameter.requires_grad:
                        terms.setdefault(names[id(parameter)], []).append(term)
        return terms

    def _find_explicit(self, labels: Tensor, one: Callable[[int], tuple[Tensor, ...]]) -> set[str]:
        """The parameters whose rule disagrees with plain autograd on the first rows, or that have none."""
        parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        wrong: set[str] = set()
        for i in range(min(CHECKED_ROWS, len(labels))):
            terms = self._terms(self.record(one(i), 1), labels[i : i + 1], cross_entropy)
            norms = {name: squared_norm(found, 1) for name, found in terms.items()}
            with torch.enable_grad():
                loss = nn.functional.cross_entropy(self.model(*one(i)), labels[i : i + 1])
                plain = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            true = {name: 0.0 if g is None else float(g.square().sum()) for name, g in zip(parameters, plain, strict=True)}
            floor = NEGLIGIBLE * sum(true.values())
            wrong |= {name for name, value in true.items() if abs(float(norms.get(name, 0.0)) - value) > TOLERANCE * value + floor}
        if wrong:
            _announce(tuple(sorted(wrong)))
        return wrong


@cache
def _announce(names: tuple[str, ...]) -> None:
    """Once a process, however many shards it visits."""
    log.warning("Explicit gradients, which are slower, for parameters without a ghost norm: %s", ", ".join(names))


def explicit_norms(model: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor, names: set[str]) -> Tensor:
    """The same squared norms, (b,), over the named parameters alone, with each row's gradient formed. InputError where torch cannot."""
    found = explicit_gradients(model, inputs, labels, names, cross_entropy)
    return torch.stack([g.square().sum(dim=1) for g in found.values()]).sum(dim=0)


def explicit_gradients(model: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor, names: set[str], output: Output) -> dict[str, Tensor]:
    """Each row's gradient of `output` by the named parameters, (b, size) each. InputError where torch cannot."""
    chosen = {name: p.detach() for name, p in model.named_parameters() if name in names}

    def value(parameters: dict[str, Tensor], row: tuple[Tensor, ...], label: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, parameters, tuple(x[None] for x in row))
        return output(logits, label[None])[0]

    each = torch.func.vmap(torch.func.grad(value), in_dims=(None, 0, 0), chunk_size=VMAP_CHUNK)
    try:
        gradients = each(chosen, inputs, labels)
    except (RuntimeError, ValueError):  # layers that cannot be mapped over rows, such as recurrent ones
        return _one_by_one(model, inputs, labels, list(chosen), output)
    return {name: g.flatten(1) for name, g in gradients.items()}


def _one_by_one(model: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor, names: list[str], output: Output) -> dict[str, Tensor]:
    """The same by a backward pass a row, the slowest way and the last one."""
    parameters = dict(model.named_parameters())
    chosen, rows = [parameters[name] for name in names], []
    try:
        with torch.enable_grad():
            for i in range(len(labels)):
                total = output(model(*(x[i : i + 1] for x in inputs)), labels[i : i + 1]).sum()
                found = torch.autograd.grad(total, chosen, allow_unused=True)
                rows.append([torch.zeros_like(p) if g is None else g for g, p in zip(found, chosen, strict=True)])
    except RuntimeError as error:
        raise InputError(
            f"The gradient of {', '.join(sorted(names)[:3])} cannot be taken row by row ({str(error).splitlines()[0]}). "
            "A model of ordinary torch layers is expected; use `grand_last`, which needs the last layer alone, or another --model."
        ) from error
    return {name: torch.stack([g.flatten() for g in column]) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def require_eval(model: nn.Module) -> None:
    """InputError where the rows of a batch would speak to each other: then no row has a gradient of its own."""
    if any(isinstance(layer, BATCH_NORMS) and (layer.training or layer.running_mean is None) for layer in model.modules()):
        raise InputError(
            "The model has a batch norm in training mode, or one without running statistics, so a row's gradient depends on its batch. "
            "Call model.eval() first, and let batch norms track running statistics (track_running_stats=True)."
        )


def squared_norm(terms: Sequence[Term], b: int) -> Tensor:
    """Of the sum of a parameter's terms, (b,): each kind with itself, and tied weights' cross terms between embedding and linear layer."""
    if len(terms) == 1 and isinstance(terms[0], Bag):
        return bag_norm(terms[0])
    outer = _joined([term for term in terms if isinstance(term, Outer)])
    scatter = _joined_scatter([term.scatter if isinstance(term, Bag) else term for term in terms if isinstance(term, Scatter | Bag)])
    dense = [term.value for term in terms if isinstance(term, Dense)]
    found = [torch.stack(dense).sum(dim=0).square().sum(dim=1)] if dense else []
    if outer is not None:
        found.append(outer_norm(outer).view(b, -1).sum(dim=1))
    if scatter is not None:
        found.append(scatter_norm(scatter))
    if outer is not None and scatter is not None:
        there = outer.g.gather(2, scatter.ids[:, None, :].expand(-1, outer.g.shape[1], -1))  # (b, T of outer, T of scatter)
        found.append(2 * (torch.bmm(outer.a, scatter.g.transpose(1, 2)) * there).sum(dim=(1, 2)))
    return torch.stack(found).sum(dim=0)


def outer_norm(term: Outer) -> Tensor:
    """‖Σ g aᵀ‖², by the Gram matrices of the positions where these are smaller than the weight, else directly.

    >>> outer_norm(Outer(torch.tensor([[[1.0, 0], [1, 0]]]), torch.tensor([[[1.0], [1]]])))
    tensor([4.])
    """
    (_, t, d_in), d_out = term.a.shape, term.g.shape[2]
    if t == 1:
        return term.a.square().sum(dim=(1, 2)) * term.g.square().sum(dim=(1, 2))
    if t * (d_in + d_out) < d_in * d_out:
        return (torch.bmm(term.a, term.a.transpose(1, 2)) * torch.bmm(term.g, term.g.transpose(1, 2))).sum(dim=(1, 2))
    return torch.bmm(term.g.transpose(1, 2), term.a).square().sum(dim=(1, 2))


def scatter_norm(term: Scatter) -> Tensor:
    """Positions with the same id add up before they are squared.

    >>> scatter_norm(Scatter(torch.tensor([[5, 5, 7]]), torch.tensor([[[1.0, 0], [1, 0], [0, 2]]])))
    tensor([8.])
    """
    same = _same(term.ids).to(term.g.dtype)
    return (torch.bmm(term.g, term.g.transpose(1, 2)) * same).sum(dim=(1, 2))


def bag_norm(term: Bag) -> Tensor:
    """Every id's gradient is a multiple of g, so positions need not be spread over the width."""
    same = _same(term.ids).to(term.g.dtype)
    return torch.einsum("bs,bst,bt->b", term.share, same, term.share) * term.g.square().sum(dim=1)


def _same(ids: Tensor) -> Tensor:
    """Which positions have the same id, (b, T, T)."""
    return ids[:, :, None] == ids[:, None, :]


def _joined(terms: Sequence[Outer]) -> Outer | None:
    return Outer(torch.cat([t.a for t in terms], dim=1), torch.cat([t.g for t in terms], dim=1)) if terms else None


def _joined_scatter(terms: Sequence[Scatter]) -> Scatter | None:
    return Scatter(torch.cat([t.ids for t in terms], dim=1), torch.cat([t.g for t in terms], dim=1)) if terms else None


@contextmanager
def _watched(layers: Sequence[nn.Module], calls: list[Call], b: int) -> Iterator[None]:
    def after(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if output.shape[0] == 1 < b:  # one position embedding for all rows: spread, so that each row's gradient arrives apart
            output = output.expand(b, *output.shape[1:])
            inputs = tuple(x.expand(b, *x.shape[1:]) for x in inputs)
        calls.append(Call(layer, tuple(x.detach() for x in inputs), get_gradient_edge(output)))
        return output

    handles = [layer.register_forward_hook(after) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _rule(layer: nn.Module) -> Rule | None:
    return next((rule for kinds, rule in RULES if isinstance(layer, kinds)), None)


def _linear(layer: nn.Linear, inputs: Sequence[Tensor], g: Tensor) -> dict[str, Term]:
    a, g = (x.reshape(len(x), -1, x.shape[-1]) for x in (inputs[0], g))  # (b, T, in), (b, T, out)
    return {"weight": Outer(a, g), "bias": Dense(g.sum(dim=1))}


def _convolution(layer: Any, inputs: Sequence[Tensor], g: Tensor) -> dict[str, Term]:
    x, bias = inputs[0], Dense(g.flatten(2).sum(dim=2))
    kernel, stride, dilation, padding = layer.kernel_size, layer.stride, layer.dilation, _padding(layer)
    x = nn.functional.pad(x, padding, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    if x.ndim == 3:
        x, kernel, stride, dilation = x[:, :, None], (1, *kernel), (1, *stride), (1, *dilation)
    patches = nn.functional.unfold(x, kernel, dilation, 0, stride)  # (b, in x kernel, T)
    b, groups, t = len(x), layer.groups, patches.shape[2]
    a = patches.reshape(b * groups, -1, t).transpose(1, 2)
    return {"weight": Outer(a, g.reshape(b * groups, -1, t).transpose(1, 2)), "bias": bias}


def _padding(layer: Any) -> list[int]:
    """Both sides of each dimension, last first, as `pad` wants them."""
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return [side for t in reversed(total) for side in (t // 2, t - t // 2)]
    sides = (0,) * len(layer.kernel_size) if layer.padding == "valid" else layer.padding
    return [p for p in reversed(sides) for _ in range(2)]


def _embedding(layer: nn.Embedding, inputs: Sequence[Tensor], g: Tensor) -> dict[str, Term]:
    ids, g = inputs[0].reshape(len(g), -1), g.reshape(len(g), -1, g.shape[-1])
    if layer.padding_idx is not None:
        g = g * (ids != layer.padding_idx)[..., None]
    return {"weight": Scatter(ids, g)}


def _bag(layer: nn.EmbeddingBag, inputs: Sequence[Tensor], g: Tensor) -> dict[str, Term]:
    """A bag's ids, padded to the longest of the batch; those of no bag carry no gradient."""
    ids = inputs[0]
    if ids.ndim == 2:
        lengths = torch.full((len(g),), ids.shape[1], device=g.device)
    else:
        ends = torch.cat((inputs[1], torch.tensor([len(ids)], device=g.device)))
        lengths = ends[1 : len(g) + 1] - ends[: len(g)]
    there = torch.arange(int(lengths.max()) if len(g) else 0, device=g.device) < lengths[:, None]  # (b, longest)
    padded = torch.full(there.shape, -1, device=g.device)
    padded[there] = ids.reshape(-1)
    counted = there if layer.padding_idx is None else there & (padded != layer.padding_idx)
    share = counted.to(g.dtype) / (counted.sum(dim=1, keepdim=True).clamp_min(1) if layer.mode == "mean" else 1)
    return {"weight": Bag(padded.clamp_min(0), share, g)}


def _layer_norm(layer: nn.LayerNorm, inputs: Sequence[Tensor], g: Tensor) -> dict[str, Term]:
    return _normalised(nn.functional.layer_norm(inputs[0], layer.normalized_shape, eps=layer.eps), g, len(layer.normalized_shape))


def _rms_norm(layer: nn.RMSNorm, inputs: Sequence[Tensor], g: Tensor) -> dict[str, Term]:
    return _normalised(nn.functional.rms_norm(inputs[0], list(layer.normalized_shape), eps=layer.eps), g, len(layer.normalized_shape))


def _normalised(x: Tensor, g: Tensor, dimensions: int) -> dict[str, Term]:
    size = x.shape[-dimensions:].numel()
    return {name: Dense(v.reshape(len(g), -1, size).sum(dim=1)) for name, v in (("weight", g * x), ("bias", g))}


def _group_norm(layer: nn.GroupNorm, inputs: Sequence[Tensor], g: Tensor) -> dict[str, Term]:
    return _by_channel(nn.functional.group_norm(inputs[0], layer.num_groups, eps=layer.eps), g)


def _batch_norm(layer: Any, inputs: Sequence[Tensor], g: Tensor) -> dict[str, Term]:
    return _by_channel(nn.functional.batch_norm(inputs[0], layer.running_mean, layer.running_var, eps=layer.eps), g)


def _by_channel(x: Tensor, g: Tensor) -> dict[str, Term]:
    return {name: Dense(v.reshape(*v.shape[:2], -1).sum(dim=2)) for name, v in (("weight", g * x), ("bias", g))}


RULES: Final[Sequence[tuple[Any, Rule]]] = (
    (nn.Linear, _linear),
    (CONVOLUTIONS, _convolution),
    (nn.Embedding, _embedding),
    (nn.EmbeddingBag, _bag),
    (nn.LayerNorm, _layer_norm),
    (nn.RMSNorm, _rms_norm),
    (nn.GroupNorm, _group_norm),
    (BATCH_NORMS, _batch_norm),
)
