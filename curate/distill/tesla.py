"""TESLA: trajectory matching with a gradient that forgets the curvature along the student's way.

Cui et al. 2023, "Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory"; official code justincui03/tesla.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from curate.distill.experts import Experts, Recipe
from curate.distill.matching import EngineName, Plan
from curate.distill.networks import Network
from curate.distill.trajectories import AbstractTrajectories, hard, random_real
from curate.protocols import RealImages
from curate.rng import KeyedRandom


@dataclass(frozen=True, kw_only=True)
class TESLA(AbstractTrajectories):
    """MTT by TESLA's formula, which takes one step's memory but is not MTT's gradient; kept to compare with.

    The paper says that the gradient is exact; paper and code hold each step's weights constant, and so lose how a step changes the ones
    after it. On ConvNets its cosine with the exact one is .83 to .97 and it makes the student's rate fall too fast; `engine=adjoint` mends
    both at about a tenth more arithmetic. With `soft_labels` (the official code's ImageNet setting) the images are labelled anew in every
    iteration by the expert at the segment's end, and handed over with the mean of the last 100 iterations' labels.
    """

    engine: EngineName = "truncated"
    soft_labels: bool = False

    name: ClassVar[str] = "tesla"

    def recipe(self) -> Recipe:
        return self._common_recipe()

    def plan(self) -> Plan:
        return self._common_plan(assigned=self.soft_labels)

    def begin(self, data: RealImages, ipc: int, network: Network, experts: Experts, rng: KeyedRandom) -> tuple[Tensor, Tensor, Tensor]:
        return hard(data, random_real(data, ipc, rng))
