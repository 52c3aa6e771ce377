"""The decoupled distillers: statistics, groups that do not know of each other, votes, labels by the batch, and going on after a kill."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from curate.distill import cv_dd
from curate.distill.cv_dd import CVDD
from curate.distill.images import Images
from curate.distill.recovery import Recipe, Voter, crop_box, recover, statistics, total_loss
from curate.distill.sre2l import SRe2L
from curate.distill.teachers import TEACHERS, Squeeze, batch_logits, squeeze
from curate.distill.zca import Standard
from curate.errors import InputError, OptionError, UnknownNameError
from curate.progress import Silent
from curate.rng import KeyedRandom

CLASSES = 3
SHORT = {"teacher_epochs": 2, "iterations": 3}


@pytest.fixture(autouse=True)
def quick_priors(monkeypatch):
    monkeypatch.setattr(cv_dd, "STUDENT", replace(cv_dd.STUDENT, steps=3))


def images(folder, *, n=60) -> Images:
    noise = torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % CLASSES
    pixels = (noise + 2 * labels[:, None, None, None]) * 20 + 100
    made = Standard.fit(pixels)
    cpu = torch.device("cpu")
    return Images(made.apply(pixels), labels, np.arange(n), CLASSES, made, cpu, folder, None, "a" * 32, Silent(), pixels)


def distill(method, folder, ipc=2):
    data = images(folder)
    return method.settle(data, ipc, None).distill(data, ipc, KeyedRandom(0))


def teacher(name="resnet", dtype=torch.float64):
    torch.manual_seed(0)
    module = TEACHERS[name]((1, 8, 8), CLASSES).to(dtype)
    for norm in (part for part in module.modules() if isinstance(part, nn.BatchNorm2d)):
        norm.momentum = 1.0  # the running statistics of a trained network are its inputs' own
    module(torch.randn(40, 1, 8, 8, dtype=dtype))
    return module.eval().requires_grad_(False)


def task():
    return Silent().task("x", 1, "y").__enter__()


def test_statistics_are_distances_of_means_and_biased_variances_and_the_first_counts_ten_times():
    module = nn.Sequential(nn.BatchNorm2d(1), nn.BatchNorm2d(1)).eval()
    module[1].running_mean += 1  # the second is given 1, 3 (up to the epsilon) and expects mean 1 and variance 1

    with statistics(module, 1) as found:
        module(torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1))

    # the input 1, 3 has mean 2 and biased variance 1, where mean 0 and variance 1 are expected: 10 x (0 + 2); then |2 - 1|
    assert [one.item() for one in found] == pytest.approx([20.0, 1.0], abs=1e-4)


def test_a_group_moves_as_if_it_were_alone():
    starts = torch.randn(2, CLASSES, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    voters = [Voter(teacher("convnet"), 0.3), Voter(teacher("vgg"), 0.7)]
    recipe = Recipe(iterations=2, lr=0.1, r_bn=0.5, jitter=2)

    def moved(part, keys):
        return recover(part, torch.arange(CLASSES), voters, recipe, keys, KeyedRandom(0), task())

    together = moved(starts, [4, 9])

    torch.testing.assert_close(together[1:], moved(starts[1:], [9]), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(together, starts)


def test_a_crop_is_a_part_of_the_image_with_its_share_of_the_area():
    draw = torch.Generator().manual_seed(0)

    boxes = torch.tensor([crop_box((14, 20), 0.25, draw) for _ in range(300)])

    top, left, height, width = boxes.unbind(1)
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 14).all() and (left + width <= 20).all()
    share = height * width / 280
    assert 0.2 < share.min() < 0.3 and share.max() > 0.9 and 0.55 < share.double().mean() < 0.65  # uniform in 0.25 … 1, rounded
    assert crop_box((8, 8), 1.0, draw)[2] <= 8


def test_with_crops_and_mirrors_a_group_still_moves_as_if_it_were_alone():
    starts = torch.randn(2, CLASSES, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    recipe = Recipe(iterations=3, lr=0.1, r_bn=0.5, jitter=1, crop=0.3, mirror=True)

    def moved(part, keys):
        return recover(part, torch.arange(CLASSES), [Voter(teacher("convnet"))], recipe, keys, KeyedRandom(0), task())

    torch.testing.assert_close(moved(starts, [4, 9])[1:], moved(starts[1:], [9]), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(moved(starts, [4, 9]), moved(starts, [4, 8]))


def test_the_loss_is_the_weighted_sum_of_what_each_voter_says():
    x = torch.randn(1, CLASSES, 1, 8, 8, dtype=torch.float64)
    labels, one, other = torch.arange(CLASSES), teacher("vgg"), teacher("resnet")
    alone = [total_loss(x, labels, [Voter(module)], 0.0) for module in (one, other)]

    assert float(alone[0]) == pytest.approx(float(nn.functional.cross_entropy(one(x[0]), labels)))
    both = total_loss(x, labels, [Voter(one, 0.25), Voter(other, 0.75)], 0.0)
    assert float(both) == pytest.approx(0.25 * float(alone[0]) + 0.75 * float(alone[1]))


def test_recovery_lowers_the_loss_and_holds_pixels_in_their_range():
    starts = torch.randn(1, CLASSES, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    voters, labels = [Voter(teacher("convnet"))], torch.arange(CLASSES)
    limits = (torch.full((1, 1, 1), -1.5, dtype=torch.float64), torch.full((1, 1, 1), 2.0, dtype=torch.float64))

    made = recover(starts, labels, voters, Recipe(30, 0.1, 0.1, 0), [0], KeyedRandom(0), task(), limits)

    assert total_loss(made, labels, voters, 0.1) < 0.8 * total_loss(starts.clamp(-1.5, 2), labels, voters, 0.1)
    assert float(made.min()) >= -1.5 and float(made.max()) <= 2.0


def test_labels_by_the_batch_are_those_of_training_mode_and_leave_the_teacher_as_it_was():
    module = teacher(dtype=torch.float32)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    x = torch.randn(16, 1, 8, 8)

    found = batch_logits(module, x)

    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    torch.testing.assert_close(found, torch.cat([module.train()(x[:8]), module(x[8:])]))


def test_pairs_vote_in_turn_and_the_better_voter_weighs_more():
    method = CVDD(teachers=("resnet", "vgg", "convnet"))
    method._priors = {"resnet": 60.0, "vgg": 65.0, "convnet": 50.0}

    assert method._pairs(1) == [("resnet", "vgg")]
    assert method._pairs(4) == [("resnet", "vgg"), ("resnet", "convnet"), ("vgg", "convnet"), ("resnet", "vgg")]
    # softmax of 60/5 and 65/5 is 1/(1+e) and e/(1+e)
    assert method._weights(("resnet", "vgg"), 5.0) == pytest.approx([0.26894142, 0.73105858])


@pytest.mark.parametrize("method", [SRe2L(**SHORT), SRe2L(start="real", **SHORT), CVDD(teachers=("vgg", "resnet"), **SHORT)])
def test_a_set_has_a_class_after_another_with_soft_labels_and_is_the_same_again(method, tmp_path):
    made = distill(method, tmp_path / "a")

    assert made.images.shape == (6, 1, 8, 8) and made.labels.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(made.soft_labels.sum(1), 1, rtol=1e-5)
    pixels = images(tmp_path).pixels.numpy()
    assert made.images.min() >= pixels.min() - 1e-3 and made.images.max() <= pixels.max() + 1e-3
    again = distill(method, tmp_path / "b")
    assert np.array_equal(made.images, again.images) and np.array_equal(made.soft_labels, again.soft_labels)


def test_what_a_killed_job_left_is_taken_up_and_the_rest_made_the_same(tmp_path):
    made = distill(CVDD(**SHORT), tmp_path, ipc=3)
    first = (tmp_path / "teachers" / "resnet.safetensors").stat().st_mtime_ns
    for lost in ("recovered/cv_dd-00001.safetensors", "teachers/vgg.safetensors", "priors.json"):
        (tmp_path / lost).unlink()

    again = distill(CVDD(**SHORT), tmp_path, ipc=3)

    assert np.array_equal(made.images, again.images) and np.array_equal(made.soft_labels, again.soft_labels)
    assert (tmp_path / "teachers" / "resnet.safetensors").stat().st_mtime_ns == first


def test_a_teacher_of_other_data_or_another_recipe_is_trained_anew(tmp_path):
    data = images(tmp_path)
    one = squeeze("vgg", data, Squeeze(1), 0, task())
    other = squeeze("vgg", data, Squeeze(2), 0, task())

    assert not torch.equal(one[0].weight, other[0].weight)


def test_minutes_cut_the_work_to_the_time(tmp_path):
    data = images(tmp_path)

    settled = SRe2L().settle(data, 2, 0.001)

    assert settled.iterations < 300 and settled.teacher_epochs < 60


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"teachers": ("resnet",)}, OptionError, "two teachers or more"),
        ({"teachers": ("resnet", "resnet")}, OptionError, "named twice"),
        ({"teachers": ("resnet", "vg")}, UnknownNameError, 'Did you mean "vgg"'),
        ({"iterations": 0}, OptionError, "iterations must be above 0"),
        ({"r_bn": -1.0}, OptionError, "r_bn must be 0 or more"),
        ({"crop": 1.5}, OptionError, "crop is a share"),
    ],
)
def test_what_cannot_be_is_refused(options, error, says):
    with pytest.raises(error, match=says):
        CVDD(**options)


def test_images_that_run_away_are_an_error_that_names_a_rate(tmp_path):
    with pytest.raises(InputError, match="lr_img=1e\\+19"):
        distill(SRe2L(lr_img=1e20, r_bn=1e30, **SHORT), tmp_path)


def test_what_is_not_told_follows_the_start_and_the_size_of_the_images(tmp_path):
    data = images(tmp_path)

    def settled(method):
        made = method.settle(data, 2, None)
        return made.iterations, made.lr_img, made.crop

    # real images are moved gently; 8 pixels a side are too few to crop
    gentle = (60, 0.02, 1.0)
    assert [settled(method) for method in (SRe2L(), SRe2L(start="real"), CVDD())] == [(300, 0.25, 1.0), gentle, gentle]
    assert settled(CVDD(lr_img=0.1, crop=0.5)) == (60, 0.1, 0.5)
    larger = replace(data, images=nn.functional.interpolate(data.images, (32, 32)))
    assert CVDD(iterations=1).settle(larger, 2, None).crop == 0.08


def test_labels_by_the_batch_are_an_option_of_the_single_teacher(tmp_path):
    own, batch = (distill(SRe2L(start="real", batch_labels=value, **SHORT), tmp_path) for value in (False, True))

    assert np.array_equal(own.images, batch.images) and not np.array_equal(own.soft_labels, batch.soft_labels)
    module = squeeze("resnet", images(tmp_path), Squeeze(2), 0, task())
    x = images(tmp_path).transform.apply(torch.from_numpy(batch.images)).view(CLASSES, 2, 1, 8, 8).transpose(0, 1).flatten(0, 1)
    # the teacher saw one of every class after another; the set is class by class
    expected = torch.softmax(batch_logits(module, x), 1).view(2, CLASSES, CLASSES).transpose(0, 1).flatten(0, 1)
    np.testing.assert_allclose(batch.soft_labels, expected, atol=1e-4)
