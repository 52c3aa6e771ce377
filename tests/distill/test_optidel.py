"""OptiDEL: the hardest patches of each class, traced to their rows, harder than random tilings, and the same after a kill."""

import numpy as np
import pytest
import torch

from curate.distill import optidel
from curate.distill.images import Images
from curate.distill.optidel import OptiDEL, _in_order
from curate.distill.tilings import tiled
from curate.distill.zca import Standard
from curate.errors import OptionError, UnknownNameError
from curate.progress import Silent
from curate.rng import KeyedRandom
from curate.testing import check_distiller

CLASSES = 3
SHORT = {"epochs": 4, "regions": 4}


def images(folder, *, n=90, side=8) -> Images:
    """Each class has a bar of its own in one half of the image; the other half is noise that tells nothing."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % CLASSES
    pixels = 60 * torch.rand(n, 1, side, side, generator=draw)
    for row, label in enumerate(labels.tolist()):
        pixels[row, 0, : side // 2, 2 * label : 2 * label + 2] += 180
    made = Standard.fit(pixels)
    rows = np.arange(n) * 10 + 3  # positions in a larger source
    return Images(made.apply(pixels), labels, rows, CLASSES, made, torch.device("cpu"), folder, None, "a" * 32, Silent(), pixels)


def distill(folder, ipc=2, data=None, **options):
    data = images(folder) if data is None else data
    return OptiDEL(**{**SHORT, **options}).settle(data, ipc, None).distill(data, ipc, KeyedRandom(0))


def test_every_rows_hardest_patch_comes_before_any_second_one():
    hardness = np.array([[5.0, 4.0], [1.0, np.nan], [3.0, 2.0]])

    # hardest of each row 5, 3, 1 (flat 0, 4, 2); then the second ones 4 and 2 (flat 1, 5); without the hardest: 4, 3, 1, then 2
    assert _in_order(hardness, 0.0).tolist() == [0, 4, 2, 1, 5]
    assert _in_order(hardness, 0.2).tolist() == [1, 4, 2, 5]


def test_tiles_trace_to_rows_of_their_class_and_show_what_lies_there(tmp_path):
    data = images(tmp_path)

    made = distill(tmp_path, data=data)

    assert made.tiles.shape == (6, 4, 5)
    place = (made.tiles[:, :, 0] - 3) // 10
    assert np.isin(made.tiles[:, :, 0], data.rows).all()
    np.testing.assert_array_equal(data.labels.numpy()[place], np.repeat(made.labels[:, None], 4, 1))
    again = tiled(data.pixels, torch.from_numpy(place), torch.from_numpy(made.tiles[:, :, 1:]))
    np.testing.assert_allclose(made.images, again.numpy(), atol=1e-2)  # there and back through the transform
    assert len(np.unique(place)) == place.size  # 24 tiles of 90 rows: none gives two


@pytest.mark.parametrize("difficulty", ["margin", "loss"])
@pytest.mark.parametrize("segmenter", ["slic", "grid"])
def test_the_images_are_harder_for_the_proxy_than_random_tilings(tmp_path, difficulty, segmenter):
    facts = distill(tmp_path, difficulty=difficulty, segmenter=segmenter, epochs=12).facts

    assert facts["proxy_accuracy"] > 0.9
    assert facts["proxy_loss"] > facts["proxy_loss_of_random_tilings"] + 0.1
    assert facts["harder_than_random_tilings"] > 0.6


def test_random_tilings_are_no_harder_than_random_tilings(tmp_path):
    facts = distill(tmp_path, ipc=6, difficulty="random", epochs=12).facts

    assert 0.3 < facts["harder_than_random_tilings"] < 0.7


def test_the_chosen_patches_are_the_hardest_of_a_loop_over_patches(tmp_path):
    data = images(tmp_path, n=45)
    made = distill(tmp_path, ipc=1, data=data, difficulty="loss")
    method = OptiDEL(**SHORT, difficulty="loss").settle(data, 1, None)
    proxy = optidel.squeeze("convnet", data, optidel.Squeeze(4), 0, Silent().task("x", 1, "y").__enter__())

    hardest = {code: [] for code in range(CLASSES)}
    for place in range(45):
        pixels = data.transform.invert(data.images[place : place + 1])
        boxes = optidel.framed(optidel.find_segmenter("slic", method.regions).boxes(pixels), 8, 8, 2)[0]
        losses = []
        for box in boxes:
            seen = data.transform.apply(tiled(pixels, torch.zeros(1, 4, dtype=torch.long), box.expand(1, 4, 4)))
            loss = torch.nn.functional.cross_entropy(optidel.logits_of(proxy, seen), data.labels[place : place + 1])
            losses.append(float(loss) if seen.std(correction=0) >= optidel.FLAT else -1.0)
        hardest[int(data.labels[place])].append((max(losses), int(data.rows[place])))

    for code in range(CLASSES):
        expected = [row for _, row in sorted(hardest[code], reverse=True)[:4]]
        assert sorted(made.tiles[made.labels == code, :, 0].ravel().tolist()) == sorted(expected)


def test_patches_without_contrast_are_left_out(tmp_path):
    data = images(tmp_path)
    pixels = data.pixels.clone()
    pixels[:, :, 4:] = 30  # the lower half of every image is flat
    data = Images(data.transform.apply(pixels), *(getattr(data, name) for name in ("labels", "rows", "classes", "transform", "device")),
                  tmp_path, None, "b" * 32, Silent(), pixels)  # fmt: skip

    made = distill(tmp_path, data=data, segmenter="grid", regions=9)

    assert (made.tiles[:, :, 1] < 4).all()


def test_a_killed_job_goes_on_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(optidel, "CHUNK", 16)
    whole = distill(tmp_path / "whole")
    judge, calls = OptiDEL._judge, []

    def stopped(self, *given):
        calls.append(len(given[2]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return judge(self, *given)

    monkeypatch.setattr(OptiDEL, "_judge", stopped)
    with pytest.raises(KeyboardInterrupt):
        distill(tmp_path / "killed")
    made = distill(tmp_path / "killed")

    assert len(calls) == 3 + 4  # two of six files were there already
    assert made.images.tobytes() == whole.images.tobytes() and made.facts == whole.facts
    np.testing.assert_array_equal(made.tiles, whole.tiles)


def test_rows_are_looked_at_by_key_and_time_is_kept_to(tmp_path):
    data = images(tmp_path)

    made = distill(tmp_path, data=data, rows=8)

    assert {len(np.unique(made.tiles[made.labels == code, :, 0])) for code in range(CLASSES)} == {8}
    settled = OptiDEL(regions=4).settle(data, 2, 1e-9)
    assert (settled.epochs, settled.rows) == (1, 8)
    assert OptiDEL(regions=4, epochs=3).settle(data, 2, 1e-9).epochs == 1


def test_what_cannot_be_is_said_before_or_when_it_is_seen(tmp_path):
    data = images(tmp_path)
    for options, says in (
        ({"tiles": 5}, "5 tiles across 8 pixels leave less than 2 each. Use tiles=2."),
        ({"regions": 0}, "regions must be 1 or more, got 0"),
        ({"skip": 1.0}, "skip is a share"),
        ({"segmenter": "mine.py:Mine"}, "has its own. Leave it out"),
    ):
        with pytest.raises(OptionError, match=says):
            OptiDEL(**{**SHORT, **options}).settle(data, 2, None)
    with pytest.raises(UnknownNameError, match='Did you mean "convnet"'):
        OptiDEL(network="convent")
    with pytest.raises(OptionError, match="has 8 patches that show something, but --ipc 3 of 4 tiles asks for 12"):
        distill(tmp_path / "few", ipc=3, regions=1, rows=8)


def test_it_keeps_what_distillers_promise():
    check_distiller(OptiDEL(epochs=2, regions=4))


@pytest.mark.gpu
def test_a_gpu_makes_the_same_images(tmp_path):
    here = images(tmp_path / "cpu")
    there = Images(here.images.cuda(), here.labels.cuda(), here.rows, CLASSES, Standard.fit(here.pixels.cuda()), torch.device("cuda"),
                   tmp_path / "gpu", None, "a" * 32, Silent(), here.pixels.cuda())  # fmt: skip

    found = [distill(data.folder, data=data, difficulty="random").tiles for data in (here, there)]

    assert np.mean(found[0] == found[1]) > 0.9  # the same draws; boxes may differ where rounding moves a pixel
