"""SRe2L: one teacher, images from noise, its labels.

Yin, Xing & Shen 2023, "Squeeze, Recover and Relabel: Dataset Condensation at ImageNet Scale From A New Perspective"; official code
VILA-Lab/SRe2L.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from curate.distill.decoupled import FROM_NOISE, GENTLE, AbstractLabelled, noise_starts, real_starts, recovered
from curate.distill.recovery import Voter
from curate.distill.teachers import batch_logits, logits_of
from curate.protocols import RealImages
from curate.rng import KeyedRandom


class SRe2L(AbstractLabelled):
    """One trained teacher tells what images look like to it; the cheap decoupled one, and the baseline of CV-DD.

    Groups of one image a class are moved to lower cross entropy + `r_bn` x the distance of their batch-norm statistics from the real
    data's, by Adam (0.5, 0.9) at `lr_img` with a cosine; each iteration rolls them by up to `jitter` pixels (an eighth of a side unless
    told) and holds them within the pixels' range. Defaults are the official ones for CIFAR (rate 0.25, r_bn 0.01, no crops). Soft labels
    are the teacher's softmax at `temperature` on the finished image. The official student sees mixed images labelled on the fly; a set
    that is exported has one label an image, so ours do not.

    SRe2L++, CV-DD's own baseline, is `start=real,crop=0.08,batch_labels=true`: it begins at images of middling loss, the teacher sees a
    random part of them each time, and labels them by the statistics of the batch, as in `cv_dd`.

    Unless told, a CPU makes 300 iterations instead of 1,000 to 4,000, from real images 60 at rate 0.02, with the teacher `resnet` (16 to 64
    channels); name `teacher=resnet18` for the published one. Cost: the teacher's training, then iterations x ipc x classes images there
    and back.
    """

    name: ClassVar[str] = "sre2l"

    def __init__(
        self,
        *,
        teacher: str = "resnet",
        teacher_epochs: int | None = None,
        iterations: int | None = None,
        lr_img: float | None = None,
        r_bn: float = 0.01,
        jitter: int | None = None,
        crop: float = 1.0,
        start: Literal["noise", "real"] = "noise",
        batch_labels: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__((teacher,), teacher_epochs, iterations, lr_img, r_bn, jitter, crop, temperature)
        self.teacher, self.batch_labels = teacher, batch_labels
        self.start: Literal["noise", "real"] = start

    def _names(self) -> Sequence[str]:
        return (self.teacher,)

    def _on_cpu(self) -> tuple[int, float]:
        return GENTLE if self.start == "real" else FROM_NOISE

    def _images(self, data: RealImages, ipc: int, teachers: dict[str, nn.Module], rng: KeyedRandom) -> Tensor:
        module = teachers[self.teacher]
        starts = noise_starts(data, ipc, rng.child("start")) if self.start == "noise" else real_starts(data, ipc, [module])
        voters = (Voter(module),)
        return recovered(self.name, data, starts, [voters] * ipc, self._recipe(data), rng.child("recover")).flatten(0, 1)

    def _soft_labels(self, images: Tensor, teachers: dict[str, nn.Module]) -> Tensor:
        logits = batch_logits if self.batch_labels else logits_of
        return torch.softmax(logits(teachers[self.teacher], images) / self.temperature, 1)
