from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from curate.distill.dm import DM, STATE, _Matcher
from curate.distill.images import synthetic_images
from curate.distill.networks import Network, build
from curate.errors import InputError, OptionError
from curate.rng import KeyedRandom
from curate.testing import check_distiller

OPTIONS = {"iterations": 6, "batch": 4, "width": 4, "augment": "none"}


@pytest.fixture
def data(tmp_path):
    return synthetic_images(tmp_path / "work", whiten=False)


def test_the_loss_is_that_of_one_class_at_a_time(data):
    method, rng = DM(**OPTIONS).settle(data, 2, None), KeyedRandom(3, "test")
    matcher = _Matcher(method, data, 2, rng)
    state = matcher.start()
    step = rng.child("iteration", 0)
    network = Network(lambda: build("convnet", (1, 8, 8), 3, 4))
    theta = network.initial(step.torch_seed() >> 1)
    expected = 0.0
    for code in range(3):
        members = np.flatnonzero(data.labels.numpy() == code)
        real = members[np.argsort(step.child("rows").uniform(members))][:4]
        ours = state.images[2 * code : 2 * code + 2]
        difference = network.embed(theta, data.images[real]).mean(0) - network.embed(theta, ours).mean(0)
        expected += float(difference.square().sum()) / 3

    assert matcher.step(state) == pytest.approx(expected, rel=1e-4)


def test_the_images_move_against_the_gradient_with_momentum(data):
    method = DM(**OPTIONS, lr_img=0.5).settle(data, 1, None)
    matcher = _Matcher(method, data, 1, KeyedRandom(0, "test"))
    state = matcher.start()
    before = state.images.clone()

    matcher.step(state)
    first = state.momentum.clone()
    matcher.step(state)

    torch.testing.assert_close(before - 0.5 * first - 0.5 * state.momentum, state.images)


def test_the_images_start_as_real_ones_of_their_class(data):
    start = _Matcher(DM(**OPTIONS).settle(data, 2, None), data, 2, KeyedRandom(0, "test")).start().images

    for i, image in enumerate(start):
        same = (data.images == image).flatten(1).all(1)
        assert data.labels[same].tolist() == [i // 2]


def test_a_killed_job_gives_the_bytes_of_an_undisturbed_one(data, tmp_path, monkeypatch):
    method = DM(**OPTIONS, lr_img=1.0).settle(data, 2, None)
    whole = method.distill(replace(data, folder=Path(tmp_path / "whole")), 2, KeyedRandom(0, "test"))
    monkeypatch.setattr("curate.distill.dm.SAVE_SECONDS", -1.0)
    taken, step = [], _Matcher.step

    def killed(self, state):
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(0)
        return step(self, state)

    monkeypatch.setattr(_Matcher, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        method.distill(data, 2, KeyedRandom(0, "test"))
    monkeypatch.setattr(_Matcher, "step", step)

    assert (data.folder / STATE).is_file()
    assert method.distill(data, 2, KeyedRandom(0, "test")).images.tobytes() == whole.images.tobytes()


def test_little_time_means_fewer_iterations(data):
    assert DM(**{**OPTIONS, "iterations": 10**9}).settle(data, 1, 0.01).iterations < 10**6


def test_images_that_run_away_are_an_error_that_names_a_smaller_step(data):
    method = DM(**{**OPTIONS, "iterations": 60}, lr_img=1e30).settle(data, 1, None)

    with pytest.raises(InputError, match=r"lr_img=1e\+29"):
        method.distill(data, 1, KeyedRandom(0, "test"))


@pytest.mark.parametrize("bad", [{"iterations": 0}, {"lr_img": -1.0}, {"network": "resnet18"}, {"augment": "rotation"}], ids=str)
def test_bad_options_are_refused_at_once(bad):
    with pytest.raises(OptionError):
        DM(**bad)


def test_dm_keeps_the_promises_of_a_distiller():
    check_distiller(DM(**OPTIONS, lr_img=1.0))
