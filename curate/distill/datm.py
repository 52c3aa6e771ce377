"""DATM: trajectory matching at the difficulty that a set of this size can hold, with soft labels that are learned.

Guo et al. 2024, "Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching"; official code NUS-HPC-AI-Lab/DATM.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from curate.distill.experts import Experts, Recipe
from curate.distill.matching import Plan
from curate.distill.networks import Network
from curate.distill.trajectories import AbstractTrajectories
from curate.errors import OptionError
from curate.protocols import RealImages
from curate.rng import KeyedRandom

AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True)
class DATM(AbstractTrajectories):
    """Small sets match the experts' early epochs, large ones late epochs; the window's end grows while the set learns.

    Starts from real images that an expert classifies correctly; their labels start as the mean logits of the experts that do, and are
    learned at `label_rate`. An iteration whose segments all leave more than `limit` undone changes nothing. Experts are flat ones
    (GSAM, `rho`; 0 for plain SGD). Costs as MTT does; flat experts cost twice as much. Where no expert knows an image its label starts
    as the mean of all, plus 1 for its class (the official code divides by 0).
    """

    label_rate: float | None = None
    limit: float | None = None
    rho: float = 0.01

    name: ClassVar[str] = "datm"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_rate is not None and self.label_rate < 0:
            raise OptionError(f"datm: label_rate must be 0 or more, got {self.label_rate}.")
        if self.limit is not None and self.limit <= 0:
            raise OptionError(f"datm: limit must be above 0, got {self.limit}.")
        if self.rho < 0:
            raise OptionError(f"datm: rho must be 0 or more, got {self.rho}.")

    def recipe(self) -> Recipe:
        return self._common_recipe(rho=self.rho)

    def plan(self) -> Plan:
        assert self.label_rate is not None and self.limit is not None, "settle comes before"
        return self._common_plan(label_rate=self.label_rate, soft=True, limit=self.limit)

    def begin(self, data: RealImages, ipc: int, network: Network, experts: Experts, rng: KeyedRandom) -> tuple[Tensor, Tensor, Tensor]:
        rows = known_rows(data, ipc, network, experts, rng)
        return data.images[rows].clone(), data.labels[rows], mean_logits(data.images[rows], data.labels[rows], network, experts)


def known_rows(data: RealImages, ipc: int, network: Network, experts: Experts, rng: KeyedRandom) -> Tensor:
    """`ipc` rows of each class, class by class, that one expert, or else the next, classifies correctly; where too few, random ones."""
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(rng.torch_seed())).to(data.device)
    rank = torch.full((len(order),), experts.count, device=data.device)  # the first expert that knows a row, in the drawn order
    for number in range(experts.count):
        theta = experts.read([number], [experts.epochs])[0]
        known = logits_of(network, theta, data.images).argmax(1) == data.labels
        rank = torch.where(known & (rank == experts.count), number, rank)
        enough = torch.bincount(data.labels[rank < experts.count], minlength=data.classes)
        if bool((enough >= ipc).all()):
            break
    first = order[torch.argsort(rank[order], stable=True)]
    return torch.cat([first[data.labels[first] == c][:ipc] for c in range(data.classes)])


def mean_logits(images: Tensor, classes: Tensor, network: Network, experts: Experts) -> Tensor:
    """Logits averaged over the experts that classify each image correctly, (m, classes)."""
    finals = experts.final().unbind(0)
    logits = torch.stack([logits_of(network, theta, images) for theta in finals])  # (experts, m, classes)
    right = (logits.argmax(2) == classes)[:, :, None]
    count = right.sum(0)  # (m, 1)
    fallback = logits.mean(0) + torch.nn.functional.one_hot(classes, logits.shape[2])
    return torch.where(count > 0, (logits * right).sum(0) / count.clamp_min(1), fallback)


def logits_of(network: Network, theta: Tensor, images: Tensor) -> Tensor:
    """(n, classes), without a graph, some rows at a time."""
    with torch.no_grad():
        return torch.cat([network.apply(theta, part) for part in torch.split(images, AT_ONCE)])
