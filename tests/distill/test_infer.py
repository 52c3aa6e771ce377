"""INFER: what is stored, how it expands, that a compensator is shared by all classes, and going on after a kill."""

import numpy as np
import pytest
import torch
from torch import nn

from curate.compensated import Compensated
from curate.distill.decoupled import real_starts
from curate.distill.images import Images
from curate.distill.infer import INFER
from curate.distill.recovery import Recipe, Voter, recover, total_loss
from curate.distill.teachers import TEACHERS, Squeeze, squeeze
from curate.distill.zca import Standard
from curate.errors import OptionError
from curate.progress import Silent
from curate.rng import KeyedRandom
from curate.testing import check_distiller

CLASSES = 3
SHORT = {"teacher_epochs": 1, "iterations": 3, "teachers": ("vgg", "convnet")}


def images(folder, *, n=60) -> Images:
    noise = torch.randint(0, 100, (n, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % CLASSES
    pixels = (noise + 50 * labels[:, None, None, None]).to(torch.uint8)
    made = Standard.fit(pixels)
    return Images(made.apply(pixels), labels, np.arange(n), CLASSES, made, torch.device("cpu"), folder, None, "a" * 32, Silent(), pixels)


def distill(folder, ipc=4, **options):
    data = images(folder)
    return INFER(**{**SHORT, **options}).settle(data, ipc, None).distill(data, ipc, KeyedRandom(0))


def test_a_compensator_is_added_to_an_image_of_every_class_and_sums_stay_in_range():
    originals = np.array([[10, 20], [30, 250]], np.uint8).reshape(2, 2, 1, 1, 1)  # two classes, two images each
    compensators = np.array([[5, -50]], np.int8).reshape(1, 2, 1, 1, 1)  # of one teacher
    compact = Compensated(originals, compensators, np.array([[1.0, 0.5]], np.float32), np.zeros(1, np.float32), np.full(1, 255, np.float32))

    found, labels = compact.expand()

    # class 0: 10, 20, 10 + 5, 20 - 25 held at 0; class 1: 30, 250, 30 + 5, 250 - 25
    assert found.reshape(2, 4).tolist() == [[10, 20, 15, 0], [30, 250, 35, 225]]
    assert labels.tolist() == [0] * 4 + [1] * 4
    assert compact.stored == 6 and compact.bytes == 4 * 1 + 2 * 1 + 2 * 4


def test_the_compact_form_is_read_back_with_its_classes(tmp_path):
    made = distill(tmp_path).compact
    made.save(tmp_path / "x.safetensors")

    again = Compensated.load(tmp_path / "x.safetensors")

    assert np.array_equal(again.expand()[0], made.expand()[0]) and again.names == ()


def test_the_gradient_of_a_shared_compensator_is_the_sum_over_classes():
    torch.manual_seed(0)
    module = TEACHERS["convnet"]((1, 8, 8), CLASSES).double().eval().requires_grad_(False)
    base, labels = torch.randn(1, CLASSES, 1, 8, 8, dtype=torch.float64), torch.arange(CLASSES)
    shared = torch.zeros(1, 1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    each = torch.zeros_like(base, requires_grad=True)

    (one,) = torch.autograd.grad(total_loss(base + shared, labels, [Voter(module)], 0.5), shared)
    (many,) = torch.autograd.grad(total_loss(base + each, labels, [Voter(module)], 0.5), each)

    torch.testing.assert_close(one, many.sum(1, keepdim=True))


def test_recovery_on_a_base_moves_what_is_added_and_lowers_the_loss():
    torch.manual_seed(0)
    module = TEACHERS["vgg"]((1, 8, 8), CLASSES).double().eval().requires_grad_(False)
    for norm in (part for part in module.modules() if isinstance(part, nn.BatchNorm2d)):
        norm.running_mean += 0.3
    base, labels, voters = torch.randn(1, CLASSES, 1, 8, 8, dtype=torch.float64), torch.arange(CLASSES), [Voter(module)]
    task = Silent().task("x", 1).__enter__()

    found = recover(torch.zeros_like(base[:, :1]), labels, voters, Recipe(20, 0.1, 0.1, 0), [0], KeyedRandom(0), task, None, base)

    assert found.shape == (1, 1, 1, 8, 8)
    assert total_loss(base + found, labels, voters, 0.1) < 0.9 * total_loss(base, labels, voters, 0.1)


def test_a_set_holds_real_rows_no_labels_and_no_more_images_than_asked_for(tmp_path):
    made = distill(tmp_path, ipc=4)

    # floor(4 x 3 / (3 + 2)) = 2 real images a class; 3 x 2 + 2 x 2 = 10 of 12 stored; (2 + 1) x 2 = 6 a class to train on
    assert made.compact.originals.shape == (3, 2, 1, 8, 8) and made.compact.compensators.shape == (2, 2, 1, 8, 8)
    assert made.compact.stored == 10 and np.bincount(made.labels).tolist() == [6, 6, 6] and made.soft_labels is None
    pixels = images(tmp_path).pixels.numpy()
    assert all((pixels == original).all((1, 2, 3)).any() for original in made.compact.originals.reshape(-1, 1, 8, 8))
    assert np.abs(made.compact.compensators).max((2, 3, 4)).tolist() == [[127, 127], [127, 127]]
    assert made.compact.scales.max() > 1 / 127  # it moved by more than a grey level
    assert made.images.min() >= pixels.min() - 1e-3 and made.images.max() <= pixels.max() + 1e-3


def test_what_a_killed_job_left_is_taken_up_and_the_rest_made_the_same(tmp_path):
    made = distill(tmp_path)
    for lost in ("recovered/infer-00002.safetensors", "teachers/vgg.safetensors"):
        (tmp_path / lost).unlink()

    assert np.array_equal(distill(tmp_path).images, made.images)


def test_unless_told_there_are_as_many_teachers_as_there_is_room_for(tmp_path):
    data = images(tmp_path)

    assert INFER(iterations=1, teacher_epochs=1).settle(data, 2, None).teachers == ("resnet", "mobilenet", "vgg")
    with pytest.raises(OptionError, match="Use --ipc 2 or more"):
        INFER(**SHORT).settle(data, 1, None)
    with pytest.raises(OptionError, match="no teacher is named"):
        INFER(teachers=())


def test_it_keeps_what_every_distiller_promises():
    check_distiller(INFER(**SHORT))


def test_the_real_images_are_of_middling_loss_or_drawn_at_random(tmp_path):
    middling, random = (distill(tmp_path / start, start=start).compact for start in ("middling", "random"))

    data = images(tmp_path)
    teachers = [squeeze(name, data, Squeeze(1), 0, Silent().task("x", 1, "y").__enter__()) for name in SHORT["teachers"]]
    expected = data.transform.invert(real_starts(data, 2, teachers).transpose(0, 1).flatten(0, 1)).round()
    assert np.array_equal(middling.originals.reshape(-1, 1, 8, 8), expected.numpy()) and middling.originals.shape == random.originals.shape
    assert not np.array_equal(middling.originals, random.originals)
