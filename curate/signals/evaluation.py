"""A clean pass: eval mode, no augmentation, frozen weights of one checkpoint, every row once."""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from curate.progress import Task
from curate.signals.inputs import Inputs, channels_last
from curate.signals.measures import MEASURES, measure

BATCH: Final = 512


def evaluate_checkpoint(
    checkpoint: Path, model: nn.Module, inputs: Inputs, labels: NDArray[np.int64], device: torch.device, task: Task
) -> tuple[dict[str, Tensor], NDArray[np.float32]]:
    """The scalars of every row, (n,) float32, NaN where the row cannot be read or has no label; the probabilities, (n, classes) float32."""
    model.load_state_dict({name: value.to(device) for name, value in load_file(str(checkpoint)).items()})
    model.eval()
    n = len(labels)
    means = torch.full((n, len(MEASURES)), torch.nan)
    probs: Tensor | None = None
    usable = np.setdiff1d(np.arange(n), np.fromiter(inputs.failed, np.int64, len(inputs.failed)))
    y = torch.from_numpy(labels).to(device)
    with torch.inference_mode():
        for rows in torch.split(torch.from_numpy(usable), BATCH):
            there = rows.to(device)
            logits = model(*channels_last(inputs.batch(there))).float()
            if probs is None:
                probs = torch.full((n, logits.shape[1]), torch.nan)
            known = (y[there] >= 0)[:, None]
            means[rows] = torch.where(known, measure(logits, y[there].clamp_min(0)), torch.nan).cpu()
            probs[rows] = logits.softmax(dim=1).cpu()
            task.advance(len(rows))
    assert probs is not None, "a run has at least one usable row"
    return {name: means[:, i].clone() for i, name in enumerate(MEASURES)}, probs.numpy()
