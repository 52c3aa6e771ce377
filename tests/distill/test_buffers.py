"""Replay buffers of the official code: the weights as `parameters()` gives them, and what is none of ours refused."""

from collections import Counter

import numpy as np
import pytest
import torch

from curate.distill import experts as module
from curate.distill.buffers import buffers_in
from curate.distill.experts import Recipe, obtain
from curate.distill.images import Images
from curate.distill.networks import MLP, ConvNet, Network
from curate.distill.zca import Standard
from curate.errors import InputError, OtherJobError
from curate.progress import Silent
from curate.rng import KeyedRandom

CLASSES, EPOCHS, COUNT = 3, 2, 3


def convnet() -> ConvNet:
    return ConvNet((1, 4, 4), CLASSES, 2)


def images(folder, runs) -> Images:
    labels = torch.arange(9) % CLASSES
    pixels = torch.randn(9, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    made = Standard.fit(pixels)
    return Images(made.apply(pixels), labels, np.arange(9), CLASSES, made, torch.device("cpu"), folder, runs, "a" * 32, Silent(), pixels)


def saved(folder, counts=(2, 1), build=convnet, epochs=EPOCHS):
    """Buffers of so many experts each, as the official loop writes them; the modules at every epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    modules = [[build() for _ in range(epochs + 1)] for _ in range(sum(counts))]
    taken = iter(modules)
    for number, count in enumerate(counts):
        buffer = [[[p.detach().cpu() for p in at.parameters()] for at in next(taken)] for _ in range(count)]
        torch.save(buffer, folder / f"replay_buffer_{number}.pt")
    return modules


def taken_over(folder, runs, count=COUNT):
    (folder / "own").mkdir(parents=True, exist_ok=True)
    return obtain(images(folder / "own", runs), Network(convnet), {"name": "convnet"}, Recipe(), count, EPOCHS, KeyedRandom(0))


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_experts_are_the_parameters_of_the_modules_one_after_another(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(module, "_group_size", lambda *_: at_once)
    modules = saved(tmp_path / "buffers")

    found = taken_over(tmp_path, tmp_path / "buffers")

    for expert, way in enumerate(modules):
        for epoch, at in enumerate(way):
            assert torch.equal(found.read([expert], [epoch])[0], torch.cat([p.detach().reshape(-1) for p in at.parameters()]))


def test_a_copy_that_was_killed_is_finished_and_one_that_is_whole_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_group_size", lambda *_: 2)
    saved(tmp_path / "buffers")
    save, calls = module._save, Counter()

    def killed(*args):
        calls["save"] += 1
        if calls["save"] == 5:
            raise KeyboardInterrupt
        save(*args)

    monkeypatch.setattr(module, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        taken_over(tmp_path, tmp_path / "buffers")
    monkeypatch.setattr(module, "_save", save)
    first = taken_over(tmp_path, tmp_path / "buffers").final()
    monkeypatch.setattr(module, "_save", None)  # nothing may be written again
    again = taken_over(tmp_path, tmp_path / "buffers").final()
    monkeypatch.setattr(module, "_save", save)

    assert torch.equal(again, first)
    assert torch.equal(taken_over(tmp_path / "undisturbed", tmp_path / "buffers").final(), first)


def test_buffers_are_read_by_number(tmp_path):
    for number in (10, 2, 0):
        (tmp_path / f"replay_buffer_{number}.pt").touch()
    (tmp_path / "replay_buffer_x.pt").touch()

    assert [path.name for path in buffers_in(tmp_path)] == [f"replay_buffer_{number}.pt" for number in (0, 2, 10)]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"counts": (1,)}, "holds 1 experts; 3 are needed"),
        ({"epochs": 1}, "has 1 epochs; 2 are needed"),
        ({"build": lambda: MLP((1, 4, 4), CLASSES, 4)}, "is another network"),
        ({"build": lambda: ConvNet((1, 4, 4), CLASSES, 3)}, "3x1x3x3"),
        ({"counts": ()}, "holds no experts"),
    ],
    ids=["too-few", "too-short", "another-network", "another-width", "none"],
)
def test_buffers_that_do_not_fit_are_refused(tmp_path, made, says):
    saved(tmp_path / "buffers", **made)

    with pytest.raises(InputError, match=says):
        taken_over(tmp_path, tmp_path / "buffers")


@pytest.mark.parametrize("content", [b"", b"no weights", {"state": 1}, [[torch.ones(2)]]], ids=["empty", "text", "dict", "flat"])
def test_a_file_that_is_no_buffer_is_named(tmp_path, content):
    (tmp_path / "buffers").mkdir()
    file = tmp_path / "buffers" / "replay_buffer_0.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)

    with pytest.raises(InputError, match=r"replay_buffer_0\.pt"):
        taken_over(tmp_path, tmp_path / "buffers")


def test_other_buffers_in_a_folder_that_was_begun_are_another_job(tmp_path):
    saved(tmp_path / "buffers")
    saved(tmp_path / "others")
    taken_over(tmp_path, tmp_path / "buffers")

    with pytest.raises(OtherJobError):
        taken_over(tmp_path, tmp_path / "others")
