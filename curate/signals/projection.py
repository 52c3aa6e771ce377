"""Projections: every row's gradient brought to a few numbers whose inner products are, on average, those of the gradients.

Signs come from a counter, keyed by (seed, checkpoint, the parameter's place), so they depend neither on how the work is cut nor on the
order; train and target rows meet the same ones. Johnson-Lindenstrauss: the squared length is off by about √(2 / width) of itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from curate.protocols import Projected
from curate.rng import KeyedRandom
from curate.signals.ghost import Bag, Dense, Outer, Scatter, Term

DENSE_CELLS: Final = 1e8  # parameters x width up to which `auto` takes dense signs, as TRAK's authors do
HITS: Final = 4  # outputs that a parameter goes to in a sparse projection
CELLS: Final = 1 << 22  # numbers of a piece of work held at once
WORDS: Final = 1 << 20  # more than 64-bit words of signs a parameter ever needs

Block = tuple[NDArray[np.int64], Tensor]


class Projection:
    """Brings rows' gradients, given as ghost terms, to (b, width) float32 with E⟨s, s'⟩ = ⟨g, g'⟩.

    `rademacher`: dense signs over √width, 2 x parameters x width operations a row, as the official TRAK. `sjlt`: every parameter goes to
    four places with signs, 4 x parameters additions a row, as exact as dense signs. `kronecker`: a linear or convolution layer's two
    factors are projected each by itself and its gradient is never formed; the cheapest for wide layers and the least exact (√(2 / √width)
    where a row has one position); what is no such layer goes by `sjlt`. `auto` is `rademacher` while parameters x width stay
    below 1e8, else `sjlt`. Gradients are formed in pieces, at most 4 M numbers at once.
    """

    def __init__(self, model: nn.Module, width: int, kind: Projected, rng: KeyedRandom) -> None:
        shapes = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
        sizes = [shape.numel() for shape in shapes.values()]
        starts = np.cumsum([0, *sizes]).tolist()
        self.width, self.parameters = width, starts[-1]
        self.kind = kind if kind != "auto" else "rademacher" if self.parameters * width <= DENSE_CELLS else "sjlt"
        self._start = dict(zip(shapes, starts, strict=False))
        self._rng = rng

    def __call__(self, terms: Mapping[str, Sequence[Term]], explicit: Mapping[str, Tensor], b: int, device: torch.device) -> Tensor:
        """The sketches (b, width) of what `GhostNorms.gradients` gave."""
        total = torch.zeros(b, self.width, device=device)
        for name, found in terms.items():
            for term in found:
                if self.kind == "kronecker" and isinstance(term, Outer):
                    total += self._kronecker(name, term, b)
                else:
                    self._add(total, _blocks(term, self._start[name], b))
        for name, gradient in explicit.items():
            self._add(total, _dense_blocks(gradient, self._start[name]))
        return total

    def _add(self, total: Tensor, blocks: Iterator[Block]) -> None:
        for places, values in blocks:
            if self.kind == "rademacher":
                total += values @ signs(self._rng, places, self.width).to(values.device) / self.width**0.5
            else:
                self._add_sparse(total, places, values)

    def _add_sparse(self, total: Tensor, places: NDArray[np.int64], values: Tensor) -> None:
        turned = values.T.contiguous()  # (c, b): whole rows are added, which is what memory likes
        out = torch.zeros(self.width, len(values), device=values.device)
        for hit in range(HITS):
            bits = self._rng.child("hit", hit).bits(places)
            at = torch.from_numpy((bits >> np.uint64(1)) % np.uint64(self.width)).long().to(values.device)
            sign = torch.from_numpy(((bits & np.uint64(1)).astype(np.float32) * 2 - 1) / HITS**0.5).to(values.device)
            out.index_add_(0, at, turned * sign[:, None])
        total += out.T

    def _kronecker(self, name: str, term: Outer, b: int) -> Tensor:
        """Σ (Bᵀ g) ⊗ (Aᵀ a): the gradient between two small sign matrices, a pair for each group of a grouped convolution."""
        groups = len(term.a) // b
        inner = 1 << (self.width.bit_length() // 2)
        while self.width % inner:
            inner //= 2
        sides = []
        for side, x, width in (("in", term.a, inner), ("out", term.g, self.width // inner)):
            d = x.shape[2]
            sign = signs(self._rng.child(name, side), np.arange(groups * d), width).to(x.device) / width**0.5
            sides.append(torch.einsum("bgtd,gdw->bgtw", x.reshape(b, groups, -1, d), sign.view(groups, d, width)))
        return torch.einsum("bgto,bgti->boi", sides[1], sides[0]).reshape(b, self.width)


def signs(rng: KeyedRandom, places: NDArray[np.int64], width: int) -> Tensor:
    """±1 by a parameter's place and output, (c, width) float32.

    >>> rng = KeyedRandom(0, "projection")
    >>> torch.equal(signs(rng, np.arange(7), 100)[3:], signs(rng, np.arange(3, 7), 100))
    True
    """
    words = -(-width // 64)
    bits = rng.bits(places[:, None] * WORDS + np.arange(words)).astype("<u8")  # (c, words)
    flat = np.unpackbits(bits.view(np.uint8).reshape(len(places), -1), axis=1, count=width, bitorder="little")
    return torch.from_numpy(flat).float() * 2 - 1


def _blocks(term: Term, start: int, b: int) -> Iterator[Block]:
    """A term's gradient in pieces: the parameters' places (c,) and the rows' values (b, c)."""
    if isinstance(term, Dense):
        yield from _dense_blocks(term.value, start)
    elif isinstance(term, Outer):
        yield from _outer_blocks(term, start, b)
    else:
        yield from _scatter_blocks(term.scatter if isinstance(term, Bag) else term, start)


def _dense_blocks(gradient: Tensor, start: int) -> Iterator[Block]:
    step = _step(len(gradient))
    for first in range(0, gradient.shape[1], step):
        values = gradient[:, first : first + step].float()
        yield np.arange(start + first, start + first + values.shape[1]), values


def _outer_blocks(term: Outer, start: int, b: int) -> Iterator[Block]:
    groups, d_in, d_out = len(term.a) // b, term.a.shape[2], term.g.shape[2]
    step = d_out if groups > 1 else max(1, _step(b) // d_in)
    for first in range(0, d_out, step):
        values = torch.bmm(term.g[:, :, first : first + step].transpose(1, 2), term.a).reshape(b, -1).float()
        yield np.arange(start + first * d_in, start + first * d_in + values.shape[1]), values


def _scatter_blocks(term: Scatter, start: int) -> Iterator[Block]:
    """Only ids that occur in the batch have a gradient."""
    b, _, d = term.g.shape
    ids, place = torch.unique(term.ids, return_inverse=True)  # (u,), (b, T)
    step = max(1, _step(b) // d)
    each = torch.arange(b, device=place.device)[:, None]
    for first in range(0, len(ids), step):
        u = min(step, len(ids) - first)
        inside = (place >= first) & (place < first + u)
        values = torch.zeros(b, u + 1, d, device=place.device)  # the last one takes what belongs to other pieces
        values.index_put_((each, torch.where(inside, place - first, u)), term.g.float(), accumulate=True)
        places = ids[first : first + u].cpu().numpy()[:, None] * d + np.arange(d)
        yield start + places.ravel(), values[:, :u].reshape(b, -1)


def _step(b: int) -> int:
    return max(1, CELLS // max(1, b))
