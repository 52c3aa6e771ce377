"""CV-DD: a committee of teachers votes on every image, the better ones with more weight.

"Dataset Distillation via Committee Voting" (CV-DD); official code Jiacheng8/CV-DD.
"""

import itertools
import json
from collections.abc import Sequence
from typing import ClassVar, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from curate.disk import write_json
from curate.distill.decoupled import AbstractLabelled, real_starts, recovered
from curate.distill.evaluation import TrainingSet, train
from curate.distill.recovery import Voter
from curate.distill.teachers import accuracy, batch_logits
from curate.errors import OptionError
from curate.protocols import RealImages, Training
from curate.rng import KeyedRandom

VOTE_TEMPERATURE: Final = 5.0  # of the priors, in points of accuracy, for the loss (official)
LABEL_TEMPERATURE: Final = 10.0  # and for the labels
PRIOR_ROWS: Final = 2_000
PRIOR_GROUPS: Final = 4  # at most: on one, the worst teacher of a committee may seem the best
PRIOR_NETWORKS: Final = 3
STUDENT: Final = Training(lr=0.05, steps=120, width=16)  # what the priors are measured with


class CVDD(AbstractLabelled):
    """A committee of unlike teachers: images and labels that suit no single architecture, for students of any.

    As SRe2L++ from real images of middling loss, with the loss sum_m w_m (cross entropy + r_bn x statistics)_m over two voters a group:
    w = softmax(prior / 5). Group k is voted on by the k-th pair of the committee in order, over again after the last; a single group by
    the two best. `prior` is what each teacher is worth in points of accuracy: "distilled", as published, is the accuracy on real rows of
    networks (three) trained on images recovered with that teacher alone (four groups at most); "accuracy" its own; "equal" gives all the
    same. Voters see a random part of the images of `crop` to all of their area each time, colour images mirrored every other time.

    Soft labels are the sum of all teachers' logits weighted by softmax(prior / 10), at `temperature`, with the teachers in *training* mode:
    batch-specific soft labels, normalised by the statistics of the synthetic images, eight at a time, and not of the real ones. The
    official student asks for them anew in every (mixed) batch, at temperature 20 on either side; a set that is exported has one label an
    image, made once, at 2 by default, which served best of 1, 2 and 4 for students that know of no temperature.

    The published committee (ResNet-18 and -50, DenseNet-121, ShuffleNet, MobileNet; 4,000 iterations at rate 0.25, crops of 0.08 and more)
    is for a GPU. Ours are small members of four families. Unless told, a CPU makes 60 iterations at rate 0.02, as more takes away more
    than it gives at this size, and images below 32 pixels are not cropped (benchmarks/results/distill_decoupled.txt). Cost: as SRe2L with
    two voters, and the priors: up to four groups and three small networks a teacher.

    Measured on 4,000 rows of Fashion-MNIST at 14 x 14 with three teachers, ten images a class: on two architectures that no teacher has,
    1.0 points (+- .5, five seeds) above the mean of its members alone, and .3 (+- .5) above whichever of them came out best each time.
    """

    name: ClassVar[str] = "cv_dd"

    def __init__(
        self,
        *,
        teachers: tuple[str, ...] = ("resnet", "mobilenet", "vgg", "convnet"),
        prior: Literal["distilled", "accuracy", "equal"] = "distilled",
        teacher_epochs: int | None = None,
        iterations: int | None = None,
        lr_img: float | None = None,
        r_bn: float = 0.01,
        jitter: int | None = None,
        crop: float | None = None,
        temperature: float = 2.0,
    ) -> None:
        super().__init__(teachers, teacher_epochs, iterations, lr_img, r_bn, jitter, crop, temperature)
        if len(teachers) < 2:
            raise OptionError(f"cv_dd: a committee has two teachers or more, got {len(teachers)}. `sre2l` works with one.")
        self.teachers = tuple(teachers)
        self.prior: Literal["distilled", "accuracy", "equal"] = prior
        self._priors: dict[str, float] = {}

    def _names(self) -> Sequence[str]:
        return self.teachers

    def _voters_a_group(self) -> int:
        return 2

    def _images(self, data: RealImages, ipc: int, teachers: dict[str, nn.Module], rng: KeyedRandom) -> Tensor:
        self._priors = self._measured(data, min(ipc, PRIOR_GROUPS), teachers, rng)
        votes = {pair: self._votes(pair, teachers) for pair in itertools.combinations(self.teachers, 2)}
        starts = real_starts(data, ipc, list(teachers.values()))
        voters = [votes[pair] for pair in self._pairs(ipc)]
        return recovered(self.name, data, starts, voters, self._recipe(data), rng.child("recover")).flatten(0, 1)

    def _pairs(self, groups: int) -> list[tuple[str, str]]:
        """Who votes on each group: all pairs in turn; the two best where there is one group only."""
        pairs = list(itertools.combinations(self.teachers, 2))
        if groups == 1:
            return [max(pairs, key=lambda pair: self._priors[pair[0]] + self._priors[pair[1]])]
        return [pairs[place % len(pairs)] for place in range(groups)]

    def _votes(self, names: Sequence[str], teachers: dict[str, nn.Module]) -> tuple[Voter, ...]:
        return tuple(Voter(teachers[name], weight) for name, weight in zip(names, self._weights(names, VOTE_TEMPERATURE), strict=True))

    def _weights(self, names: Sequence[str], temperature: float) -> list[float]:
        priors = torch.tensor([self._priors[name] for name in names], dtype=torch.float64)
        return [float(weight) for weight in torch.softmax(priors / temperature, 0)]

    def _soft_labels(self, images: Tensor, teachers: dict[str, nn.Module]) -> Tensor:
        weights = self._weights(self.teachers, LABEL_TEMPERATURE)
        votes = [weight * batch_logits(teachers[name], images) for name, weight in zip(self.teachers, weights, strict=True)]
        return torch.softmax(torch.stack(votes).sum(0) / self.temperature, 1)

    def _measured(self, data: RealImages, groups: int, teachers: dict[str, nn.Module], rng: KeyedRandom) -> dict[str, float]:
        """What each teacher is worth, in points of accuracy; kept in the folder."""
        if self.prior == "equal":
            return dict.fromkeys(teachers, 0.0)
        path = data.folder / "priors.json"
        if path.is_file():
            return dict(json.loads(path.read_text(encoding="utf-8")))
        rows = torch.from_numpy(np.sort(np.argsort(rng.child("prior").uniform(data.rows), kind="stable")[:PRIOR_ROWS])).to(data.device)
        images, labels = data.images[rows], data.labels[rows]
        if self.prior == "accuracy":
            found = {name: 100 * accuracy(module, images, labels) for name, module in teachers.items()}
        else:
            sets = {name: self._alone(name, module, data, groups, rng) for name, module in teachers.items()}
            found = {name: 100 * self._worth(name, known, data, images, labels, rng) for name, known in sets.items()}
        write_json(path, found)
        return found

    def _alone(self, name: str, module: nn.Module, data: RealImages, groups: int, rng: KeyedRandom) -> TrainingSet:
        """Groups that this teacher alone recovered and labelled."""
        voters = [(Voter(module),)] * groups
        starts = real_starts(data, groups, [module])
        made = recovered(f"prior-{name}", data, starts, voters, self._recipe(data), rng.child("prior", name)).flatten(0, 1)
        return TrainingSet(made, torch.softmax(batch_logits(module, made) / self.temperature, 1))

    def _worth(self, name: str, known: TrainingSet, data: RealImages, images: Tensor, labels: Tensor, rng: KeyedRandom) -> float:
        """The mean accuracy on real rows of small networks trained on a set."""
        seeds = range(rng.seed, rng.seed + PRIOR_NETWORKS)
        with data.progress.task(f"weigh {name}", STUDENT.steps * len(seeds), "steps") as task:
            return float(np.mean(train(known, STUDENT, STUDENT.network, seeds, task).accuracies(images, labels)))
