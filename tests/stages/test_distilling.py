import hashlib
import re
from dataclasses import replace

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

import curate
from curate.distill import evaluation
from curate.distill.infer import INFER
from curate.errors import InputError, OptionError, OtherJobError, UnknownNameError, UsageError
from curate.progress import Silent
from curate.protocols import Distilled, Training
from curate.stages.distilling import picture, plan, synthesize
from curate.stages.exporting import export
from curate.stages.reporting import report
from curate.synthetic import DISTILLED, EVERYTHING, Synthetic, robust_scores

TRAINING = Training(lr=0.05, steps=8, network="mlp", width=8)


class Halfway:
    """The first real images of each class, a tenth darker; soft labels with `soft`. Stops once after `stop` iterations of three."""

    version = 1
    whiten = None
    seen: tuple[str, ...] = ()
    stop = False

    def __init__(self, *, soft: bool = False, network: str = "mlp", rounds: int | None = None) -> None:
        self.soft, self.network, self.rounds = soft, network, rounds

    def settle(self, data, ipc, minutes):
        return Halfway(soft=self.soft, network=self.network, rounds=self.rounds or 3)

    def cost(self, data, ipc):
        return 1.0, 1000

    def distill(self, data, ipc, rng):
        Halfway.seen = tuple(sorted(name for name in dir(data) if not name.startswith("_")))
        if Halfway.stop:
            Halfway.stop = False
            raise KeyboardInterrupt
        labels = data.labels.numpy()
        rows = np.concatenate([np.flatnonzero(labels == code)[:ipc] for code in range(data.classes)])
        pixels = data.transform.invert(data.images[rows]) * 0.9
        hot = np.eye(data.classes, dtype=np.float32)[labels[rows]]
        soft = 0.9 * hot + np.float32(0.1 / data.classes) if self.soft else None
        return Distilled(
            pixels.numpy(), labels[rows], replace(TRAINING, network=self.network), soft, 0.05 if self.soft else None, {"loss": [2.0, 1.0]}
        )


def pixels_of(n=40, side=8, channels=None, seed=0):
    """Two classes, dark and bright."""
    rng, labels = np.random.default_rng(seed), np.arange(n) % 2
    shape = (n, side, side) if channels is None else (n, side, side, channels)
    noise = rng.integers(0, 120, shape)
    return (noise + 120 * labels.reshape(-1, *[1] * (len(shape) - 1))).astype(np.uint8), labels


def image_table(images, labels, names=("dark", "bright")):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
    return datasets.Dataset.from_dict({"image": images, "label": list(labels)}, features=features)


def bytes_of(folder):
    skipped = ("log.jsonl", ".lock")
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in skipped and ".cache" not in path.parts
    }


def made(tmp_path, method=None, data=None, **given):
    given = {"ipc": 3, "test": pixels_of(20, seed=9), "seeds": 2, "out": tmp_path / "out", **given}
    return synthesize(pixels_of() if data is None else data, method or Halfway(), **given)


def test_the_folder_reloads_bit_for_bit_as_a_dataset(tmp_path):
    found = made(tmp_path, Halfway(soft=True))
    whole = found.read()

    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")).with_format("numpy")

    assert loaded["image"][:].dtype == np.float32
    assert loaded["image"][:].transpose(0, 3, 1, 2).tobytes() == whole.images.tobytes()
    assert loaded["label"][:].tolist() == [0] * 3 + [1] * 3
    assert loaded["soft_label"][:].tobytes() == whole.soft_labels.tobytes()
    assert found.dataset()["image"][:].tobytes() == loaded["image"][:].tobytes()
    assert (tmp_path / "out" / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_every_set_is_tested_beside_the_distilled_one(tmp_path):
    summary = made(tmp_path, Halfway(soft=True)).summary()
    lines = {(one["set"], one["labels"]): one for one in summary["results"]}

    assert list(lines) == [
        (DISTILLED, "hard"),
        (DISTILLED, "soft"),
        ("random, as many images", "hard"),
        ("random", "hard"),
        ("random, taught", "soft"),
        ("k_center", "hard"),
        ("herding", "hard"),
        (EVERYTHING, "hard"),
        ("distilled, augmentation switched", "soft"),
        ("random, augmentation switched", "soft"),
    ]
    # 6 images of 64 float32 pixels, a label of 8 bytes and 2 soft ones; a real row is 64 + 8 bytes
    assert lines[DISTILLED, "soft"]["bytes"] == 6 * (256 + 8 + 8)
    assert lines["random", "hard"]["rows"] == 2 * (6 * 272 // 72 // 2)
    assert lines[EVERYTHING, "hard"]["accuracy"]["mean"] > 0.8
    assert set(lines[DISTILLED, "soft"]["minus"]) == {"random, as many images", "random", "k_center", "herding"}
    assert lines["distilled, augmentation switched", "soft"]["accuracy"] != lines[DISTILLED, "soft"]["accuracy"]
    gain = lines[DISTILLED, "soft"]["accuracy"]["mean"] - lines["random, taught", "soft"]["accuracy"]["mean"]
    assert summary["robust"]["gain"] == pytest.approx(gain)
    assert summary["rate"] == 0.05
    assert summary["loss"] == {"loss": [2.0, 1.0]}


@pytest.mark.parametrize("rows", [40, 8], ids=["rows-to-spare", "no-row-to-spare"])
def test_the_rate_of_real_rows_is_chosen_on_training_rows_and_the_test_set_asked_once(rows, tmp_path, monkeypatch):
    asked, trained = [], []
    accuracies, train = evaluation.Ensemble.accuracies, evaluation.train

    def watched(ensemble, images, labels):
        asked.append((images, trained[-1]))
        return accuracies(ensemble, images, labels)

    monkeypatch.setattr(evaluation.Ensemble, "accuracies", watched)
    monkeypatch.setattr(evaluation, "train", lambda known, *rest: trained.append(known.images) or train(known, *rest))

    found = made(tmp_path, Halfway(soft=True), pixels_of(rows))

    trials = [(images, known) for images, known in asked if len(images) != 20]  # 20 test rows
    assert len(asked) - len(trials) == len(found.summary()["results"])
    assert len(trials) == 3 * 7  # rates, and sets of real rows
    if rows == 40:
        assert not any((known == image).flatten(1).all(1).any() for images, known in trials for image in images)


def test_the_robust_scores_are_the_formulas_of_dd_ranking():
    accuracies = {
        (DISTILLED, "hard"): 0.5,
        (DISTILLED, "soft"): 0.7,
        ("random, taught", "soft"): 0.6,
        (EVERYTHING, "hard"): 0.9,
        ("distilled, augmentation switched", "soft"): 0.65,
        ("random, augmentation switched", "soft"): 0.35,
    }
    lines = [{"set": name, "labels": labels, "network": "mlp", "accuracy": {"mean": mean}} for (name, labels), mean in accuracies.items()]

    found = robust_scores(lines, "mlp")

    # labels: 0.5 (0.7 - 0.6) - 0.5 (0.9 - 0.5) = -0.15; augmentation: 0.5 x 0.1 + 0.5 (0.65 - 0.35) = 0.2; (e^a - 1/e) / (e - 1/e)
    assert found["label"] == pytest.approx((np.exp(-0.15) - np.exp(-1)) / (np.e - np.exp(-1)))
    assert found["augmentation"] == pytest.approx((np.exp(0.2) - np.exp(-1)) / (np.e - np.exp(-1)))
    assert robust_scores(lines[:-1], "mlp") is None


def test_a_compact_set_is_stored_without_labels_and_expanded_wherever_rows_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(INFER, "_training", lambda self, data: TRAINING)
    found = made(tmp_path, INFER(teachers=("vgg",), teacher_epochs=1, iterations=2), seeds=1)
    out, test = tmp_path / "out", pixels_of(20, seed=9)

    # floor(3 x 2 / (2 + 1)) = 2 real images of each of two classes and 2 compensators: 4 x 64 bytes and 2 x (64 + 4)
    assert found.summary()["stored"] == {"images": 6, "bytes": 4 * 64 + 2 * (64 + 4), "label_bytes": 0}
    assert [path.name for path in (out / "data").iterdir()] == ["compensated.safetensors"]
    rows = found.dataset()
    assert rows["label"][:].tolist() == [0] * 4 + [1] * 4 and rows["image"][:].shape == (8, 8, 8, 1)
    loaded = curate.load(out)
    assert (len(loaded), loaded.modality, loaded.label_names) == (8, "image", ("0", "1"))
    exported = export(out, out=tmp_path / "rows")
    again = datasets.load_dataset(str(exported), split="train", cache_dir=str(tmp_path / "cache")).with_format("numpy")
    assert again["image"][:].tobytes() == rows["image"][:].tobytes()
    assert "compensated" not in (exported / "README.md").read_text()

    code = re.search(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)[1]
    monkeypatch.chdir(out)
    names = {}
    exec(code, names)
    assert torch.equal(names["images"], torch.tensor(found.read().images)) and names["y"].tolist() == rows["label"][:].tolist()
    assert 0 <= names["accuracy"](torch.tensor(test[0])[:, :, :, None], torch.tensor(test[1])) <= 1


def test_a_distilled_set_has_a_page_of_its_own(tmp_path):
    found = made(tmp_path, Halfway(soft=True))

    page = report(found.path, tmp_path / "page.html").read_text()

    assert 'src="data:image/png;base64,' in page and "loss over 2 iterations: 2 to 1" in page
    assert "random, as many images" in page and EVERYTHING in page and "label-robust score" in page
    with pytest.raises(UsageError, match="stands alone"):
        report(found.path, tmp_path / "page.html", data=pixels_of())


def test_without_a_test_set_a_fifth_of_the_rows_is_one_and_said_to_be_unseen(tmp_path):
    found = made(tmp_path, test=None).summary()

    assert found["test"]["rows"] == 8 and found["test"]["from"] == "a fifth of the rows, which the distiller did not see"
    assert {one["set"]: one["rows"] for one in found["results"]}[EVERYTHING] == 32


def test_a_distiller_never_meets_the_test_set(tmp_path):
    made(tmp_path)

    assert Halfway.seen == (
        "classes",
        "device",
        "fingerprint",
        "folder",
        "images",
        "labels",
        "pixels",
        "progress",
        "rows",
        "runs",
        "transform",
    )


@pytest.mark.parametrize(("channels", "network"), [(None, "convnet"), (3, "mlp")], ids=["grey", "whitened colour"])
def test_the_code_of_the_card_reaches_the_accuracy_that_it_states(channels, network, tmp_path, monkeypatch):
    """With nothing but torch and datasets: the code imports no more, and runs where no curate is named."""
    test = pixels_of(200, channels=channels, seed=9)
    found = made(tmp_path, Halfway(network=network), pixels_of(60, channels=channels), test=test)
    card = (tmp_path / "out" / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    stated = next(one["accuracy"]["mean"] for one in found.summary()["results"] if one["set"] == DISTILLED)
    monkeypatch.chdir(tmp_path / "out")
    names = {}

    exec(code, names)

    images = torch.tensor(test[0]).reshape(200, 8, 8, -1)
    assert abs(names["accuracy"](images, torch.tensor(test[1])) - stated) < 0.01
    assert "curate" not in code
    assert found.summary()["whitened"] == (channels == 3)


def test_a_killed_job_leaves_the_bytes_of_an_undisturbed_one(tmp_path, monkeypatch):
    whole = made(tmp_path, out=tmp_path / "whole")
    Halfway.stop = True
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path)
    monkeypatch.setattr("curate.synthetic.distilled_card", _killed)
    with pytest.raises(KeyboardInterrupt):  # after the tests, before the card
        made(tmp_path)
    monkeypatch.undo()
    with pytest.raises(InputError, match="is not finished"):
        Synthetic.open(tmp_path / "out")

    made(tmp_path)

    assert bytes_of(tmp_path / "out") == bytes_of(whole.path)


def _killed(*arguments):
    raise KeyboardInterrupt


def test_a_finished_job_is_not_done_again(tmp_path, monkeypatch):
    before = made(tmp_path).summary()
    monkeypatch.setattr(Halfway, "distill", _killed)

    assert made(tmp_path).summary() == before


def test_another_job_in_the_folder_is_refused_and_overwriting_replaces_it(tmp_path):
    made(tmp_path)

    with pytest.raises(OtherJobError, match="ipc: 3 there, 2 here"):
        made(tmp_path, ipc=2)
    with pytest.raises(OtherJobError, match="of another dataset"):
        made(tmp_path, data=pixels_of(seed=3))

    assert made(tmp_path, ipc=2, overwrite=True).summary()["images"] == 4


def test_without_a_folder_the_set_lives_in_the_object():
    found = synthesize(pixels_of(), Halfway(), ipc=1, test=pixels_of(20, seed=9), seeds=1)

    assert len(found.dataset()) == 2
    assert found.read().images.shape == (2, 1, 8, 8)


def test_other_networks_test_the_set_too(tmp_path):
    results = made(tmp_path, networks=["vit"]).summary()["results"]

    assert {one["set"] for one in results if one["network"] == "vit"} == {DISTILLED, "random, as many images", "random", EVERYTHING}


def test_test_rows_that_are_training_rows_too_are_left_out(tmp_path):
    images, labels = pixels_of()

    found = made(tmp_path, test=(images[:10], labels[:10]))

    assert next(one["rows"] for one in found.summary()["results"] if one["set"] == EVERYTHING) == 30


def test_images_need_not_be_square(tmp_path):
    images, labels = pixels_of()

    found = made(tmp_path, Halfway(network="convnet"), (images[:, :, :6], labels), test=(images[::2, :, :6] // 2, labels[::2]))

    assert found.read().images.shape == (6, 1, 8, 6)


class Noted(Silent):
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


def test_an_alpha_channel_is_left_out_and_said(tmp_path):
    images, labels = pixels_of(channels=4)
    noted = Noted()

    found = made(tmp_path, data=(images, labels), test=pixels_of(20, channels=3, seed=9), progress=noted)

    assert found.read().images.shape[1] == 3
    assert any("alpha channel (RGBA), which is left out" in note for note in noted.notes)


def unequal():
    return image_table([Image.new("L", (8 + i % 2, 8), 100 * (i % 2)) for i in range(12)], np.arange(12) % 2)


def mixed():
    return image_table([Image.new("L" if i % 3 else "RGB", (8, 8)) for i in range(12)], np.arange(12) % 2)


def lacking():
    images, labels = pixels_of()
    return image_table([Image.fromarray(image) for image in images], labels, names=("dark", "bright", "blue"))


def one_class():
    images, _ = pixels_of()
    return image_table([Image.fromarray(image) for image in images], np.zeros(40, int), names=("dark", "bright"))


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"ipc": 21}, OptionError, r'Class "\d" has 20 usable rows, but --ipc 21 .* Use --ipc 20 or less'),
        ({"ipc": 0}, OptionError, "1 or more; got 0"),
        ({"seeds": 0}, OptionError, "seeds must be 1 or more"),
        ({"minutes": 0.0}, OptionError, "minutes must be above 0"),
        ({"image_size": 2}, OptionError, "image_size must be 4 or more"),
        ({"networks": ["resnet"]}, UnknownNameError, 'Did you mean "resnet18"'),
        ({"method": "dmm"}, UnknownNameError, 'No distiller named "dmm".*"dm"'),
        ({"method": "dm:iteration=3"}, UnknownNameError, 'Did you mean "iterations"'),
        ({"run": "nowhere"}, InputError, 'run "nowhere" is no folder'),
        ({"data": lambda: pixels_of(side=2)}, InputError, "2 x 2 pixels are too small"),
        ({"data": lambda: (np.zeros((20, 5)), np.arange(20) % 2)}, InputError, "is embedding data"),
        ({"data": unequal}, InputError, r"2 sizes \(8 x 8, 9 x 8\).*--image-size 8"),
        ({"data": mixed}, InputError, r"some are in colour \(L, RGB\)"),
        ({"data": lacking}, InputError, 'Class "blue" of .* has no row'),
        ({"data": one_class}, InputError, "one class only"),
        ({"test": lambda: (np.zeros((20, 5)), np.arange(20) % 2)}, InputError, 'No column "image"'),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) and not any(map(callable, value.values())) else None,
)
def test_what_cannot_work_is_refused_before_any_training(given, error, says, tmp_path, monkeypatch):
    given = {key: value() if callable(value) else value for key, value in given.items()}
    monkeypatch.setattr(Halfway, "distill", _killed)
    if "data" in given and "test" not in given:
        given["test"] = None

    with pytest.raises(error, match=f"(?s){says}"):
        made(tmp_path, **{"method": "dm:iterations=2" if "data" in given else Halfway(), **given})


def test_out_of_memory_says_what_to_lower(tmp_path, monkeypatch):
    def full(self, data, ipc, rng):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(Halfway, "distill", full)

    with pytest.raises(curate.errors.DoesNotFitError, match=r"Lower --ipc \(now 3\)"):
        made(tmp_path)


def test_a_plan_says_what_will_be_done_and_writes_nothing(tmp_path):
    planned = plan(pixels_of(), Halfway(), ipc=3)

    assert planned == {
        "method": "halfway",
        "options": {"soft": False, "network": "mlp", "rounds": 3},
        "rows": 32,
        "ipc": 3,
        "seconds": 1.0,
        "memory": 1000,
    }
    assert not list(tmp_path.iterdir())


def test_the_picture_has_a_line_a_class_and_clips():
    images = np.stack([np.full((1, 24, 24), value, np.float32) for value in (-50.0, 10.4, 300.0)])

    drawn = picture(Distilled(images, np.array([0, 1, 1]), replace(TRAINING)))

    assert drawn.shape == (100, 100)  # two classes down, two pictures across, of 48 and a border of 2
    assert [int(drawn[0, 0]), int(drawn[50, 0]), int(drawn[50, 50]), int(drawn[0, 60])] == [0, 10, 255, 255]


SEGMENTER = """
import torch

class Corner:
    def boxes(self, pixels):
        return torch.tensor([0, 0, 4, 4]).expand(len(pixels), 1, 4)
"""


@pytest.fixture
def quickly_tested(monkeypatch):
    monkeypatch.setattr("curate.distill.optidel.training_on", lambda *given: TRAINING)


def test_images_cut_from_others_bear_their_rows_ids_and_boxes(tmp_path, quickly_tested):
    pixels, labels = pixels_of()
    table = image_table([Image.fromarray(one) for one in pixels], labels).add_column("name", [f"row-{row}" for row in range(40)])
    data = curate.load(table, label="label", id="name")
    (tmp_path / "mine.py").write_text(SEGMENTER)

    made(tmp_path, f"optidel:segmenter={tmp_path}/mine.py:Corner,epochs=1", data=data)

    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")).with_format("numpy")
    rows, boxes = loaded["source_rows"][:], loaded["source_boxes"][:]
    assert rows.shape == (6, 4) and (boxes == [0, 0, 4, 4]).all()
    assert loaded["source_ids"][:].tolist() == [[f"row-{row}" for row in tiles] for tiles in rows]
    np.testing.assert_array_equal(labels[rows], np.repeat(loaded["label"][:][:, None], 4, 1))
    # a tile of half a side shows the corner as it is
    np.testing.assert_allclose(loaded["image"][:][0, :4, 4:, 0], pixels[rows[0, 1], :4, :4], atol=0.01)
    found = Synthetic.open(tmp_path / "out")
    assert found.summary()["facts"]["patches"] > 0
    np.testing.assert_array_equal(found.read().tiles[:, :, 0], rows)
    manifest, card = ((tmp_path / "out" / name).read_text() for name in ("manifest.json", "README.md"))
    assert str(tmp_path) not in manifest and re.search(r"mine\.py:Corner [0-9a-f]{12}", manifest)
    assert "`source_ids` their ids" in card and "proxy loss of random tilings" in card


def test_another_segmenter_under_the_same_name_is_another_job(tmp_path, quickly_tested):
    (tmp_path / "mine.py").write_text(SEGMENTER)
    method = f"optidel:segmenter={tmp_path}/mine.py:Corner,epochs=1"
    first = made(tmp_path, method, seeds=1).read()

    assert made(tmp_path, method, seeds=1).read().images.tobytes() == first.images.tobytes()
    (tmp_path / "mine.py").write_text(SEGMENTER + "# changed\n")
    with pytest.raises(OtherJobError, match=r"mine\.py:Corner"):
        made(tmp_path, method, seeds=1)
