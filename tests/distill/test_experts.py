"""Experts: each the same as if it were trained alone, whole epochs on disk, resumed to the same bytes, refused by other data."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from curate.distill import experts as module
from curate.distill.experts import Recipe, gsam_direction, obtain
from curate.distill.images import Images
from curate.distill.networks import MLP, ConvNet, Network
from curate.distill.zca import Standard
from curate.errors import InputError, OtherDatasetError, OtherJobError
from curate.progress import Silent
from curate.rng import KeyedRandom

CLASSES, COUNT, EPOCHS = 3, 3, 5
ABOUT = {"name": "mlp", "width": 4}
# Matrix products of several networks at once add up in another order than those of one.
ROUNDING = 1e-5


def network() -> Network:
    return Network(lambda: MLP((1, 4, 4), CLASSES, 4))


def images(folder, *, runs=None, fingerprint="a" * 32, n=30) -> Images:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % CLASSES
    pixels = (torch.randn(n, 1, 4, 4, generator=draw) + 2 * labels[:, None, None, None]) * 20 + 100
    transform = Standard.fit(pixels)
    return Images(
        transform.apply(pixels), labels, np.arange(n), CLASSES, transform, torch.device("cpu"), folder, runs, fingerprint, Silent(), pixels
    )


def train(data, recipe=None, *, count=COUNT, epochs=EPOCHS, about=ABOUT, seed=0, net=None):
    return obtain(data, net or network(), about, recipe or Recipe(rate=0.1, batch=10), count, epochs, KeyedRandom(seed))


def all_bytes(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("recipe", [Recipe(rate=0.1, batch=8), Recipe(rate=0.05, batch=8, momentum=0.9, weight_decay=0.01, decay=0.6)])
def test_an_expert_is_what_plain_sgd_makes_of_its_order(tmp_path, recipe):
    data = images(tmp_path)
    found = train(data, recipe)

    net, rng = MLP((1, 4, 4), CLASSES, 4), KeyedRandom(0, "experts")
    nn.utils.vector_to_parameters(network().initial(rng.child("expert", 1).torch_seed()), net.parameters())
    for epoch in range(1, EPOCHS + 1):
        if epoch in (1, EPOCHS // 2 + 3):
            rate = recipe.rate * (recipe.decay if epoch > 1 else 1)
            sgd = torch.optim.SGD(net.parameters(), rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
        order = torch.randperm(30, generator=torch.Generator().manual_seed(rng.child("order", 1, epoch).torch_seed()))
        for rows in order.split(8):
            sgd.zero_grad()
            functional.cross_entropy(net(data.images[rows]), data.labels[rows]).backward()
            sgd.step()

    torch.testing.assert_close(
        found.read([1], [EPOCHS])[0], nn.utils.parameters_to_vector(net.parameters()).detach(), rtol=0, atol=ROUNDING
    )


def test_experts_do_not_depend_on_who_trains_beside_them(tmp_path, monkeypatch):
    together = train(images(tmp_path / "a")).final()
    monkeypatch.setitem(module.NUMBERS_AT_ONCE, "cpu", 1)
    alone = train(images(tmp_path / "b")).final()

    torch.testing.assert_close(together, alone, rtol=0, atol=ROUNDING)


def test_experts_learn(tmp_path):
    losses = train(images(tmp_path), Recipe(rate=0.5, batch=5)).losses()

    assert losses.shape == (COUNT, EPOCHS)
    assert (losses[:, -1] < 0.7 * losses[:, 0]).all()


@pytest.mark.parametrize(
    "recipe", [Recipe(rate=0.1, batch=10, augment="crop_flip"), Recipe(rate=0.1, batch=10, momentum=0.9)], ids=["plain", "momentum"]
)
@pytest.mark.parametrize("killed_at", [1, 3, 6])
def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path, monkeypatch, recipe, killed_at):
    whole, cut = images(tmp_path / "whole"), images(tmp_path / "cut")
    train(whole, recipe)
    writes, write = itertools.count(1), module.save_file

    def killed(tensors, path):
        if next(writes) == killed_at:
            raise KeyboardInterrupt
        write(tensors, path)

    monkeypatch.setattr(module, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        train(cut, recipe)
    monkeypatch.setattr(module, "save_file", write)
    train(cut, recipe)

    assert all_bytes(tmp_path / "cut") == all_bytes(tmp_path / "whole")


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_damaged_epoch_is_made_again(tmp_path, momentum):
    recipe = Recipe(rate=0.1, batch=10, momentum=momentum)
    train(images(tmp_path), recipe)
    before = all_bytes(tmp_path)
    (tmp_path / "experts/group-000/epoch-00002.safetensors").write_bytes(b"gone")

    train(images(tmp_path), recipe)

    assert all_bytes(tmp_path) == before


def test_other_methods_take_finished_experts_over(tmp_path):
    made = train(images(tmp_path / "made"))
    taken = train(images(tmp_path / "new", runs=tmp_path / "made"), count=2, epochs=3)

    assert torch.equal(taken.read([0, 1], [3, 2]), made.read([0, 1], [3, 2]))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"fingerprint": "b" * 32}, OtherDatasetError, "30 rows, aaaaaaaa…"),
        ({"about": {"name": "mlp", "width": 8}}, OtherJobError, "width: 4 there, 8 here"),
        ({"recipe": Recipe(rate=0.2, batch=10)}, OtherJobError, "rate: 0.1 there, 0.2 here"),
        ({"count": 9}, InputError, "holds 3 experts of at least 5 epochs; 9 are"),
        ({"epochs": 9}, InputError, "holds 0 experts of at least 9 epochs; 3 are"),
    ],
    ids=["dataset", "architecture", "recipe", "too few", "too short"],
)
def test_experts_that_do_not_fit_are_refused(tmp_path, change, error, says):
    train(images(tmp_path / "made"))
    fingerprint = change.pop("fingerprint", "a" * 32)

    with pytest.raises(error, match=says):
        train(images(tmp_path / "new", runs=tmp_path / "made", fingerprint=fingerprint), **change)


def test_diverging_experts_say_so(tmp_path):
    with pytest.raises(InputError, match=r"not numbers after epoch 1 .*lower expert_rate"):
        train(images(tmp_path), Recipe(rate=1e30, batch=10))


def test_the_gsam_direction_is_the_perturbed_gradient_less_what_is_across():
    plain, perturbed = torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0]])

    # across: (3, 4) - 3 (1, 0) = (0, 4)
    torch.testing.assert_close(gsam_direction(plain, perturbed, 0.5), torch.tensor([[2.0, -2.0]]))
    torch.testing.assert_close(gsam_direction(plain, plain, 0.5), plain)


def test_flat_experts_differ_from_plain_ones_and_without_radius_do_not(tmp_path):
    data = images(tmp_path)
    theta = torch.stack([network().initial(i) for i in range(2)])
    x, y = data.images[:10].expand(2, -1, -1, -1, -1), data.labels[:10].expand(2, -1)

    def slope(**options):
        return module.direction(network(), Recipe(**options), theta, x, y, x, 1.0)[0]

    assert not torch.allclose(slope(rho=0.5), slope(), atol=1e-3)
    torch.testing.assert_close(slope(rho=1e-7), slope(), atol=1e-4, rtol=1e-3)


def test_the_penalty_is_0_where_every_input_gradient_has_length_1():
    linear = Network(lambda: nn.Sequential(nn.Sequential(nn.Flatten()), nn.Linear(4, 2, bias=False)))
    theta = torch.tensor([[1.0, -1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])

    found = module._input_gradient_penalty(linear, theta, torch.zeros(2, 3, 1, 2, 2))

    # lengths 1, 1, 1, 1; and 2, 0, 0, 0: the mean of (1, 1, 1, 1)
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)


def test_ast_experts_start_with_a_smaller_step(tmp_path):
    plain = train(images(tmp_path / "a"), epochs=1)
    clipped = train(images(tmp_path / "b"), Recipe(rate=0.1, batch=30, clip_epochs=10), epochs=1)
    whole = train(images(tmp_path / "c"), Recipe(rate=0.1, batch=30), epochs=1)

    def move(e):
        return (e.final() - e.read(range(COUNT), [0] * COUNT)).norm()

    torch.testing.assert_close(move(clipped), move(whole) / 2)
    assert move(plain) > 0


def test_a_convnets_experts_take_the_penalty(tmp_path):
    net = Network(lambda: ConvNet((1, 4, 4), CLASSES, 2))

    losses = train(images(tmp_path), Recipe(rate=0.05, batch=15, penalty=2.0), net=net, about={"name": "convnet"}, epochs=2).losses()

    assert torch.isfinite(losses).all()
