"""Records a Lightning training on Fashion-MNIST by a callback, then selects the rows to keep from what it saw.

    python examples/lightning_images.py           needs curatekit[lightning]; about half a minute on one core

The module is an ordinary one. What curate needs: the dataset gives each row's number, here first in the batch, and the callback is told
where.
"""

import argparse
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import curate
from curate.integrations.lightning import RecorderCallback


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 49, 10),
        )

    def forward(self, images: torch.Tensor) -> Any:
        return self.layers(images)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        _, images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 2e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/lightning"))
    given = parser.parse_args()
    data = curate.load("sample:fashion", limit=given.rows)
    scores = train(data, given.out, given.epochs)
    subset = curate.select(data, scores, sampler="ccs:beta=0.05", by="aum", budget=0.3)
    subset.export(given.out / "subset")
    print(f"kept {len(subset):,} of {len(data):,} rows: {given.out / 'subset'}")


def train(data: curate.Dataset, out: Path, epochs: int) -> curate.Scores:
    lightning.seed_everything(0, verbose=False)
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in data.images(0, len(data))])).float()[:, None] / 255
    rows = TensorDataset(torch.arange(len(data)), pixels, torch.from_numpy(data.labels.copy()))
    recorder = curate.Recorder(out / "recording", data, overwrite=True)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        callbacks=[RecorderCallback(recorder, rows=0)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(), DataLoader(rows, batch_size=64, shuffle=True))
    return recorder.score(["aum", "datamap", "forgetting"])


if __name__ == "__main__":
    main()
