"""AST: each part switches alone and changes the set; centres have a nearest row each; smoother experts move less."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from curate.distill.ast_ import AST, nearest_to_centres
from curate.distill.experts import Recipe, obtain
from curate.distill.images import Images
from curate.distill.networks import MLP, Network
from curate.distill.zca import Standard
from curate.errors import OptionError
from curate.progress import Silent
from curate.rng import KeyedRandom

CLASSES, IPC = 3, 2
SHORT = AST(
    experts=2,
    epochs=6,
    window=(0, 3),
    span=2,
    iterations=3,
    steps=4,
    width=2,
    network="convnet",
    expert_batch=15,
    expert_rate=0.01,
    rate=0.01,
)


def images(folder, n=45) -> Images:
    labels = torch.arange(n) % CLASSES
    noise = torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    pixels = (noise + 2 * labels[:, None, None, None]) * 20 + 100
    made = Standard.fit(pixels)
    return Images(made.apply(pixels), labels, np.arange(n), CLASSES, made, torch.device("cpu"), folder, None, "a" * 32, Silent(), pixels)


def distill(method, folder):
    data = images(folder)
    return method.settle(data, IPC, None).distill(data, IPC, KeyedRandom(0))


@pytest.fixture(scope="module")
def all_on(tmp_path_factory):
    return distill(SHORT, tmp_path_factory.mktemp("all"))


@pytest.mark.parametrize(
    "change",
    [
        {"clip": False},
        {"penalty": 0.0},
        {"representative": False},
        {"balanced": False},
        {"waypoints": False},
        {"perturb": 0.0},
        {"momentum": 0.0},
        {"ema": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_switches_alone(tmp_path, all_on, change):
    found = distill(replace(SHORT, **change), tmp_path)

    assert np.isfinite(found.images).all() and found.images.shape == all_on.images.shape
    assert found.soft_labels is None
    assert not np.array_equal(found.images, all_on.images)


def test_a_killed_job_goes_on_to_the_same_bytes(tmp_path, all_on, monkeypatch):
    from curate.distill import matching

    monkeypatch.setattr(matching, "SAVE_EVERY", 1)
    step, steps = matching._iterate, []

    def killed(*args):
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(matching, "_iterate", killed)
    with pytest.raises(KeyboardInterrupt):
        distill(SHORT, tmp_path)

    assert np.array_equal(distill(SHORT, tmp_path).images, all_on.images)


def test_each_centre_has_the_row_nearest_to_it():
    points = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [13.0], [40.0]], dtype=torch.float64)

    # centres 1, 34 / 3 and 40
    assert sorted(nearest_to_centres(points, 3, KeyedRandom(0)).tolist()) == [1, 4, 6]


def test_equal_rows_are_still_taken_once_each():
    assert sorted(nearest_to_centres(torch.ones(4, 2, dtype=torch.float64), 4, KeyedRandom(0)).tolist()) == [0, 1, 2, 3]


def test_smooth_experts_move_less_in_their_first_epochs(tmp_path):
    def moves(folder, recipe):
        net = Network(lambda: MLP((1, 4, 4), CLASSES, 6))
        experts = obtain(images(folder), net, {}, recipe, 3, 4, KeyedRandom(0))
        way = torch.stack([experts.read(range(3), [t] * 3) for t in range(5)])
        return (way[1:] - way[:-1]).norm(dim=2).mean(1)

    recipe = Recipe(rate=0.01, batch=15, momentum=0.9)  # as AST's plain experts are trained

    assert (moves(tmp_path / "a", replace(recipe, clip_epochs=10)) < moves(tmp_path / "b", recipe)).all()


@pytest.mark.parametrize(("epochs", "clipped"), [(50, 10), (100, 10), (30, 6), (6, 2)])
def test_the_loss_is_clipped_for_a_fifth_of_the_epochs_and_ten_at_most(tmp_path, epochs, clipped):
    recipe = replace(SHORT, epochs=epochs).settle(images(tmp_path), IPC, None).recipe()

    assert recipe.clip_epochs == clipped


@pytest.mark.parametrize("options", [{"perturb": -1.0}, {"penalty": -1.0}, {"momentum": 1.0}, {"ema": -0.1}], ids=str)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(OptionError, match=f"ast: {next(iter(options))} must be"):
        AST(**options)
