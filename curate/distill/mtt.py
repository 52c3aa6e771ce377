"""MTT: images on which a student's few steps lead where the experts' epochs led.

Cazenavette et al. 2022, "Dataset Distillation by Matching Training Trajectories"; official code GeorgeCazenavette/mtt-distillation.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from curate.distill.experts import Experts, Recipe
from curate.distill.matching import Plan
from curate.distill.networks import Network
from curate.distill.trajectories import AbstractTrajectories, hard, random_real
from curate.protocols import RealImages
from curate.rng import KeyedRandom


@dataclass(frozen=True, kw_only=True)
class MTT(AbstractTrajectories):
    """Trajectory matching with hard labels, from random real images.

    The official loop but for three things: its gradient may be computed by the adjoint, which is the same and takes the memory of one step;
    batches that span two orders of the rows are filled up, where the official code has a short one; and `segments` above 1 average several
    segments an iteration. Costs `experts` x `epochs` passes over the data and about 3 x `iterations` x `segments` x `steps` batches.
    """

    name: ClassVar[str] = "mtt"

    def recipe(self) -> Recipe:
        return self._common_recipe()

    def plan(self) -> Plan:
        return self._common_plan()

    def begin(self, data: RealImages, ipc: int, network: Network, experts: Experts, rng: KeyedRandom) -> tuple[Tensor, Tensor, Tensor]:
        return hard(data, random_real(data, ipc, rng))
