import pytest
import torch
from torch import nn

from curate.distill.matching import Batches, Plan, Window, losses_of
from curate.distill.networks import Network, build
from curate.distill.unroll import ENGINES, Segments, Student, Synthetic, Waypoint

K, B, CLASSES = 2, 5, 3
# Two orders of the same float64 sums: a few thousand roundings of 1e-16.
EXACT = 1e-12

NETWORKS = pytest.mark.parametrize(
    ("name", "shape"),
    [("mlp", (1, 8, 8)), ("convnet", (1, 8, 8)), ("convnet", (1, 28, 28)), ("convnet", (3, 9, 10)), ("wide", (1, 8, 8))],
    ids=str,
)


def network_and_weights(name, shape):
    wide = name == "wide"  # enough for `winograd`
    network = Network(lambda: build("convnet" if wide else name, shape, CLASSES, width=96 if wide else 4))
    theta = torch.stack([network.initial(seed) for seed in range(K)]).double()
    return network, theta + 0.1 * normal(*theta.shape, seed=9)  # off the start, where scales are 1 and offsets 0


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@NETWORKS
@pytest.mark.parametrize("own", ["images", "labels", "both", "neither"])
def test_written_derivatives_are_those_of_autograd(name, shape, own):
    network, theta = network_and_weights(name, shape)
    x = normal(*(K, B)[own in ("labels", "neither") :], *shape, seed=1)
    y = normal(*(K, B)[own in ("images", "neither") :], CLASSES, seed=2).exp()  # not even probabilities
    direction, scale = normal(*theta.shape, seed=3), torch.tensor([0.5, 2.0], dtype=torch.float64)
    leaves = [part.clone().requires_grad_() for part in (theta, x, y)]
    total = (losses_of(network)(*leaves) * scale).sum()
    slope = torch.autograd.grad(total, leaves[0], create_graph=True)[0]
    part = (slope * direction).sum()

    found, walk = network.derivatives.slope(theta, x, y, scale)
    twice = network.derivatives.twice(walk, direction)

    torch.testing.assert_close(found, slope.detach(), rtol=0, atol=EXACT)
    torch.testing.assert_close(twice.value, part.detach(), rtol=EXACT, atol=EXACT)
    for ours, theirs in zip(twice[1:], torch.autograd.grad(part, leaves), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=EXACT)
    again = network.derivatives.twice(network.derivatives.walk(theta, x, y, scale), direction)
    assert all(torch.equal(one, other) for one, other in zip(again, twice, strict=True))
    less = network.derivatives.twice(walk, direction, by_theta=False)
    assert less.theta is None
    assert all(torch.equal(one, other) for one, other in ((less.value, twice.value), (less.x, twice.x), (less.y, twice.y)))


@NETWORKS
@pytest.mark.parametrize("augment", ["", "color_crop_cutout_flip_scale_rotate"], ids=["all alike", "augmented"])
def test_the_engines_find_the_same_with_and_without(name, shape, augment):
    network, start = network_and_weights(name, shape)
    plan = Plan(3, 1, Window(0, 1, 1), 1, K, 4 if augment else 0, (1.0, 1.0, 1.0), soft=True, augment=augment)
    feed = Batches(plan, K, 6, torch.device("cpu"), torch.Generator().manual_seed(0), None)
    segments = Segments(start, [Waypoint(2, start + 0.1, 0.5), Waypoint(3, start + 0.01 * normal(*start.shape, seed=4))])
    synthetic = Synthetic(normal(6, *shape, seed=5), normal(6, CLASSES, seed=6), torch.tensor(0.05, dtype=torch.float64))

    for exact, engine in ENGINES.items():
        plain = engine(Student(losses_of(network), feed, 0.5), segments, synthetic, 100.0)
        found = engine(Student(losses_of(network), feed, 0.5, network.derivatives), segments, synthetic, 100.0)

        torch.testing.assert_close(found.loss, plain.loss, rtol=EXACT, atol=0)
        for ours, theirs in zip(found.gradient, plain.gradient, strict=True):
            assert float((ours - theirs).norm()) <= EXACT * float(theirs.norm()), exact


def test_hard_labels_have_no_gradient():
    network, start = network_and_weights("convnet", (1, 8, 8))
    plan = Plan(2, 1, Window(0, 1, 1), 1, K, 0, (1.0, 0.0, 1.0))
    student = Student(losses_of(network), Batches(plan, K, 3, torch.device("cpu"), torch.Generator(), None), 0.0, network.derivatives)
    synthetic = Synthetic(normal(3, 1, 8, 8), torch.eye(3, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64))

    found = ENGINES["adjoint"](student, Segments(start, [Waypoint(2, start + 1)]), synthetic, float("inf"))

    assert not found.gradient.labels.any()
    assert found.gradient.images.any()


def test_networks_of_other_layers_have_none():
    assert Network(lambda: build("vit", (1, 8, 8), CLASSES)).derivatives is None


@pytest.mark.parametrize("name", ["mlp", "convnet", "a linear one"])
def test_slopes_are_those_of_the_mean_cross_entropy(name):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
    network = Network(lambda: linear if name == "a linear one" else build(name, (1, 8, 8), CLASSES))
    theta = torch.stack([network.initial(seed) for seed in range(K)]).double()
    x, labels = normal(K, B, 1, 8, 8), torch.tensor([[0, 1, 2, 0, 1], [2, 2, 1, 0, 0]])

    slopes, losses = network.slopes(theta, x, nn.functional.one_hot(labels, CLASSES).double())

    for i in range(K):
        place = theta[i].clone().requires_grad_()
        loss = nn.functional.cross_entropy(network.apply(place, x[i]), labels[i])
        torch.testing.assert_close(slopes[i], torch.autograd.grad(loss, place)[0], rtol=0, atol=EXACT)
        torch.testing.assert_close(losses[i], loss.detach(), rtol=EXACT, atol=0)
