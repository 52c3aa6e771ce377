import json
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch

import curate
from curate.errors import (
    ColumnError,
    DoesNotFitError,
    InputError,
    MissingExtraError,
    OptionError,
    OtherDatasetError,
    OtherJobError,
    TooManyFailuresError,
    UnknownNameError,
    UsageError,
)
from curate.plugins import methods, parse
from curate.progress import Silent
from curate.protocols import PerRow
from curate.scores import Scores
from curate.stages import room, scoring
from curate.store import Store

N = 60
FEW = {"epochs": 4, "batch_size": 16}
HERE = ("dynamics", "eval", "probs", "swept", "checkpoints", "label", "content")  # what images with labels give by themselves
OF_IMAGES = [name for name in methods("scorers") if {one.split(".")[0] for one in parse("scorers", name).build().requires} <= {*HERE}]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def features(n=N, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return (rng.normal(size=(n, 4)) + labels[:, None]).astype(np.float32), labels


def vectors(n=N, classes=3, seed=0):
    return curate.load(features(n, classes, seed))


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in ("log.jsonl", ".lock")
    }


def epochs_trained(folder):
    return sum(line["what"] == "epoch" for log in folder.glob("runs/*/log.jsonl") for line in map(json.loads, log.read_text().splitlines()))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with every scorer there is, from one run."""
    folder = tmp_path_factory.mktemp("made") / "scores"
    curate.score(curate.load("sample:digits", limit=120), OF_IMAGES, out=folder, epochs=6, batch_size=32)
    return folder


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made, tmp_path / "scores")
    return tmp_path / "scores"


def digits():
    return curate.load("sample:digits", limit=120)


def test_every_scorer_comes_out_of_one_run(made):
    scores = Scores.open(made)

    assert sorted(scores.names) == sorted(OF_IMAGES) and len(scores.names) >= 14
    assert epochs_trained(made) == 6 and len(list(made.glob("runs/*"))) == 1
    for name in scores.names:
        assert scores[name].shape == (120,) and scores[name].dtype == np.float32 and np.isfinite(scores[name]).all(), name


def test_the_manifest_says_what_made_a_score(made):
    about = Scores.open(made).about("el2n")

    assert about["method"] == "el2n" and about["options"] == {"epochs": [3], "norm": 2, "mode": "eval"}
    assert (about["hard_sign"], about["keep"], about["requires"], about["seeds"]) == (1, "high", ["eval.el2n@3"], [0])


def test_no_manifest_holds_a_path_a_host_or_a_clock(made):
    import socket

    for manifest in made.rglob("manifest.json"):
        text = manifest.read_text()
        assert str(made.parent) not in text and socket.gethostname() not in text.split('"')


def test_asking_again_does_nothing(copied):
    before = contents(copied)

    curate.score(digits(), ["aum", "el2n"], out=copied)

    assert contents(copied) == before and epochs_trained(copied) == 6


def test_one_more_scorer_later_does_not_train(copied):
    scores = curate.score(digits(), ["l1=el2n:norm=1,epochs=4", "late=loss:epoch=5"], out=copied)

    assert epochs_trained(copied) == 6
    assert not np.array_equal(scores["l1"], scores["el2n"]) and {"l1", "late", "aum"} <= set(scores.names)


def test_the_same_name_with_other_options_is_refused(copied):
    with pytest.raises(OtherJobError, match=r'already has a "aum" made otherwise.*--scorer NEWNAME=aum') as refused:
        curate.score(digits(), ["aum:skip=0"], out=copied)

    assert refused.value.exit_code == 6


def test_another_dataset_is_refused_with_both_names_and_the_rows_that_differ(copied):
    ours, theirs = digits(), curate.load("sample:digits", limit=118)

    with pytest.raises(
        OtherJobError, match=rf"{ours.fingerprint[:8]}… \(120 rows\).*{theirs.fingerprint[:8]}… \(118 rows\); 2 rows differ"
    ):
        curate.score(theirs, ["aum"], out=copied)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 9}, "epochs: 6 there, 9 here"),
        ({"lr": 0.5}, "lr: 0.05 there, 0.5 here"),
        ({"model": "resnet18"}, "model: convnet there, resnet18 here"),
        ({"seeds": 2}, r"seeds \[0\], here they are \[0, 1\]"),
        ({"seed": 7}, r"seeds \[0\], here they are \[7\]"),
        ({"shard_rows": 10}, "65536 rows a shard, not 10"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_other_parameters_are_another_job(copied, options, message):
    with pytest.raises(OtherJobError, match=message):
        curate.score(digits(), ["aum"], out=copied, **options)


def test_overwriting_starts_anew(copied):
    scores = curate.score(digits(), ["aum"], out=copied, epochs=3, overwrite=True)

    assert list(scores.names) == ["aum"] and epochs_trained(copied) == 3


def test_a_foreign_folder_is_refused_even_with_overwrite(tmp_path):
    (tmp_path / "thesis.tex").write_text("")

    with pytest.raises(OtherJobError, match=r"holds something else \(thesis\.tex\)"):
        curate.score(vectors(), ["random"], out=tmp_path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_is_reused_from_another_store_and_gets_the_clean_passes_it_lacks(tmp_path):
    curate.score(vectors(), ["aum"], out=tmp_path / "first", **FEW)

    scores = curate.score(vectors(), ["el2n", "entropy", "aum"], run=tmp_path / "first", out=tmp_path / "second")

    direct = curate.score(vectors(), ["el2n", "entropy", "aum"], out=tmp_path / "direct", **FEW)
    assert epochs_trained(tmp_path / "second") == 0
    for name in ("el2n", "entropy", "aum"):
        np.testing.assert_array_equal(scores[name], direct[name])


def test_a_run_of_another_dataset_is_refused(tmp_path):
    curate.score(vectors(), ["aum"], out=tmp_path / "first", **FEW)

    with pytest.raises(OtherDatasetError, match="60 rows differ"):
        curate.score(vectors(seed=1), ["aum"], run=tmp_path / "first", out=tmp_path / "second")


@pytest.mark.parametrize("option", ["model", "epochs"])
def test_options_that_a_given_run_was_not_trained_with_are_refused(tmp_path, option):
    curate.score(vectors(), ["aum"], out=tmp_path / "first", **FEW)
    model = own_model(tmp_path, "nn.Linear(shape[0], classes)")

    with pytest.raises(UsageError, match=rf"trained otherwise.*{option}: .* there, .* here"):
        curate.score(vectors(), ["grand"], run=tmp_path / "first", out=tmp_path / "s", **{option: model if option == "model" else 9})


def own_model(folder, built):
    file = folder / "own.py"
    file.write_text(f"from torch import nn\n\ndef build(shape, classes):\n    return {built}\n")
    return f"{file}:build"


def test_a_run_whose_weights_were_deleted_says_how_to_get_them(tmp_path):
    curate.score(vectors(), ["aum"], out=tmp_path / "first", **FEW)
    for weights in (tmp_path / "first").rglob("epoch-*.safetensors"):
        weights.unlink()

    with pytest.raises(InputError, match=r"no checkpoint of epoch .* `--checkpoints all`"):
        curate.score(vectors(), ["grand"], run=tmp_path / "first", out=tmp_path / "second")


def test_a_batch_norm_without_statistics_is_refused_before_the_training(tmp_path):
    model = own_model(tmp_path, "nn.Sequential(nn.BatchNorm1d(shape[0], track_running_stats=False), nn.Linear(shape[0], classes))")

    with pytest.raises(InputError, match="without running statistics"):
        curate.score(vectors(), ["grand"], out=tmp_path / "s", model=model, **FEW)
    assert epochs_trained(tmp_path / "s") == 0


def test_a_folder_without_a_run_is_named(tmp_path):
    curate.score(vectors(), ["random"], out=tmp_path / "first")

    with pytest.raises(OptionError, match=r"first\" holds no training run"):
        curate.score(vectors(), ["aum"], run=tmp_path / "first", out=tmp_path / "second")


def test_seeds_have_a_column_each_and_a_stability(tmp_path):
    scores = curate.score(vectors(), ["aum", "forgetting"], out=tmp_path, seeds=2, **FEW)

    each = [scores["aum.score_seed0"], scores["aum.score_seed1"]]
    np.testing.assert_allclose(scores["aum"], np.mean(each, axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(scores["forgetting"], scores["forgetting.score_seed0"] + scores["forgetting.score_seed1"])
    assert not np.array_equal(*each) and 0 < scores.about("aum")["result"]["stability"] <= 1


def test_how_rows_are_cut_into_shards_changes_no_score(tmp_path):
    names = OF_IMAGES
    whole = curate.score(vectors(), names, out=tmp_path / "whole", **FEW)
    cut = curate.score(vectors(), names, out=tmp_path / "cut", shard_rows=7, **FEW)

    for name in names:
        # What is made of the checkpoints goes through a network in batches of another size, whose products round differently.
        rounding = 1e-6 if any(signal.startswith("swept.") for signal in parse("scorers", name).build().requires) else 0
        for column in whole.columns(name):
            found, expected = cut[f"{name}.{column}"], whole[f"{name}.{column}"]
            if rounding:
                np.testing.assert_allclose(found, expected, rtol=rounding, err_msg=f"{name}.{column}")
            else:
                np.testing.assert_array_equal(found, expected, err_msg=f"{name}.{column}")


def test_workers_give_the_same_bytes(tmp_path):
    data = curate.load("sample:digits", limit=60)
    for workers in (1, 2):
        curate.score(data, ["aum", "datamap", "random"], out=tmp_path / str(workers), shard_rows=25, workers=workers, epochs=3)

    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_a_damaged_shard_is_named_and_recomputed(copied):
    before = contents(copied)
    shard = copied / "aum" / "part-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:-9])
    notes = Notes()

    curate.score(digits(), ["aum"], out=copied, progress=notes)

    assert contents(copied) == before
    assert any('"aum/part-00000.arrow" is damaged' in note for note in notes.kept)


@pytest.mark.parametrize("epoch", [1, 4, 6])
def test_a_damaged_epoch_is_named_and_trained_again(copied, epoch):
    before = contents(copied)
    next(copied.glob(f"runs/*/dynamics/epoch-{epoch:05d}.arrow")).unlink()
    notes = Notes()

    curate.score(digits(), OF_IMAGES, out=copied, progress=notes)

    assert any(f"epoch-{epoch:05d}.arrow is damaged (missing)" in note for note in notes.kept)
    assert contents(copied) == before


class Notes(Silent):
    """A progress that keeps its notes."""

    def __init__(self):
        self.kept = []

    def note(self, message):
        self.kept.append(message)


# --- rows and labels that are not as they should be


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([None] * 6, ColumnError, "missing|no label"),
        ([-1] * 6, ColumnError, "missing"),
        (["a"] * 6, ColumnError, "one class only"),
        ([0.5, 1.5, 0.5, 1.5, 0.5, 1.5], ColumnError, "fractions"),
    ],
    ids=["null", "minus one", "one class", "fractions"],
)
def test_labels_that_cannot_train_a_classifier_are_refused_before_any_work(tmp_path, labels, error, message):
    table = pa.table({"x": np.random.default_rng(0).normal(size=6), "label": labels})

    with pytest.raises(error, match=message):
        curate.score(table, ["aum"], out=tmp_path / "out", **FEW)
    assert not (tmp_path / "out").exists()


def test_a_label_out_of_range_is_named(tmp_path):
    kind = datasets.Features({"x": datasets.Value("float32"), "label": datasets.ClassLabel(names=["a", "b"])})
    table = datasets.Dataset(pa.table({"x": np.float32([1, 2, 3]), "label": [0, 1, 7]}, schema=kind.arrow_schema))

    with pytest.raises(ColumnError, match=r"outside 0 … 1 .*first 7 in row 2"):
        curate.score(table, ["aum"], out=tmp_path / "out", **FEW)


def test_a_missing_label_column_is_named(tmp_path):
    with pytest.raises(ColumnError, match="label"):
        curate.score(pa.table({"x": np.arange(6) + 0.5, "z": np.arange(6) * 2.0}), ["aum"], out=tmp_path / "out", **FEW)


def test_a_class_with_a_single_row_is_scored(tmp_path):
    x, labels = features(20, 2)
    labels[7] = 2

    assert np.isfinite(curate.score((x, labels), ["aum", "datamap", "data_iq"], out=tmp_path, **FEW)["aum"]).all()


def test_classes_of_which_no_row_is_left_by_a_limit_do_no_harm(tmp_path):
    features = datasets.Features(
        {"x": datasets.Value("float32"), "y": datasets.Value("float32"), "label": datasets.ClassLabel(names=list("abcd"))}
    )
    rng = np.random.default_rng(0)
    table = pa.table({"x": rng.normal(size=40), "y": rng.normal(size=40), "label": np.arange(40) // 10}).cast(features.arrow_schema)

    scores = curate.score(curate.load(datasets.Dataset(table), limit=20), ["tdds", "el2n", "entropy"], out=tmp_path, **FEW)

    assert np.isfinite(scores["tdds"]).all() and np.isfinite(scores["el2n"]).all()


def test_rows_without_a_label_have_no_score_and_say_so(tmp_path):
    x, labels = features(40)
    labels[5] = -1

    scores = curate.score((x, labels), ["aum", "el2n", "entropy", "datamap"], out=tmp_path, max_failures=0.1, **FEW)

    for name in ("aum", "el2n", "entropy", "datamap"):
        assert np.flatnonzero(np.isnan(scores[name])).tolist() == [5] and scores.failed(name) == {"no_label": 1}, name
    assert scores.table("aum")["status"].to_pylist()[4:7] == [None, "no_label", None]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
def test_a_row_with_a_number_that_is_none_fails_alone(tmp_path, bad):
    x, labels = features()
    x[3, 1] = bad

    scores = curate.score((x, labels), ["aum", "el2n"], out=tmp_path, max_failures=0.05, **FEW)

    assert np.flatnonzero(np.isnan(scores["aum"])).tolist() == [3]
    assert scores.failed("aum") == scores.failed("el2n") == {"not_finite": 1}


def test_more_failures_than_allowed_stop_the_job_before_it_trains(tmp_path):
    x, labels = features()
    x[:3] = np.nan

    with pytest.raises(
        TooManyFailuresError, match=r"3 of 60 rows cannot be scored \(3 not_finite; the first is row 0\).*--max-failures 5%"
    ) as stopped:
        curate.score((x, labels), ["aum"], out=tmp_path, **FEW)

    assert stopped.value.exit_code == 5 and epochs_trained(tmp_path) == 0


def test_what_the_message_suggests_then_works(tmp_path):
    x, labels = features()
    x[:3] = np.nan
    with pytest.raises(TooManyFailuresError):
        curate.score((x, labels), ["aum"], out=tmp_path, **FEW)

    assert np.isnan(curate.score((x, labels), ["aum"], out=tmp_path, max_failures=0.05, **FEW)["aum"][:3]).all()


def test_a_truncated_image_has_no_score_and_says_why(tmp_path):
    table = datasets.Dataset.from_list(
        [{**row} for row in curate.load("sample:digits", limit=40).table.cast_column("image", datasets.Image(decode=False))]
    )
    cells = [{"bytes": cell["bytes"][:30] if i == 2 else cell["bytes"], "path": None} for i, cell in enumerate(table["image"])]
    broken = (
        table.remove_columns("image")
        .add_column("image", cells)
        .cast_column("image", datasets.Image())
        .cast_column("label", datasets.ClassLabel(num_classes=10))
    )

    scores = curate.score(broken, ["aum"], out=tmp_path, max_failures=0.05, epochs=3)

    assert scores.failed("aum") == {"broken_image": 1} and np.isnan(scores["aum"][2])


def test_rows_that_come_twice_are_scored_twice(tmp_path):
    x, labels = features(20)
    scores = curate.score((np.concatenate((x, x)), np.concatenate((labels, labels))), ["el2n", "entropy"], out=tmp_path, **FEW)

    np.testing.assert_allclose(scores["entropy"][:20], scores["entropy"][20:], rtol=1e-4, atol=1e-6)


def test_a_single_row_is_refused_where_a_model_is_trained(tmp_path):
    with pytest.raises((InputError, ColumnError), match=r"1 row|one class"):
        curate.score((np.float32([[1, 2]]), np.array([0])), ["aum"], out=tmp_path / "out", **FEW)


def test_a_single_row_can_have_a_random_number(tmp_path):
    assert len(curate.score((np.float32([[1, 2]]), np.array([0])), ["random"], out=tmp_path)["random"]) == 1


def test_no_rows_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no rows|0 rows"):
        curate.score(pa.table({"text": pa.array([], pa.string())}), ["random"], out=tmp_path / "out")


# --- what was asked for


@pytest.mark.parametrize(
    ("scorers", "options", "error", "message"),
    [
        (["el2m"], {}, UnknownNameError, r'No scorer named "el2m". Did you mean "el2n"'),
        ([], {}, UsageError, "No scorer is asked for"),
        (["aum", "aum"], {}, UsageError, "asked for 2 times"),
        (["rows=aum"], {}, UsageError, 'cannot be called "rows".*OTHER=aum$'),
        (["aum:skpi=1"], {}, UsageError, 'Did you mean "skip"'),
        (["aum:skip=x"], {}, OptionError, "skip"),
        (["aum:skip=-1"], {}, OptionError, "skip"),
        (["aum"], {"epochs": 1}, OptionError, "aum"),
        (["el2n:epochs=9"], {"epochs": 4}, OptionError, "el2n"),
        (["aum"], {"epochs": 0}, OptionError, "epochs must be 1 or more"),
        (["aum"], {"model": "mpl"}, UnknownNameError, 'Did you mean "mlp"'),
        (["aum"], {"epoch": 3}, UnknownNameError, 'No option "epoch". Did you mean "epochs"'),
        (["aum"], {"model": "timm:resnet18"}, MissingExtraError, "curatekit"),
        (["aum"], {"max_failures": 2}, OptionError, "max_failures"),
        (["aum"], {"workers": 0}, OptionError, "workers must be 1 or more"),
        (["aum"], {"shard_rows": 0}, OptionError, "shard_rows must be 1 or more"),
        (["aum"], {"seeds": 0}, OptionError, "seeds must be 1 or more"),
        (["aum"], {"device": "abacus"}, OptionError, 'Device "abacus"'),
        (["aum"], {"optimizer": "sdg"}, OptionError, 'optimizer.*"sdg"'),
        (["aum"], {"schedule": "step"}, OptionError, 'schedule.*"step"'),
        (["random"], {"epochs": 3}, UsageError, "None of the scorers reads a training run"),
        (["el2n"], {"checkpoints": "none"}, OptionError, "checkpoints"),
        (["el2n:epochs=2"], {"checkpoints": "last", "epochs": 4}, OptionError, "checkpoints"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_done_is_refused_and_leaves_no_job_behind(tmp_path, scorers, options, error, message):
    with pytest.raises(error, match=message):
        curate.score(vectors(), scorers, out=tmp_path / "out", **{**FEW, **options} if scorers != ["random"] else options)

    curate.score(vectors(), ["random"], out=tmp_path / "out", seed=5)  # the folder is still free for any job


def test_a_full_disk_is_foreseen(tmp_path, monkeypatch):
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 10, 0))

    with pytest.raises(DoesNotFitError, match=r"needs about .* GB on the disk"):
        curate.score(vectors(), ["aum"], out=tmp_path / "out", **FEW)


def test_a_second_process_on_one_store_is_refused(copied, held_elsewhere):
    with held_elsewhere(copied), pytest.raises(OtherJobError, match="Another process is writing"):
        curate.score(digits(), ["aum"], out=copied)


def test_a_plan_writes_nothing(tmp_path):
    plan = scoring.plan(vectors(), ["aum", "el2n"], out=tmp_path / "out", **FEW)

    assert plan["rows"] == N and plan["epochs"] == 4 and plan["model"] == "mlp" and plan["seconds"] > 0 and plan["disk"] > 0
    assert not (tmp_path / "out").exists()


# --- scorers of other people's


class Length(PerRow):
    """How long the text is."""

    requires = ("text",)
    calls: list[int] = []

    def score_rows(self, shard):
        self.calls.append(len(shard))
        return {"score": np.float32([len(text) for text in shard["text"]])}


def texts(*cells):
    return curate.load(pa.table({"text": list(cells)}))


def test_row_local_scores_are_taken_over_for_unchanged_rows_and_only_the_others_are_computed(tmp_path):
    curate.score(texts("a", "bb", "ccc", "dd"), [Length()], out=tmp_path / "old")
    Length.calls.clear()

    scores = curate.score(texts("ccc", "a", "new one", "dd"), [Length()], from_store=tmp_path / "old", out=tmp_path / "new")

    assert scores["length"].tolist() == [3, 1, 7, 2] and Length.calls == [1]


def test_where_nothing_changed_nothing_is_computed(tmp_path):
    curate.score(texts("a", "bb"), [Length()], out=tmp_path / "old")
    Length.calls.clear()

    curate.score(texts("bb", "a"), [Length()], from_store=tmp_path / "old", out=tmp_path / "new")

    assert Length.calls == []


def test_scores_of_a_run_are_not_row_local(tmp_path):
    curate.score(vectors(), ["aum"], out=tmp_path / "old", **FEW)

    curate.score(vectors(50), ["aum"], from_store=tmp_path / "old", out=tmp_path / "new", **FEW)

    assert epochs_trained(tmp_path / "new") == 4


def test_an_empty_text_has_no_score_and_says_so(tmp_path):
    scores = curate.score(texts("a", "", None, "dd"), [Length()], out=tmp_path, max_failures=0.5)

    assert scores.failed("length") == {"empty_text": 2}
    np.testing.assert_array_equal(scores["length"], np.float32([1, np.nan, np.nan, 2]))


class Wrong(PerRow):
    """Gives what it was told to."""

    requires = ("text",)
    columns = {}

    def score_rows(self, shard):
        return dict(self.columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"other": np.zeros(2, np.float32)}, 'one called "score" is expected'),
        ({"score": np.zeros(3, np.float32)}, 'gave 3 values of "score" for 2 rows'),
        ({"score": np.zeros(2)}, "type float64; float32 is expected"),
        ({"score": np.float32([1, np.inf])}, "infinite score .*row 1"),
    ],
    ids=["no score", "too many", "double", "infinite"],
)
def test_a_scorer_that_breaks_its_promise_is_named(tmp_path, monkeypatch, columns, message):
    monkeypatch.setattr(Wrong, "columns", columns)

    with pytest.raises(InputError, match=message):
        curate.score(texts("a", "b"), [Wrong()], out=tmp_path)


FILE = '''
import numpy as np
from curate.protocols import PerRow

class Double(PerRow):
    """Twice the label."""

    requires = ("label",)

    def __init__(self, *, times: int = 2) -> None:
        self.times = times

    def score_rows(self, shard):
        return {"score": (self.times * shard["label"]).astype(np.float32)}
'''


def test_a_scorer_in_a_file_is_found_and_noticed_when_it_changes(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    spec = f"{tmp_path}/mine.py:Double:times=3"

    scores = curate.score(vectors(6), [spec], out=tmp_path / "out")

    assert scores["double"].tolist() == [0, 3, 6, 0, 3, 6] and scores.about("double")["options"] == {"times": 3}
    (tmp_path / "mine.py").write_text(FILE + "# changed\n")
    with pytest.raises(OtherJobError, match="source"):
        curate.score(vectors(6), [spec], out=tmp_path / "out")


def test_a_scorer_in_a_file_works_in_other_processes(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    np.savez(tmp_path / "unused.npz")
    datasets.Dataset.from_dict({"x": [0.5, 1.5, 2.5, 3.5], "label": [0, 1, 1, 0]}).to_parquet(tmp_path / "d.parquet")

    scores = curate.score(tmp_path / "d.parquet", [f"{tmp_path}/mine.py:Double"], out=tmp_path / "out", workers=2, shard_rows=2)

    assert scores["double"].tolist() == [0, 2, 2, 0]


def test_a_store_with_a_damaged_manifest_is_named_and_left(copied):
    (copied / "manifest.json").write_text("{")

    with pytest.raises(InputError, match=r"manifest\.json.*is damaged"):
        curate.score(digits(), ["aum"], out=copied)
    assert (copied / "aum" / "part-00000.arrow").exists()
    curate.score(digits(), ["random"], out=copied, overwrite=True)


def test_the_runs_store_is_a_store_like_any_other(made):
    (run,) = made.glob("runs/*")

    assert Store.open(run).kind == "run" and Store.open(run).faults() == []


def test_what_a_long_score_cost_is_told_by_the_row(tmp_path):
    from curate.stages import showing
    from curate.terminal import score_lines

    curate.score(pa.table({"text": ["a text", "another text"]}), ["lexical"], out=tmp_path / "s")
    about = showing.describe(tmp_path / "s")
    assert 0 <= about["scores"][0]["cpu_seconds"] < 10 and "rows/s" not in score_lines(about, None)

    about["scores"][0].update(cpu_seconds=40.0, rows=100_000)

    assert "lexical: 40 CPU s, 2,500 rows/s" in score_lines(about, None)


def test_one_scorer_need_not_be_in_a_list(tmp_path):
    assert curate.score("sample:digits", "random", out=tmp_path / "s").names == ["random"]
