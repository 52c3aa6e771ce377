import pytest
import torch
from torch import nn

from curate.distill.networks import NETWORKS, ConvNet, Network, build
from curate.errors import InputError, UnknownNameError
from curate.signals.training import seeded


def test_the_cifar_convnet_has_the_published_number_of_weights():
    assert sum(p.numel() for p in ConvNet((3, 32, 32), 10).parameters()) == 320_010
    assert sum(p.numel() for p in ConvNet((3, 32, 32), 100).parameters()) == 504_420
    assert sum(p.numel() for p in ConvNet((3, 64, 64), 200).parameters()) == 857_160


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 20, 33)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_fits_every_shape(name, shape):
    network = build(name, shape, 7, width=8)

    assert network(torch.randn(2, *shape)).shape == (2, 7)


def test_a_flat_vector_is_the_module():
    module = seeded(lambda: ConvNet((1, 8, 8), 3, width=4), 5)
    network = Network(lambda: ConvNet((1, 8, 8), 3, width=4))
    x = torch.randn(6, 1, 8, 8)

    theta = network.initial(5)

    assert theta.shape == (network.size,)
    assert torch.equal(theta, torch.cat([p.detach().reshape(-1) for p in module.parameters()]))
    torch.testing.assert_close(network.apply(theta, x), module(x))
    torch.testing.assert_close(network.embed(theta, x), module[0](x))
    assert list(network.shapes) == [name for name, _ in module.named_parameters()]


@pytest.mark.parametrize("name", ["convnet", "mlp"])
def test_stacked_vectors_give_what_single_ones_do_to_the_second_derivative(name):
    network = Network(lambda: build(name, (1, 8, 8), 3, width=4))
    thetas = torch.stack([network.initial(seed) for seed in range(3)]).double()
    x, labels = torch.randn(3, 5, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])

    def loss(theta, x):
        return nn.functional.cross_entropy(network.apply(theta, x), labels)

    def mixed(theta, x):  # how the squared gradient changes with the images
        return torch.func.grad(lambda x: torch.func.grad(loss)(theta, x).square().sum())(x)

    torch.testing.assert_close(torch.vmap(mixed)(thetas, x), torch.stack([mixed(thetas[i], x[i]) for i in range(3)]))
    assert torch.autograd.gradcheck(lambda one: torch.func.grad(loss)(thetas[0], one).square().sum(), x[0].clone().requires_grad_())


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 9, 9)], ids=str)
@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_many_networks_at_once_are_one_after_another_and_so_are_their_derivatives(name, shape):
    network = Network(lambda: build(name, shape, 3, width=4))
    thetas = torch.stack([network.initial(seed) for seed in range(2)]).double()
    x = torch.randn(2, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def mixed(apply, *given):  # how a number made of the gradient changes with the images
        theta, images = (one.clone().requires_grad_() for one in given)
        (slope,) = torch.autograd.grad(apply(theta, images).square().sum(), theta, create_graph=True)
        return torch.autograd.grad(slope.sin().sum(), images)[0]

    alone = torch.stack([network.apply(thetas[i], x[i]) for i in range(2)])
    torch.testing.assert_close(network.apply_many(thetas, x), alone)
    torch.testing.assert_close(network.apply_many(thetas, x[0]), torch.stack([network.apply(thetas[i], x[0]) for i in range(2)]))
    torch.testing.assert_close(mixed(network.apply_many, thetas, x), torch.stack([mixed(network.apply, thetas[i], x[i]) for i in range(2)]))


def test_fresh_weights_follow_from_the_seed_and_leave_the_global_generator_alone():
    network = Network(lambda: build("mlp", (1, 8, 8), 3))
    torch.manual_seed(1)
    expected = torch.rand(3)

    torch.manual_seed(1)
    one, same, other = network.initial(1), network.initial(1), network.initial(2)

    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_an_unknown_network_is_an_error_that_guesses():
    with pytest.raises(UnknownNameError, match=r'Did you mean "convnet"'):
        build("convnets", (1, 8, 8), 10)


def test_images_too_small_for_a_network_are_refused():
    with pytest.raises(InputError, match="2 x 2 pixels are too small"):
        build("convnet", (1, 2, 2), 10)
