"""The sweep over checkpoints as a stage: shared, resumed, reused, and refused where there is nothing to visit."""

from pathlib import Path

import numpy as np
import pytest
import torch

import curate
from curate.errors import InputError, OptionError
from curate.stages import sweeping

ROWS, EPOCHS = 130, 3


@pytest.fixture(scope="module")
def data():
    return curate.load("sample:digits", limit=ROWS)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    return curate.score(data, ["grand", "vog"], epochs=EPOCHS, shard_rows=50, out=tmp_path_factory.mktemp("sweep") / "s")


def files(store: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file() and p.name not in ("log.jsonl", ".lock")
    }


def test_scorers_share_the_sweep_and_it_is_kept_a_file_a_shard(whole):
    run = next((whole.path / "runs").iterdir())

    swept = sorted(p for p in run.iterdir() if p.name.startswith("swept-"))

    assert [p.name.split("-")[1] for p in swept] == ["grand", "vog"]
    assert all(len(list(p.iterdir())) == 3 for p in swept)
    assert np.isfinite(whole["grand"]).all() and (whole["grand"] > 0).all()


def test_a_kill_between_two_shards_leaves_bytes_that_the_same_call_completes(data, whole, tmp_path, monkeypatch):
    def interrupted(task):
        if task.span == (50, 100):
            raise KeyboardInterrupt
        return real(task)

    real = sweeping.sweep_range
    monkeypatch.setattr(sweeping, "sweep_range", interrupted)
    with pytest.raises(KeyboardInterrupt):
        curate.score(data, ["grand", "vog"], epochs=EPOCHS, shard_rows=50, out=tmp_path / "s")
    monkeypatch.undo()

    curate.score(data, ["grand", "vog"], epochs=EPOCHS, shard_rows=50, out=tmp_path / "s")

    assert files(tmp_path / "s") == files(whole.path)


def test_another_store_takes_the_sweep_over_whatever_its_shards(data, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeping, "sweep_range", None)  # would fail if anything were visited again

    again = curate.score(data, ["grand"], run=whole.path, shard_rows=17, out=tmp_path / "s")

    np.testing.assert_array_equal(again["grand"], whole["grand"])


def test_parts_sweep_their_own_ranges_of_rows_and_one_of_them_the_target(data, tmp_path):
    """`grand` reads a row's own sweep, so a part leaves the other ranges alone; the target is needed by all."""
    arguments = {"target": data.select(np.arange(30)), "epochs": 2, "shard_rows": 50}
    scorers = ["grand", "grad_dot:pairs=true"]
    whole = curate.score(data, scorers, out=tmp_path / "whole", **arguments)

    curate.score(data, scorers, out=tmp_path / "parts", shard="2/2", **arguments)
    (run,) = (tmp_path / "parts" / "runs").iterdir()
    after_one = [sorted(p.name for p in table.iterdir()) for table in sorted(run.iterdir()) if table.name.startswith("swept-")]
    for part in ("1/2", None):
        curate.score(data, scorers, out=tmp_path / "parts", shard=part, **arguments)

    own, of_target = ["rows-000000000050-000000000100.arrow"], ["rows-000000000000-000000000030.arrow"]
    assert sorted(after_one) == sorted([own, own, of_target])
    assert files(tmp_path / "parts") == files(whole.path)


def test_weights_that_are_gone_say_so(data, whole, tmp_path):
    last = curate.score(data, ["aum"], epochs=EPOCHS, checkpoints="last", out=tmp_path / "last").path

    with pytest.raises(InputError, match="no checkpoint of epoch 1"):
        curate.score(data, ["vog"], run=last, out=tmp_path / "s")


def test_a_run_that_would_keep_no_weights_is_refused_before_it_is_trained(data, tmp_path):
    with pytest.raises(OptionError, match=r'"epoch 1" needs checkpoints that --checkpoints last does not keep'):
        curate.score(data, ["vog"], epochs=EPOCHS, checkpoints="last", out=tmp_path / "s")


def test_a_recorded_loop_has_no_model_to_visit(data, tmp_path):
    recorder, model = curate.Recorder(tmp_path / "r", data), torch.nn.Linear(1, 10)
    for _ in range(3):
        recorder.log(np.arange(ROWS), torch.randn(ROWS, 10))
        recorder.end_epoch(model)

    with pytest.raises(OptionError, match=r"recorded in a loop of your own.*--model"):
        recorder.score(["vog"])


def test_a_row_whose_input_cannot_be_read_has_its_reason_and_others_their_score(tmp_path):
    table = {"x": [[float(i), 1.0] for i in range(40)], "label": [i % 2 for i in range(40)]}
    table["x"][7] = [float("nan"), 0.0]
    import datasets

    source = datasets.Dataset.from_dict(table)

    scores = curate.score(curate.load(source, label="label"), ["grand", "tracin"], epochs=3, max_failures=0.1, out=tmp_path / "s")

    assert np.flatnonzero(np.isnan(scores["grand"])).tolist() == [7]
    assert scores.table("grand")["status"].to_pylist()[7] == "not_finite"
