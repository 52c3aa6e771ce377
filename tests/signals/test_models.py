import pytest
import torch

from curate.signals.models import MLP, ConvNet, ResNet18, TextBag


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 48), (1, 4, 4)], ids=str)
@pytest.mark.parametrize("model", [ConvNet, ResNet18])
def test_an_image_gives_a_logit_a_class(model, shape):
    assert model(shape, 5).eval()(torch.zeros(2, *shape)).shape == (2, 5)


def test_resnet_18_has_the_parameters_of_the_published_one():
    count = sum(p.numel() for p in ResNet18((3, 32, 32), 10).parameters())

    assert round(count / 1e6, 2) == 11.17


def test_a_bag_of_text_takes_ids_and_offsets_and_a_text_without_words():
    logits = TextBag((100,), 3)(torch.tensor([1, 5, 99]), torch.tensor([0, 2, 3]))

    assert logits.shape == (3, 3) and logits.isfinite().all()


def test_a_matrix_gives_a_logit_a_class():
    assert MLP((6,), 4)(torch.zeros(2, 6)).shape == (2, 4)
