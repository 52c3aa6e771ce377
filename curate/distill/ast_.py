"""AST: trajectory matching with smoother experts, and students that follow them more steadily.

Shen et al. 2023, "Efficient Dataset Distillation via Alignment with Smooth and High-Quality Expert Trajectories"; official code
shenjiyuan123/AST-Alignment-with-Smooth-Expert.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor

from curate.distill.datm import logits_of
from curate.distill.experts import Experts, Recipe
from curate.distill.matching import Plan
from curate.distill.networks import Network
from curate.distill.trajectories import AbstractTrajectories, hard, random_real
from curate.errors import OptionError
from curate.protocols import RealImages
from curate.rng import KeyedRandom

CLIPPED_EPOCHS: Final = 10
CLIPPED_SHARE: Final = 5
DECAY: Final = 0.6
ROUNDS: Final = 30


@dataclass(frozen=True, kw_only=True)
class AST(AbstractTrajectories):
    """MTT with smooth experts and students with momentum .9; each of its parts switches off alone.

    `clip`: the experts' loss rises from half to full strength over the first fifth of their epochs, ten at most; so the official fifty.
    `penalty` is the weight of a pull of the experts' input gradients to length 1 (0 for none; it makes them cost three times as much).
    `representative`: starts from the real image nearest each of `ipc` k-means centres of a class's logits; so the paper, where the official
    code always takes ten clusters and none for fewer than ten images a class. `balanced`: students that start late train with a larger
    loss. `waypoints`: the epochs between start and end are matched as well. `perturb`: at the start every convolution's W becomes W +
    perturb (d / |d|) W, d normal. `ema` hands over an average of the images.
    Labels are hard. Experts use momentum .9 and weight decay .001, as the official code does.

    What smooths is the clipped loss: on digits experts move a third to two fifths less an epoch while it lasts, and lose under half a point
    (benchmarks/ast_digits.py). The penalty is the official code's to the letter (weight 2, the sum of logits, the length over channels at
    each place, less 1, squared): it pulls input gradients up from .1 to 1, for which weights must grow, and experts then move more and not
    less. Sets of ten digits a class are better for both all the same (by .7 and .4 points, +- .2): both are on, as the authors have it.
    """

    clip: bool = True
    penalty: float = 2.0
    representative: bool = True
    balanced: bool = True
    waypoints: bool = True
    perturb: float = 1.0
    momentum: float = 0.9
    ema: float = 0.0

    name: ClassVar[str] = "ast"

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("perturb", "penalty"):
            if getattr(self, option) < 0:
                raise OptionError(f"ast: {option} must be 0 or more, got {getattr(self, option)}.")
        for option in ("momentum", "ema"):
            if not 0 <= getattr(self, option) < 1:
                raise OptionError(f"ast: {option} must be 0 or more and below 1, got {getattr(self, option)}.")

    def recipe(self) -> Recipe:
        assert self.epochs is not None, "settle comes before"
        clipped = min(CLIPPED_EPOCHS, math.ceil(self.epochs / CLIPPED_SHARE)) if self.clip else 0
        return self._common_recipe(momentum=0.9, weight_decay=1e-3, decay=DECAY, clip_epochs=clipped, penalty=self.penalty)

    def plan(self) -> Plan:
        return self._common_plan(
            momentum=self.momentum, balanced=self.balanced, waypoints=self.waypoints, perturbed=self.perturb, ema=self.ema
        )

    def begin(self, data: RealImages, ipc: int, network: Network, experts: Experts, rng: KeyedRandom) -> tuple[Tensor, Tensor, Tensor]:
        if not self.representative:
            return hard(data, random_real(data, ipc, rng))
        logits = logits_of(network, experts.read([0], [experts.epochs])[0], data.images).double()
        picks = []
        for c in range(data.classes):
            rows = (data.labels == c).nonzero().flatten()
            picks.append(rows[nearest_to_centres(logits[rows], ipc, rng.child("centres", c))])
        return hard(data, torch.cat(picks))


def nearest_to_centres(points: Tensor, k: int, rng: KeyedRandom) -> Tensor:
    """The point nearest each of k k-means centres that no earlier centre took, (k,); `points` is (n, d), n at least k."""
    draw = torch.Generator().manual_seed(rng.torch_seed())
    centres = _seeds(points, k, draw)
    for _ in range(ROUNDS):
        nearest = torch.cdist(points, centres).argmin(1)  # (n,)
        members = torch.nn.functional.one_hot(nearest, k).to(points.dtype)  # (n, k)
        count = members.sum(0)[:, None]
        moved = torch.where(count > 0, members.T @ points / count.clamp_min(1), centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    distance = torch.cdist(points, centres)
    taken: list[int] = []
    for centre in range(k):
        taken.append(int(distance[:, centre].argmin()))
        distance[taken[-1]] = torch.inf
    return torch.tensor(taken, device=points.device)


def _seeds(points: Tensor, k: int, draw: torch.Generator) -> Tensor:
    """k-means++: each further seed is drawn in proportion to its squared distance to the nearest one so far."""
    chosen = [int(torch.randint(len(points), (), generator=draw))]
    far = (points - points[chosen[0]]).square().sum(1)
    while len(chosen) < k:
        weights = far.cpu() if bool(far.any()) else torch.ones(len(points), dtype=far.dtype)  # all points are seeds: any will do
        chosen.append(int(torch.multinomial(weights, 1, generator=draw)))
        far = torch.minimum(far, (points - points[chosen[-1]]).square().sum(1))
    return points[chosen]
