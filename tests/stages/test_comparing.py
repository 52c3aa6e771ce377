import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

import curate
from curate.comparison import Comparison
from curate.errors import (
    ColumnError,
    InputError,
    OptionError,
    OtherDatasetError,
    OtherJobError,
    UnknownNameError,
    UsageError,
)
from curate.progress import Silent
from curate.selection import Selection
from curate.stages.arms import held_rows
from curate.stages.running import RunOptions
from curate.stages.trainers import ProxyTrainer, plan
from curate.store import Store

N = 150
FEW = {"epochs": 2, "batch_size": 16}
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows_of(n, seed, classes=3):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return (2 * rng.normal(size=(n, 4)) + 3 * np.eye(4)[labels]).astype(np.float32), labels


@pytest.fixture(scope="module")
def data():
    return curate.load(rows_of(N, 0))


@pytest.fixture(scope="module")
def test_set():
    return rows_of(90, 1)


def random_rows(data, k, seed=7):
    return curate.select(data, sampler="random", budget=k, seed=seed)


def weighted(selection, weights):
    table = selection.table.set_column(selection.table.column_names.index("weight"), "weight", [weights])
    return Selection(table, selection.dataset_about, selection.job, selection.report, data=selection.data)


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in ("log.jsonl", ".lock")
    }


def by_name(made):
    return {arm["arm"]: arm for arm in made.summary()["arms"]}


def own_function(folder, body, name="train.py", head="def train(dataset, seed):"):
    file = folder / name
    file.write_text(f"{head}\n    {body}\n")
    return f"{file}:train"


@pytest.fixture(scope="module")
def made(data, test_set, tmp_path_factory):
    chosen = {"few": random_rows(data, 30), "many": random_rows(data, 90)}
    return curate.compare(data, chosen, test=test_set, seeds=3, out=tmp_path_factory.mktemp("made") / "out", **FEW)


def test_every_selection_meets_random_rows_of_its_size_and_everything(made):
    arms = by_name(made)

    sizes = {name: arm["rows"] for name, arm in arms.items()}
    assert sizes == {"everything": N, "random-30": 30, "class_random-30": 30, "random-90": 90, "class_random-90": 90, "few": 30, "many": 90}
    assert arms["few"]["baseline"] == "random-30" and arms["many"]["baseline"] == "random-90"
    assert made.summary()["test"] | {"fingerprint": ""} == {"rows": 90, "of": 90, "from": "named by --test", "fingerprint": ""}


def test_equal_steps_are_those_of_everything(made):
    assert set(made.table.column("steps").to_pylist()) == {2 * 10}  # 150 rows in batches of 16


def test_equal_epochs_make_fewer_steps_of_fewer_rows(data, test_set, tmp_path):
    made = curate.compare(data, random_rows(data, 30), test=test_set, seeds=1, budget="epochs", out=tmp_path / "out", **FEW)

    assert [arm["steps"] for arm in made.summary()["arms"]] == [2 * 10, 2 * 2, 2 * 2, 2 * 2]


def test_the_difference_is_paired_by_seed(made):
    lines = made.table.to_pylist()
    accuracy = {(one["arm"], one["seed"]): one["accuracy"] for one in lines}

    found = by_name(made)["few"]["minus_random"]

    assert found["mean"] == pytest.approx(np.mean([accuracy["few", s] - accuracy["random-30", s] for s in range(3)]))
    assert found["low"] <= found["mean"] <= found["high"] and found["seeds"] == 3


def test_random_rows_are_no_better_than_random(made):
    assert {arm["verdict"] for arm in made.summary()["arms"] if arm["kind"] == "selection"} == {"no better than random"}


def test_a_selection_of_wrong_labels_is_worse_than_random(test_set, tmp_path):
    features, labels = rows_of(N, 0)
    wrong = np.arange(N) < 60
    data = curate.load((features, np.where(wrong, (labels + 1) % 3, labels)))
    noise = random_rows(data, 60)
    noise = Selection(noise.table.set_column(0, "row", [np.arange(60)]), noise.dataset_about, noise.job, noise.report, data=data)

    arm = by_name(curate.compare(data, {"noise": noise}, test=test_set, seeds=4, out=tmp_path / "out", epochs=8, batch_size=16))["noise"]

    assert arm["verdict"] == "worse than random" and arm["minus_random"]["mean"] < -0.2


def test_all_rows_as_a_selection_are_exactly_everything(data, test_set, tmp_path):
    made = curate.compare(data, {"all": random_rows(data, N)}, test=test_set, seeds=2, out=tmp_path / "out", **FEW)

    assert by_name(made)["all"]["minus_everything"] == {"mean": 0, "low": 0, "high": 0, "seeds": 2}


def test_selections_of_almost_one_size_share_a_baseline_as_large_as_the_largest(data, test_set, tmp_path):
    chosen = {"a": random_rows(data, 120), "b": random_rows(data, 121), "c": random_rows(data, 40)}

    made = curate.compare(data, chosen, test=test_set, seeds=1, out=tmp_path / "out", **FEW)

    assert {name: arm["baseline"] for name, arm in by_name(made).items() if name in chosen} == {
        "a": "random-121",
        "b": "random-121",
        "c": "random-40",
    }


def test_a_random_arm_draws_anew_for_every_seed(data, test_set, tmp_path):
    spec = own_function(tmp_path, "return {'accuracy': 1.0, 'first': float(dataset[0]['embedding'][0])}")

    lines = curate.compare(data, {"a": random_rows(data, 20)}, train=spec, seeds=3, out=tmp_path / "out").table.to_pylist()

    firsts = {arm: len({one["more"] for one in lines if one["arm"] == arm}) for arm in ("random-20", "a", "everything")}
    assert firsts["random-20"] > 1 and firsts["a"] == firsts["everything"] == 1


def test_weights_reach_the_loss(data, test_set, tmp_path):
    chosen = random_rows(data, 60)
    heavy = weighted(chosen, np.where(chosen.rows % 3 == 0, 100.0, 0.001))

    arms = by_name(curate.compare(data, {"even": chosen, "heavy": heavy}, test=test_set, seeds=1, out=tmp_path / "out", epochs=8))

    assert arms["heavy"]["worst_class"]["mean"] < 0.2 < arms["even"]["worst_class"]["mean"]


def test_rows_that_the_test_set_holds_too_are_left_out_of_every_arm_and_named(data, test_set, tmp_path):
    leaked = (np.concatenate([test_set[0], data.matrix(3, 9)]), np.concatenate([test_set[1], np.zeros(6, np.int64)]))
    everything = random_rows(data, N)

    made = curate.compare(data, {"all": everything}, test=leaked, seeds=1, out=tmp_path / "out", **FEW)

    assert made.summary()["excluded"] == {"counts": {"in_test": 6}, "in_test": [3, 4, 5, 6, 7, 8]}
    assert {arm["rows"] for arm in made.summary()["arms"]} == {N - 6}
    assert made.store.column("excluded", "row").tolist() == [3, 4, 5, 6, 7, 8]


def test_without_a_test_set_a_stratified_fifth_is_taken_out_of_every_arm(data, tmp_path):
    made = curate.compare(data, {"all": random_rows(data, N)}, seeds=1, out=tmp_path / "out", **FEW)

    held = held_rows(data, None, 0)
    assert np.bincount(held.data.labels).tolist() == [10, 10, 10]
    assert by_name(made)["all"]["rows"] == N - 30 and made.summary()["excluded"]["counts"] == {"held_out": 30}
    assert "which the scores may have seen" in made.summary()["test"]["from"]


def test_the_source_s_own_test_split_tests(tmp_path):
    data = curate.load("sample:digits", limit=100)

    assert held_rows(data, None, 0).data is data.test


def test_the_test_set_is_scaled_as_the_training_set(data, test_set):
    shifted = (test_set[0] + 100, test_set[1])
    proxy, recipe = plan(data, RunOptions(**FEW))

    trainer = ProxyTrainer(data, held_rows(data, shifted, 0), proxy, recipe, "steps", None, "cpu", Silent())

    (seen,) = trainer.test.batch(torch.arange(90))
    assert float(seen.mean()) > 10  # far off stays far off


def test_one_seed_gives_no_interval_and_no_verdict(data, test_set, tmp_path):
    arm = by_name(curate.compare(data, {"a": random_rows(data, 50)}, test=test_set, seeds=1, out=tmp_path / "out", **FEW))["a"]

    assert arm["verdict"] is None and arm["minus_random"]["low"] is None and arm["accuracy"]["mean"] is not None


def test_several_sizes_give_a_picture_and_one_size_none(made, data, test_set, tmp_path):
    curate.compare(data, {"a": random_rows(data, 50)}, test=test_set, seeds=1, out=tmp_path / "out", **FEW)

    assert (made.path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "out" / "curve.png").exists()


class Stopped(BaseException):
    """Ends a run as a kill would: nothing of ours catches it."""


def test_a_killed_comparison_goes_on_and_ends_with_the_same_bytes(made, data, test_set, tmp_path, monkeypatch):
    chosen = {"few": random_rows(data, 30), "many": random_rows(data, 90)}
    run, calls = ProxyTrainer.run, []

    def stops(self, *arguments):
        calls.append(arguments)
        if len(calls) == 8:
            raise Stopped
        return run(self, *arguments)

    monkeypatch.setattr(ProxyTrainer, "run", stops)
    with pytest.raises(Stopped):
        curate.compare(data, chosen, test=test_set, seeds=3, out=tmp_path / "out", **FEW)
    curate.compare(data, chosen, test=test_set, seeds=3, out=tmp_path / "out", **FEW)

    assert len(calls) == 8 + 21 - 7
    assert contents(tmp_path / "out") == contents(made.path)


def test_a_finished_comparison_trains_nothing(made, data, test_set, monkeypatch):
    chosen = {"few": random_rows(data, 30), "many": random_rows(data, 90)}
    monkeypatch.setattr(ProxyTrainer, "run", None)

    again = curate.compare(data, chosen, test=test_set, seeds=3, out=made.path, **FEW)

    assert again.summary() == made.summary()


def test_a_damaged_file_is_made_again(made, data, test_set, tmp_path):
    shutil.copytree(made.path, tmp_path / "out")
    (tmp_path / "out" / "arms" / "arm-001-seed-2.arrow").write_bytes(b"cut")

    curate.compare(data, {"few": random_rows(data, 30), "many": random_rows(data, 90)}, test=test_set, seeds=3, out=tmp_path / "out", **FEW)

    assert contents(tmp_path / "out") == contents(made.path)


@pytest.mark.parametrize("changed", [{"seeds": 2}, {"steps": 7}, {"epochs": 3}, {"budget": "epochs"}, {"lr": 0.5}], ids=str)
def test_another_comparison_in_the_folder_is_refused(made, data, test_set, changed):
    chosen = {"few": random_rows(data, 30), "many": random_rows(data, 90)}

    with pytest.raises(OtherJobError, match=next(iter(changed))):
        curate.compare(data, chosen, out=made.path, **{"test": test_set, "seeds": 3, **FEW, **changed})


def test_a_store_of_another_kind_is_not_touched(data, test_set, tmp_path):
    curate.score(data, ["random"], out=tmp_path / "scores")
    before = contents(tmp_path / "scores")

    with pytest.raises(OtherJobError, match="holds a scores"):
        curate.compare(data, random_rows(data, 30), test=test_set, seeds=1, out=tmp_path / "scores", **FEW)
    assert contents(tmp_path / "scores") == before


def test_the_cost_of_scoring_is_charged(data, test_set, tmp_path):
    curate.score(data, ["random"], out=tmp_path / "scores")
    Store.open(tmp_path / "scores").log("score", wall=1000.0)
    given = {"test": test_set, "seeds": 1, "scores": tmp_path / "scores", **FEW}

    equal = by_name(curate.compare(data, {"a": random_rows(data, 30)}, out=tmp_path / "steps", **given))["a"]
    fewer = by_name(curate.compare(data, {"a": random_rows(data, 16)}, out=tmp_path / "epochs", budget="epochs", **given))["a"]

    assert equal["seconds_with_scoring"] > 1000 and equal["break_even"] is None  # equal steps take equal time
    assert fewer["break_even"] is None or fewer["break_even"] > 1000


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seeds": 0}, OptionError, "seeds must be 1 or more, got 0"),
        ({"budget": "step"}, OptionError, 'Did you mean "steps"'),
        ({"steps": 0}, OptionError, "steps must be 1 or more"),
        ({"steps": 9, "budget": "epochs"}, OptionError, "goes with --budget steps"),
        ({"checkpoints": "all"}, OptionError, "keeps no weights"),
        ({"train": "own.py:train", "epochs": 3}, UsageError, "your own function"),
        ({"train": "own.py:train"}, UsageError, "does not exist"),
        ({"train": "own"}, UsageError, "FILE.py:FUNCTION"),
        ({"train": "own.py:train", "device": "cpu"}, UsageError, "your own function"),
        ({"model": "mpl"}, UnknownNameError, 'Did you mean "mlp"'),
    ],
    ids=str,
)
def test_options_that_cannot_be_honoured_are_refused_before_any_work(data, test_set, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        curate.compare(data, random_rows(data, 30), test=test_set, out=tmp_path / "out", **options)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_no_selection_is_refused(data, tmp_path):
    with pytest.raises(UsageError, match="No selection is given"):
        curate.compare(data, [], out=tmp_path / "out")


def test_a_selection_of_another_dataset_is_refused(data, test_set, tmp_path):
    other = random_rows(curate.load(rows_of(N, 5)), 30)

    with pytest.raises(OtherDatasetError, match="over dataset"):
        curate.compare(data, other, test=test_set, out=tmp_path / "out")


@pytest.mark.parametrize("name", ["everything", "random-30", "class_random-9"])
def test_a_selection_named_as_an_arm_of_ours_is_refused(data, tmp_path, name):
    with pytest.raises(UsageError, match=name):
        curate.compare(data, {name: random_rows(data, 30)}, out=tmp_path / "out")


def test_folders_of_one_name_bear_their_parents_and_one_folder_twice_is_refused(data, test_set, tmp_path):
    for parent in ("a", "b"):
        curate.select(data, sampler="random", budget=30, rows_only=True, out=tmp_path / parent / "subset")
    folders = [tmp_path / "a" / "subset", tmp_path / "b" / "subset"]

    made = curate.compare(data, folders, test=test_set, seeds=1, out=tmp_path / "out", **FEW)

    assert {"a/subset", "b/subset"} <= by_name(made).keys()
    with pytest.raises(UsageError, match='called "a/subset"'):
        curate.compare(data, folders[:1] * 2, test=test_set, out=tmp_path / "twice")


def labelled(columns):
    return datasets.Dataset.from_dict(columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"words": ["a b"] * 9, "label": ["x", "y", "z"] * 3}, "text"),
        ({"text": ["a b"] * 9, "kind": ["x", "y", "z"] * 3}, "label"),
        ({"text": [f"n {i}" for i in range(9)], "label": ["x", "y", "other"] * 3}, "other"),
        ({"text": [f"n {i}" for i in range(9)], "label": [0, 1, 2] * 3}, "int64"),
    ],
    ids=["another input", "no label", "another class", "another type"],
)
def test_a_test_set_that_does_not_fit_is_refused(tmp_path, columns, message):
    words = labelled({"text": [f"word{i % 3} {i}" for i in range(60)], "label": [("x", "y", "z")[i % 3] for i in range(60)]})
    data = curate.load(words, input="text", label="label")

    with pytest.raises((ColumnError, UnknownNameError), match=message):
        curate.compare(data, random_rows(data, 30), test=labelled(columns), out=tmp_path / "out")


def test_a_test_set_whose_class_codes_mean_something_else_is_refused(tmp_path):
    def named(names):
        features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
        return datasets.Dataset.from_dict({"text": [f"n {i}" for i in range(30)], "label": [0, 1] * 15}, features=features)

    data = curate.load(named(["cat", "dog"]), input="text", label="label")

    with pytest.raises(ColumnError, match="not those of"):
        curate.compare(data, random_rows(data, 9), test=named(["dog", "cat"]), out=tmp_path / "out")


def test_vectors_of_another_width_are_refused(data, tmp_path):
    features, labels = rows_of(30, 2)

    with pytest.raises(ColumnError, match="width 3"):
        curate.compare(data, random_rows(data, 30), test=(features[:, :3], labels), out=tmp_path / "out")


def test_a_selection_with_no_row_left_is_refused(data, tmp_path):
    chosen = random_rows(data, 10)
    leaked = (np.stack([data.matrix(row, row + 1)[0] for row in chosen.rows]), data.labels[chosen.rows])

    with pytest.raises(InputError, match=r'Of the 10 rows of selection "few" 0'):
        curate.compare(data, {"few": chosen}, test=leaked, out=tmp_path / "out")


def test_weights_that_no_loss_can_bear_are_refused(data, test_set, tmp_path):
    bad = weighted(random_rows(data, 30), np.full(30, -1.0))

    with pytest.raises(InputError, match="weights"):
        curate.compare(data, bad, test=test_set, out=tmp_path / "out")


def test_training_that_diverges_everywhere_is_said_and_no_arm_is_kept(data, test_set, tmp_path):
    with pytest.raises(InputError, match="diverged"):
        curate.compare(data, random_rows(data, 30), test=test_set, seeds=1, out=tmp_path / "out", optimizer="sgd", lr=1000, steps=200)


def test_a_function_of_one_s_own_trains_and_may_measure_more(data, tmp_path):
    spec = own_function(tmp_path, "return {'accuracy': len(dataset) / 1000 + seed / 100, 'tokens': len(dataset) * 2}")

    made = curate.compare(data, {"a": random_rows(data, 30)}, train=spec, seeds=3, out=tmp_path / "out")

    arm = by_name(made)["a"]
    assert arm["accuracy"]["mean"] == pytest.approx(0.03 + 0.01) and arm["more"]["tokens"]["mean"] == 60
    assert arm["steps"] is None and made.summary()["test"] is None and by_name(made)["everything"]["rows"] == N


def test_a_function_with_test_and_weight_is_handed_both(data, tmp_path):
    body = "return {'accuracy': len(test) / 1000, 'weight': float(weight.sum())}"
    spec = own_function(tmp_path, body, head="def train(dataset, seed, test, weight):")
    chosen = weighted(random_rows(data, 30), np.full(30, 2.0))

    arm = by_name(curate.compare(data, {"a": chosen}, train=spec, seeds=1, out=tmp_path / "out"))["a"]

    assert arm["accuracy"]["mean"] == 0.03  # the fifth that is held out
    assert arm["more"]["weight"]["mean"] == 2 * arm["rows"]


def test_weights_that_a_function_does_not_take_are_said_to_be_unused(data, tmp_path, caplog):
    spec = own_function(tmp_path, "return {'accuracy': 1}")

    curate.compare(data, weighted(random_rows(data, 30), np.full(30, 2.0)), train=spec, seeds=1, out=tmp_path / "out")

    assert "no parameter `weight`" in caplog.text


def test_a_function_that_raises_in_one_arm_costs_that_arm_alone(data, tmp_path):
    spec = own_function(tmp_path, "return {'accuracy': 1 / (len(dataset) - 30)}")

    arms = by_name(
        curate.compare(data, {"a": random_rows(data, 30), "b": random_rows(data, 60)}, train=spec, seeds=2, out=tmp_path / "out")
    )

    assert arms["a"]["failed"] == [{"seed": s, "status": "ZeroDivisionError: division by zero (train.py, line 2)"} for s in (0, 1)]
    assert arms["a"]["accuracy"]["mean"] is None and arms["a"]["verdict"] is None
    assert arms["b"]["failed"] == [] and arms["b"]["verdict"] == "no better than random"


def test_what_failed_is_tried_again(data, tmp_path):
    body = "import pathlib; assert pathlib.Path(__file__).with_name('mended').exists() or len(dataset) != 30; return {'accuracy': 1}"
    spec = own_function(tmp_path, body)
    chosen = {"a": random_rows(data, 30)}
    first = by_name(curate.compare(data, chosen, train=spec, seeds=2, out=tmp_path / "out"))

    (tmp_path / "mended").touch()
    second = by_name(curate.compare(data, chosen, train=spec, seeds=2, out=tmp_path / "out"))

    assert len(first["a"]["failed"]) == 2 and second["a"]["failed"] == [] and second["a"]["accuracy"]["mean"] == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 0.9", 'float without "accuracy"'),
        ("return {'accuracy': 'high'}", "accuracy='high'"),
        ("return {'accuracy': float('nan')}", "nan"),
    ],
    ids=["no dict", "no number", "nan"],
)
def test_what_a_function_must_not_return(data, tmp_path, body, message):
    with pytest.raises(InputError, match=message):
        curate.compare(data, random_rows(data, 30), train=own_function(tmp_path, body), seeds=1, out=tmp_path / "out")


@pytest.mark.parametrize("head", ["def train(dataset):", "def train(dataset, seed, epochs):"])
def test_a_function_of_another_shape_is_refused(data, tmp_path, head):
    with pytest.raises(UsageError, match=r"train\(dataset, seed\)"):
        curate.compare(data, random_rows(data, 30), train=own_function(tmp_path, "return {}", head=head), seeds=1, out=tmp_path / "out")


def curate_(folder, *words):
    call = [sys.executable, "-c", "from curate.cli import main; main()", *words]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_the_command_says_what_was_compared_and_json_has_it_all(tmp_path):
    source = ["sample:digits", "--limit", "200"]
    curate_(tmp_path, "select", *source, "--sampler", "random", "--budget", "50%", "--rows-only", "--out", "half")
    words = ["compare", *source, "half", "--seeds", "2", "--epochs", "1", "--out", "out"]

    text, found, shown = curate_(tmp_path, *words), curate_(tmp_path, *words, "--json"), curate_(tmp_path, "show", "out")

    assert text.returncode == 0, text.stderr
    assert "no better than random" in text.stdout and "minus random" in text.stdout and "3 or more are advised" in text.stdout
    assert {arm["arm"] for arm in json.loads(found.stdout)["arms"]} == {"everything", "random-100", "class_random-100", "half"}
    assert shown.stdout == text.stdout


def test_a_selection_of_other_rows_is_exit_3_on_the_command_line(tmp_path):
    curate_(tmp_path, "select", "sample:digits", "--sampler", "random", "--budget", "50%", "--rows-only", "--out", "half")

    done = curate_(tmp_path, "compare", "sample:digits", "--limit", "100", "half", "--out", "out")

    assert done.returncode == 3 and done.stderr.startswith("Error: ") and "Traceback" not in done.stderr


def test_an_opened_comparison_is_the_one_that_was_made(made):
    assert Comparison.open(made.path).summary() == made.summary()
    assert made.table.column_names[-1] == "seconds" and min(made.table.column("seconds").to_pylist()) > 0


def test_a_finished_comparison_is_given_more_seeds(data, test_set, tmp_path):
    selection = random_rows(data, 50)
    two = {"test": test_set, "seeds": 2, "steps": 4, **FEW}
    whole = curate.compare(data, [selection], out=tmp_path / "whole", **{**two, "seeds": 3})
    curate.compare(data, [selection], out=tmp_path / "grown", **two)

    grown = curate.compare(data, [selection], out=tmp_path / "grown", **{**two, "seeds": 3})

    assert contents(grown.path) == contents(whole.path)
    assert sum(line["what"] == "fit" for line in Store.open(grown.path).history()) == 4 * 3
    with pytest.raises(OtherJobError):
        curate.compare(data, [selection], out=tmp_path / "grown", **two, seed=1)


def test_time_to_accuracy_is_read_from_the_way_there_with_scoring_charged(data, test_set, tmp_path):
    selection = random_rows(data, 60)
    scores = curate.score(data, ["random", "aum"], out=tmp_path / "scores", epochs=3)
    made = curate.compare(data, [selection], out=tmp_path / "c", test=test_set, seeds=2, steps=60, scores=scores, **FEW)

    summary = made.summary()

    everything, chosen = summary["arms"][0], summary["arms"][-1]
    assert summary["target"] == pytest.approx(0.95 * everything["accuracy"]["mean"])
    curves = [line["curve"] for line in made.table.to_pylist() if line["arm"] == "everything"]
    assert [point["step"] for point in curves[0]] == [6 * i for i in range(1, 11)]
    mean = np.mean([[point["accuracy"] for point in curve] for curve in curves], axis=0)
    first = int(np.argmax(mean >= summary["target"]))
    assert everything["seconds_to_target"] == pytest.approx((first + 1) / 10 * everything["seconds"])
    assert chosen["seconds_to_target"] >= summary["scoring_seconds"]


def test_online_samplers_are_arms_and_say_what_they_save(data, test_set, tmp_path):
    made = curate.compare(
        data, ["rs2:share=0.2", "infobatch"], out=tmp_path / "c", test=test_set, seeds=2, epochs=8, batch_size=10, budget="epochs"
    )

    arms = by_name(made)

    assert arms["everything"]["steps"] == 8 * 15
    assert arms["rs2:share=0.2"]["steps"] == 8 * 3 and arms["rs2:share=0.2"]["steps_saved"] == pytest.approx(0.8)
    assert 0 < arms["infobatch"]["steps_saved"] < 0.5
    assert arms["infobatch"]["minus_everything"]["seeds"] == 2
    assert "random-30" not in arms


def test_where_steps_are_equal_a_sampler_of_known_size_makes_as_many(data, test_set, tmp_path):
    made = curate.compare(data, ["rs2:share=0.2", "seta"], out=tmp_path / "c", test=test_set, seeds=1, steps=40, batch_size=10, epochs=4)

    arms = by_name(made)

    assert arms["rs2:share=0.2"]["steps"] == arms["everything"]["steps"] == 40
    assert arms["seta"]["steps"] <= 40


def test_a_killed_comparison_with_an_online_sampler_goes_on_with_the_same_bytes(data, test_set, tmp_path):
    options = {"test": test_set, "seeds": 2, "epochs": 3, "batch_size": 10}
    whole = curate.compare(data, ["infobatch"], out=tmp_path / "whole", **options)
    part = curate.compare(data, ["infobatch"], out=tmp_path / "part", **options)
    Store.open(part.path).forget("arms", ["arm-001-seed-1.arrow"])

    again = curate.compare(data, ["infobatch"], out=tmp_path / "part", **options)

    assert contents(again.path) == contents(whole.path)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("weighted", UsageError, "takes scores, which compare has none of"),
        ("rs2:seed=3", UsageError, "sets seed"),
        ("rs2:shares=0.3", UnknownNameError, 'Did you mean "share"'),
        ("rs3", InputError, "not a store"),
    ],
)
def test_an_online_sampler_that_cannot_be_an_arm_is_refused(data, tmp_path, spec, error, message):
    with pytest.raises(error, match=message):
        curate.compare(data, [spec], out=tmp_path / "c")


def test_a_function_of_ones_own_takes_no_online_sampler(data, tmp_path):
    (tmp_path / "mine.py").write_text("def train(dataset, seed):\n    return {'accuracy': 0.5}\n")

    with pytest.raises(UsageError, match="given its rows beforehand"):
        curate.compare(data, ["rs2"], out=tmp_path / "c", train=f"{tmp_path / 'mine.py'}:train")


def test_two_workers_come_to_the_same_table(data, test_set, tmp_path):
    chosen = {"a": random_rows(data, 40), "b": random_rows(data, 60)}
    for workers in (1, 2):
        curate.compare(data, chosen, test=test_set, seeds=1, out=tmp_path / str(workers), workers=workers, **FEW)

    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    fits = [line for line in map(json.loads, (tmp_path / "2" / "log.jsonl").read_text().splitlines()) if line["what"] == "fit"]
    assert len(fits) == len(Store.open(tmp_path / "2").files("arms")) and all(line["cpu"] > 0 for line in fits)


class Counted(Silent):
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


def test_a_model_of_ones_own_is_trained_here_and_that_is_said(data, test_set, tmp_path):
    (tmp_path / "mine.py").write_text("import torch\ndef build_model(shape, classes): return torch.nn.Linear(shape[0], classes)\n")
    seen = Counted()

    curate.compare(
        data,
        {"a": random_rows(data, 40)},
        test=test_set,
        seeds=1,
        out=tmp_path / "c",
        workers=2,
        progress=seen,
        model=f"{tmp_path / 'mine.py'}:build_model",
        **FEW,
    )

    assert [note for note in seen.notes if "in this process" in note]


def test_processes_are_started_once_the_first_training_shows_that_they_pay(data, test_set, tmp_path, monkeypatch):
    import curate.stages.fits as fits

    asked = []

    def here(held, left, workers, task, progress):
        asked.append((len(left), workers))
        yield from map(pickle.loads(held).fit, *zip(*left, strict=True), [task] * len(left))

    monkeypatch.setattr(fits, "_in_processes", here)
    torch.set_num_threads(2)
    for limit, expected in ((1e9, []), (0.0, [(3, 2)])):
        monkeypatch.setattr(fits, "PAYS_FROM", limit)
        curate.compare(data, {"a": random_rows(data, 40)}, test=test_set, seeds=1, out=tmp_path / str(limit), workers=None, **FEW)
        assert asked == expected


@pytest.mark.parametrize(
    ("more", "problem"), [({"workers": 0}, "workers must be 1 or more"), ({"workers": 2, "train": "a.py:train"}, "no use")]
)
def test_workers_that_cannot_be_are_refused_at_once(data, tmp_path, more, problem):
    with pytest.raises(UsageError, match=problem):
        curate.compare(data, {"a": random_rows(data, 40)}, out=tmp_path / "c", **more)


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, pickle, signal, time\n"
        "from curate.progress import Silent\nfrom curate.stages import engines\n"
        "def pid(_):\n    return os.getpid()\n"
        'if __name__ == "__main__":\n'
        "    with engines.holding(pickle.dumps(1), 1, Silent()) as workers:\n"
        "        print(*workers.map(pid, [0]), flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=env)

    worker = int(done.stdout)
    deadline = time.monotonic() + 20
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(worker)


def is_running(pid):
    """A dead process that nobody has asked after yet is not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
