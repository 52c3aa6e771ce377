import pytest
import torch
from torch import nn

from curate.distill.evaluation import TrainingSet, train
from curate.distill.networks import build
from curate.protocols import Training
from curate.signals.training import seeded

TRAINING = Training(lr=0.05, steps=6, batch=64, width=4)


class Counted:
    steps = 0

    def advance(self, amount=1):
        self.steps += amount


@pytest.fixture
def data():
    rng = torch.Generator().manual_seed(0)
    return torch.randn(9, 1, 8, 8, generator=rng), torch.arange(9) % 3


@pytest.mark.parametrize("network", ["convnet", "mlp", "vit"])
def test_networks_trained_at_once_are_those_trained_by_torch_one_by_one(network, data):
    images, labels = data
    found = train(TrainingSet.hard(images, labels, 3), TRAINING, network, [4, 5], Counted()).logits(images)

    for seed, logits in zip([4, 5], found, strict=True):
        module = seeded(lambda: build(network, (1, 8, 8), 3, 4), seed)
        optimizer = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
        for step in range(6):
            if step == 3:
                optimizer.param_groups[0]["lr"] = 0.005
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images), labels).backward()  # all rows are one batch
            optimizer.step()
        torch.testing.assert_close(logits, module(images).detach(), atol=2e-4, rtol=1e-3)


def test_every_network_can_have_a_set_of_its_own(data):
    images, labels = data
    both = TrainingSet.hard(torch.cat([images, -images]), torch.cat([labels, labels]), 3, sets=2)

    together = train(both, TRAINING, "mlp", [0, 1], Counted()).logits(images)
    second = train(TrainingSet.hard(-images, labels, 3), TRAINING, "mlp", [1], Counted()).logits(images)

    assert both.size == 9
    torch.testing.assert_close(together[1], second[0], atol=1e-5, rtol=1e-4)


def test_accuracy_is_the_share_that_is_right(data):
    images, labels = data
    known = TrainingSet.hard(images, labels, 3)

    ensemble = train(known, Training(lr=0.05, steps=60, width=8), "mlp", [0, 1, 2], task := Counted())

    assert ensemble.accuracies(images, labels) == [1.0, 1.0, 1.0]
    assert ensemble.accuracies(images, (labels + 1) % 3) == [0.0, 0.0, 0.0]
    torch.testing.assert_close(ensemble.probabilities(images).sum(1), torch.ones(9))
    assert task.steps == 180


def test_augmentation_changes_the_training_and_follows_from_the_seed(data):
    known = TrainingSet.hard(*data, 3)
    augmented = Training(lr=0.05, steps=6, width=4, augment="crop_rotate")

    plain = train(known, TRAINING, "convnet", [0], Counted()).logits(data[0])
    first, again = (train(known, augmented, "convnet", [0], Counted()).logits(data[0]) for _ in range(2))

    assert torch.equal(first, again)
    assert not torch.allclose(first, plain, atol=1e-3)
