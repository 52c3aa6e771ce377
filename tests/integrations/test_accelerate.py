"""accelerate's checkpoints hold a recorder and a sampler."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import curate
from curate.errors import InputError, OptionError
from curate.integrations.accelerate import follow
from curate.samplers import InfoBatch

N, EPOCHS = 23, 6


def parts(tmp_path, name, resume=False, n=N):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n)
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    model, sampler = nn.Linear(4, 3), InfoBatch(n, EPOCHS, rank=0, world=1)
    data = TensorDataset(torch.arange(n), torch.from_numpy(x), torch.from_numpy(y))
    loader = DataLoader(data, batch_size=4, sampler=sampler)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.5))
    loader = accelerator.prepare(loader)
    recorder = follow(accelerator, curate.Recorder(tmp_path / name, curate.load((x, y)), resume=resume), sampler)
    return accelerator, model, optimizer, loader, sampler, recorder


def train(parts, first, stop):
    accelerator, model, optimizer, loader, sampler, recorder = parts
    for epoch in range(first, stop):
        loader.set_epoch(epoch)
        for rows, x, y in loader:
            logits = model(x)
            recorder.log(rows, logits, y)
            losses = nn.functional.cross_entropy(logits, y, reduction="none")
            sampler.update(rows, losses)
            optimizer.zero_grad()
            accelerator.backward((losses * sampler.weight(rows)).mean())
            optimizer.step()
        recorder.end_epoch()


def test_a_resumed_loop_goes_on_with_the_same_rows_and_recording(tmp_path):
    whole = parts(tmp_path, "whole")
    train(whole, 0, EPOCHS)
    killed = parts(tmp_path, "run")
    train(killed, 0, 3)
    killed[0].save_state(str(tmp_path / "state"))

    resumed = parts(tmp_path, "run", resume=True)
    resumed[0].load_state(str(tmp_path / "state"))
    train(resumed, 3, EPOCHS)

    one, other = (p[-1]._run.columns(["dynamics.loss"], 0, N)["dynamics.loss"] for p in (whole, resumed))
    np.testing.assert_array_equal(one, other)
    assert np.isnan(one).any()  # rows were left out
    assert whole[4].visits == resumed[4].visits


def test_a_sampler_that_would_split_once_more_is_refused(tmp_path):
    class Two:
        num_processes = 2

    with pytest.raises(OptionError, match="rank=0, world=1"):
        follow(Two(), curate.Recorder(tmp_path, curate.load((np.zeros((4, 2), np.float32), np.arange(4) % 2))), InfoBatch(4, 2))


def test_rows_and_logits_that_do_not_fit_are_told_of(tmp_path):
    recorder = parts(tmp_path, "run")[-1]

    with pytest.raises(InputError, match="No row was logged in epoch 1"):
        recorder.end_epoch()
    with pytest.raises(InputError, match=f"Row {N} is out of range"):
        recorder.log([N], torch.zeros(1, 3))
    with pytest.raises(InputError, match="Logits are 4 wide"):
        recorder.log([0], torch.zeros(1, 4))


def test_a_state_of_another_number_of_rows_is_refused(tmp_path):
    parts(tmp_path, "run")[0].save_state(str(tmp_path / "state"))

    with pytest.raises(InputError, match=f"The state is of {N} rows, but this one is of {N - 1} rows"):
        parts(tmp_path, "other", n=N - 1)[0].load_state(str(tmp_path / "state"))
    with pytest.raises(curate.errors.CurateError, match="was made from dataset"):
        parts(tmp_path, "run", n=N - 1, resume=True)
