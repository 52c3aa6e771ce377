"""A Lightning trainer is recorded by a callback."""

import lightning
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import curate
from curate.errors import InputError
from curate.integrations.lightning import RecorderCallback

N = 13


class Module(lightning.LightningModule):
    def __init__(self, returns_logits=False, calls=1, width=3):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.returns_logits, self.calls = nn.Linear(4, width), returns_logits, calls

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, index):
        _rows, x, y = batch
        for _ in range(self.calls):
            logits = self(x)
        loss = nn.functional.cross_entropy(logits, y)
        return {"loss": loss, "logits": logits} if self.returns_logits else loss

    def validation_step(self, batch, index):
        self(batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def parts():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(N, 4)).astype(np.float32), rng.integers(0, 3, N)
    loader = DataLoader(TensorDataset(torch.arange(N), torch.from_numpy(x), torch.from_numpy(y)), batch_size=4)
    return curate.load((x, y)), loader, x, y


def fit(tmp_path, callback, module, epochs=2, **options):
    loader = parts()[1]
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, loader, loader, **options)
    return trainer


def losses(recorder):
    return recorder._run.columns(["dynamics.loss"], 0, N)["dynamics.loss"]


@pytest.mark.parametrize("returns_logits", [False, True])
def test_what_is_recorded_is_what_the_training_step_saw(tmp_path, returns_logits):
    data, loader, *_ = parts()
    recorder = curate.Recorder(tmp_path / "run", data)
    fit(tmp_path, RecorderCallback(recorder, rows=0), Module(returns_logits))
    truth, model = curate.Recorder(tmp_path / "truth", data), Module()
    optimizer = model.configure_optimizers()
    for _ in range(2):
        for rows, x, y in loader:
            logits = model(x)
            truth.log(rows, logits, y)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, y).backward()
            optimizer.step()
        truth.end_epoch()

    np.testing.assert_allclose(losses(recorder), losses(truth), rtol=1e-6)


def test_a_resumed_fit_goes_on_with_its_recording(tmp_path):
    data = parts()[0]
    whole = curate.Recorder(tmp_path / "whole", data)
    fit(tmp_path, RecorderCallback(whole, rows=lambda batch: batch[0]), Module())
    recorder = curate.Recorder(tmp_path / "run", data)
    fit(tmp_path, RecorderCallback(recorder, rows=0), Module(), epochs=1).save_checkpoint(tmp_path / "last.ckpt")

    again = curate.Recorder(tmp_path / "run", data, resume=True)
    fit(tmp_path, RecorderCallback(again, rows=0), Module(), ckpt_path=tmp_path / "last.ckpt")

    np.testing.assert_array_equal(losses(again), losses(whole))


@pytest.mark.parametrize(
    ("rows", "width", "message"),
    [
        ("row", 3, "A batch has no 'row'; it has 3 parts"),
        (1, 3, "rows must be whole numbers, got torch.float32"),
        (lambda batch: None, 3, "rows must be whole numbers, got a NoneType"),
        (lambda batch: batch[0] + N, 3, f"out of range: the dataset has rows 0 … {N - 1}"),
        (0, 5, "Logits are 5 wide, but there are 3 classes"),
    ],
    ids=["no such part", "another part", "nothing", "out of range", "too wide"],
)
def test_rows_and_logits_that_do_not_fit_are_told_of(tmp_path, rows, width, message):
    with pytest.raises(InputError, match=message):
        fit(tmp_path, RecorderCallback(curate.Recorder(tmp_path / "run", parts()[0]), rows=rows), Module(width=width))


def test_a_forward_that_is_called_twice_is_told_of(tmp_path):
    with pytest.raises(InputError, match="called 2 times"):
        fit(tmp_path, RecorderCallback(curate.Recorder(tmp_path / "run", parts()[0]), rows=0), Module(calls=2))
