"""A plain training loop that visits fewer rows by InfoBatch, beside the same loop on all rows.

    python examples/infobatch_loop.py             about 40 seconds on one core

Three lines differ from a loop without it: the sampler in the loader, `sampler.update`, and the weights of the losses.
"""

import argparse

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

import curate

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=12)
    given = parser.parse_args()
    data = curate.load("sample:fashion", limit=given.rows)
    assert data.test is not None, "the sample has a test split"
    images, labels = tensors(data.test)
    for name in ("everything", "infobatch"):
        model, visits = train(data, given.epochs, pruned=name == "infobatch")
        with torch.no_grad():
            right = (model(images).argmax(1) == labels).float().mean()
        print(f"{name:10}  {visits:7,} visits of rows, {right:.1%} right on {len(labels):,} test rows")


def train(data: curate.Dataset, epochs: int, *, pruned: bool) -> tuple[nn.Module, int]:
    torch.manual_seed(0)
    images, labels = tensors(data)
    rows = TensorDataset(torch.arange(len(data)), images, labels)
    sampler = curate.samplers.InfoBatch(len(rows), epochs=epochs) if pruned else RandomSampler(rows)
    loader = DataLoader(rows, batch_size=BATCH, sampler=sampler)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    visits = 0
    for _ in range(epochs):
        for which, inputs, wanted in loader:
            losses = nn.functional.cross_entropy(model(inputs), wanted, reduction="none")
            visits += len(which)
            if pruned:
                sampler.update(which, losses)
                losses = losses * sampler.weight(which)
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
    return model, visits


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 49, 10),
    )


def tensors(data: curate.Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = np.stack([np.asarray(image) for image in data.images(0, len(data))])
    return torch.from_numpy(pixels).float()[:, None] / 255, torch.from_numpy(data.labels.copy())


if __name__ == "__main__":
    main()
