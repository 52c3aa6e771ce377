"""What comes before a sampler: candidates narrowed by a score, and whether it will fit into memory."""

from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from curate.budget import parse_budget
from curate.errors import DoesNotFitError, OptionError
from curate.plugins import parse
from curate.pool import ArrayPool
from curate.protocols import NeedsMemory, Pool, Rows, Sampler
from curate.rng import KeyedRandom
from curate.stages.room import physical_memory

LIGHTER: Final = ("density", "kmeans", "k_center:parts=16")  # as near as may be to what was asked for, in less memory


class Narrowed:
    """A sampler behind another: `first` takes a share of the candidates by their score, `then` chooses among those.

    With `first` the sampler "top" that is a filter by quality; with "gumbel", weights: better rows are likelier to be seen at all.
    """

    version: ClassVar[int] = 1

    def __init__(self, then: Sampler, first: Sampler, share: str) -> None:
        self.then, self.first, self.share = then, first, share
        self.requires: Sequence[str] = tuple(dict.fromkeys((*then.requires, *first.requires)))

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        assert isinstance(pool, ArrayPool), "the stage hands over a pool that can be cut"
        seen, _ = self.first.select(pool, max(k, self.candidates(len(pool))), rng.child("narrow"))
        seen = np.sort(seen)
        inside, weights = self.then.select(pool.subset(seen), k, rng)
        return seen[inside], weights

    def candidates(self, n: int) -> int:
        return parse_budget(self.share, n)

    def require_room(self, n: int, k: int) -> None:
        """OptionError where fewer candidates than the budget would be left."""
        if self.candidates(n) < k:
            raise OptionError(
                f"--narrow {self.share} leaves {self.candidates(n):,} of {n:,} candidates, but the budget is {k:,}. "
                f"Narrow to at least {float(Fraction(k, n)):.0%}, or ask for fewer rows."
            )


def narrowed(then: Sampler, share: str | float, first: str) -> Narrowed:
    """OptionError unless the share is one ("50%", 0.5) and `first` a sampler that reads a score."""
    text = str(share).strip()
    if not (text.endswith("%") or "." in text):
        raise OptionError(f'--narrow takes a share of the candidates, such as "50%"; got "{share}".')
    parse_budget(text, 10**9)
    found: Sampler = parse("samplers", first).build()
    if "score" not in found.requires:
        raise OptionError(f'--narrow-with "{first}" reads no score, so nothing would be narrowed by it. Use top, or gumbel for weights.')
    return Narrowed(then, found, text)


def memory_needed(sampler: Sampler, n: int, d: int, k: int) -> int | None:
    """Bytes that the sampler will take besides the vectors as they lie on disk, by its own formula; None where it has none."""
    if isinstance(sampler, Narrowed):
        return memory_needed(sampler.then, max(k, sampler.candidates(n)), d, k)
    return sampler.memory(n, d, k) if isinstance(sampler, NeedsMemory) else None


def require_memory(name: str, needed: int | None, n: int, d: int, k: int, there: int | None = None) -> None:
    """DoesNotFitError where a sampler needs more than this machine has at all; it names samplers for which there is enough."""
    there = physical_memory() if there is None else there
    if needed is not None and there is not None and needed > there:
        lighter = {spec: memory_needed(parse("samplers", spec).build(), n, d, k) for spec in LIGHTER if spec != name}
        fitting = [f"{spec} ({need / 1e9:,.1f} GB)" for spec, need in lighter.items() if need is not None and need <= there]
        raise DoesNotFitError(
            f'Sampler "{name}" would need about {needed / 1e9:,.1f} GB of memory here; this machine has {there / 1e9:,.1f} GB. '
            f"Narrow the candidates (--where, --within, --narrow), ask for fewer rows, or use {' or '.join(fitting) or 'random'}."
        )
