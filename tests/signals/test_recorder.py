import socket
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from torch import nn

import curate
from curate.errors import ColumnError, InputError, OptionError, OtherDatasetError, OtherJobError, UsageError
from curate.signals.recorder import Recorder
from curate.signals.runs import Run
from curate.store import Store

N, CLASSES = 30, 3
SCORERS = ["forgetting", "datamap", "aum"]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return curate.load((rng.normal(size=(N, 4)).astype(np.float32), np.arange(N) % CLASSES))


def batches(epoch, n=N):
    rng = torch.Generator().manual_seed(epoch)
    for rows in torch.split(torch.randperm(n, generator=rng), 8):
        yield rows, torch.randn(len(rows), CLASSES, generator=rng)


def record(recorder, epochs):
    for epoch in epochs:
        for rows, logits in batches(epoch):
            recorder.log(rows, logits)
        recorder.end_epoch()
    return recorder


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "log.jsonl"}


def test_what_was_recorded_is_scored(data, tmp_path):
    scores = record(Recorder(tmp_path, data), range(1, 5)).score(SCORERS)

    assert list(scores.names) == sorted(SCORERS)
    assert not np.isnan(scores["datamap.confidence"]).any()


def test_aum_is_the_mean_margin_of_what_was_logged(data, tmp_path):
    recorder = Recorder(tmp_path, data)
    margins = np.zeros((N, 4))
    for epoch in range(1, 5):
        for rows, logits in batches(epoch):
            recorder.log(rows, logits)
            others = logits.scatter(1, (rows % CLASSES)[:, None], -torch.inf).amax(1)
            margins[rows, epoch - 1] = logits[torch.arange(len(rows)), rows % CLASSES] - others
        recorder.end_epoch()

    np.testing.assert_allclose(recorder.score(["aum:skip=0"])["aum"], margins.mean(axis=1), rtol=1e-5, atol=1e-6)


def test_scores_are_made_anew_after_more_epochs(data, tmp_path):
    recorder = record(Recorder(tmp_path, data), range(1, 5))
    before = recorder.score(SCORERS)["aum"].copy()

    after = record(recorder, range(5, 8)).score(SCORERS)["aum"]

    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, record(Recorder(tmp_path / "whole", data), range(1, 8)).score(SCORERS)["aum"])


def test_a_recording_is_not_mixed_with_another_unless_asked(data, tmp_path):
    record(Recorder(tmp_path, data), [1, 2])

    with pytest.raises(OtherJobError, match=r"a recording of 2 epochs.*resume=True.*overwrite=True"):
        Recorder(tmp_path, data)
    assert Recorder(tmp_path, data, resume=True).epoch == 3
    assert Recorder(tmp_path, data, overwrite=True).epoch == 1


def test_a_recording_is_not_continued_over_another_dataset(data, tmp_path):
    record(Recorder(tmp_path, data), [1])

    with pytest.raises(OtherDatasetError, match="rows"):
        Recorder(tmp_path, data.select(np.arange(20)), resume=True)


def test_a_state_taken_in_mid_epoch_makes_the_same_files(data, tmp_path):
    record(Recorder(tmp_path / "whole", data), [1, 2, 3])
    recorder = record(Recorder(tmp_path / "cut", data), [1])
    todo = list(batches(2))
    for rows, logits in todo[:2]:
        recorder.log(rows, logits)
    state = recorder.state_dict()

    resumed = Recorder(tmp_path / "cut", data, resume=True)
    resumed.load_state_dict(state)
    for rows, logits in todo[2:]:
        resumed.log(rows, logits)
    resumed.end_epoch()
    record(resumed, [3])

    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_going_back_to_an_older_state_drops_what_was_written_since(data, tmp_path):
    recorder = record(Recorder(tmp_path, data), [1])
    state = recorder.state_dict()
    record(recorder, [2, 3])

    recorder.load_state_dict(state)

    assert recorder.epoch == 2


def test_a_state_of_a_later_epoch_is_of_another_recording(data, tmp_path):
    state = record(Recorder(tmp_path / "a", data), [1, 2]).state_dict()

    with pytest.raises(InputError, match=r"state is of epoch 3.*holds 0"):
        Recorder(tmp_path / "b", data).load_state_dict(state)


def test_ranks_merge_into_one(data, tmp_path):
    one, other, whole = (Recorder(tmp_path / name, data) for name in ("one", "other", "whole"))
    for index, (rows, logits) in enumerate(batches(1)):
        (one, other)[index % 2].log(rows, logits)
        whole.log(rows, logits)

    one.merge(other.state_dict())
    one.end_epoch()
    whole.end_epoch()

    name = "runs/recorded/dynamics/epoch-00001.arrow"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_rank_that_saw_nothing_takes_the_other_over(data, tmp_path):
    one, other = Recorder(tmp_path / "one", data), record(Recorder(tmp_path / "other", data), [])
    for rows, logits in batches(1):
        other.log(rows, logits)

    one.merge(other.state_dict())
    one.merge(Recorder(tmp_path / "idle", data).state_dict())
    one.end_epoch()

    assert one.epoch == 2


def test_a_merge_across_epochs_is_refused(data, tmp_path):
    ahead = record(Recorder(tmp_path / "ahead", data), [1])

    with pytest.raises(InputError, match="other rank is in epoch 2, this one in 1"):
        Recorder(tmp_path / "behind", data).merge(ahead.state_dict())


def test_a_loss_alone_is_enough_for_the_loss_and_too_little_for_the_margin(data, tmp_path):
    recorder = Recorder(tmp_path, data)
    for _ in range(4):
        recorder.log(range(N), loss=torch.arange(N, dtype=torch.float32))
        recorder.end_epoch()

    np.testing.assert_allclose(recorder.score(["loss:over=mean"])["loss"], np.arange(N, dtype=np.float32))
    with pytest.raises(InputError, match=r'did not record "dynamics\.m_logit".*losses alone'):
        recorder.score(["aum"])


def test_a_row_never_logged_has_no_score_and_that_is_no_failure(data, tmp_path):
    recorder = Recorder(tmp_path, data)
    for _ in range(4):
        recorder.log(range(N - 10), torch.randn(N - 10, CLASSES, generator=torch.Generator().manual_seed(0)))
        recorder.end_epoch()

    scores = recorder.score(["aum"])

    assert np.isnan(scores["aum"][-10:]).all() and scores.failed("aum") == {"not_presented": 10}


def test_weights_are_kept_beside_the_epoch(data, tmp_path):
    recorder = Recorder(tmp_path, data)
    recorder.log([0], torch.zeros(1, CLASSES))
    recorder.end_epoch(torch.nn.Linear(4, CLASSES))

    assert Run.open(tmp_path / "runs" / "recorded").checkpoint(1).is_file()


def test_a_clean_pass_of_a_recorded_loop_is_refused_with_the_reason(data, tmp_path):
    recorder = record(Recorder(tmp_path, data), range(1, 5))

    with pytest.raises(OptionError, match=r"recorded in a loop of your own"):
        recorder.score(["el2n"])


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        ([N], {"logits": torch.zeros(1, CLASSES)}, InputError, rf"Row {N} is out of range: the dataset has rows 0 … {N - 1}"),
        ([-1], {"logits": torch.zeros(1, CLASSES)}, InputError, "Row -1 is out of range"),
        ([0.5], {"logits": torch.zeros(1, CLASSES)}, InputError, "rows must be whole numbers"),
        (None, {"logits": torch.zeros(1, CLASSES)}, InputError, "rows must be whole numbers, got a NoneType. Let the dataset give"),
        ([0, 1], {"logits": torch.zeros(1, CLASSES)}, InputError, "2 rows came with 1 outputs"),
        ([0], {"loss": torch.tensor(1.0)}, InputError, 'reduction="none"'),
        ([0], {"logits": torch.zeros(1, CLASSES + 1)}, InputError, r"Logits are 4 wide, but there are 3 classes"),
        ([0], {"logits": torch.zeros(1)}, InputError, r"Logits of shape \(1,\)"),
        ([0], {}, UsageError, "either logits or loss"),
        ([0], {"logits": torch.zeros(1, CLASSES), "loss": torch.zeros(1)}, UsageError, "either logits or loss"),
        ([0], {"logits": torch.zeros(1, CLASSES), "labels": torch.tensor([CLASSES])}, InputError, r"Label 3 is out of range.*0 … 2"),
        ([0, 1], {"logits": torch.zeros(2, CLASSES), "labels": torch.tensor([1])}, InputError, "1 labels came with 2 outputs"),
    ],
    ids=["too far", "negative", "fraction", "none", "too few", "mean loss", "too wide", "flat", "nothing", "both", "label", "labels"],
)
def test_what_cannot_be_logged_is_refused_with_the_reason(data, tmp_path, rows, options, error, message):
    with pytest.raises(error, match=message):
        Recorder(tmp_path, data).log(rows, **options)


def test_losses_of_rows_without_labels_make_a_data_map(tmp_path):
    recorder = Recorder(tmp_path / "run", curate.load(datasets.Dataset.from_dict({"text": ["a b", "c d", "e f"]})))
    for p in ([0.9, 0.2, 0.5], [0.8, 0.6, 0.1]):
        recorder.log(range(3), loss=-torch.tensor(p).log())
        recorder.end_epoch()

    scores = recorder.score(["datamap", "forgetting"])

    np.testing.assert_allclose(scores["datamap"], [0.85, 0.4, 0.3], rtol=1e-6)
    np.testing.assert_array_equal(scores["datamap.correctness"], [2, 1, 1])
    np.testing.assert_array_equal(scores["forgetting"], [0, 0, 1])


def test_logits_and_losses_are_not_mixed_in_an_epoch(data, tmp_path):
    recorder = Recorder(tmp_path, data)
    recorder.log([0], torch.zeros(1, CLASSES))

    with pytest.raises(UsageError, match="begun with logits"):
        recorder.log([0], loss=torch.zeros(1))


def test_an_epoch_without_a_row_is_an_error(data, tmp_path):
    with pytest.raises(InputError, match="No row was logged in epoch 1"):
        Recorder(tmp_path, data).end_epoch()


def test_scoring_before_the_first_epoch_is_an_error(data, tmp_path):
    with pytest.raises(InputError, match="Nothing is recorded yet"):
        Recorder(tmp_path, data).score(["aum"])


def test_without_a_label_column_labels_must_be_given(tmp_path):
    bare = curate.load(np.zeros((4, 2), np.float32))

    with pytest.raises(ColumnError, match="no label column"):
        Recorder(tmp_path / "a", bare).log([0], torch.zeros(1, 2))
    Recorder(tmp_path / "b", bare).log([0], torch.zeros(1, 2), torch.tensor([1]))


def test_a_row_without_a_label_is_skipped(tmp_path):
    data = curate.load((np.zeros((4, 2), np.float32), np.array([0, 1, -1, 1])))
    recorder = Recorder(tmp_path, data)

    recorder.log([0, 2], torch.zeros(2, 2))
    recorder.end_epoch()

    visits = Store.open(tmp_path / "runs" / "recorded").column("dynamics", "visits")
    assert visits.tolist() == [1, 0, 0, 0]


def test_a_recording_killed_in_its_first_epoch_is_resumed(tmp_path):
    data = curate.load((np.zeros((4, 2), np.float32), np.arange(4) % 2))
    curate.Recorder(tmp_path / "run", data)

    again = curate.Recorder(tmp_path / "run", data, resume=True)
    again.log(torch.arange(4), torch.zeros(4, 2))
    again.end_epoch()

    assert again.epoch == 2


def test_a_step_records_what_the_model_puts_out_in_it(tmp_path):
    data = curate.load((np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32), np.arange(6) % 2))
    model, x = nn.Linear(2, 2), torch.from_numpy(data.matrix(0, 6).copy())
    one, other = curate.Recorder(tmp_path / "one", data), curate.Recorder(tmp_path / "other", data)

    for rows in (torch.tensor([0, 3, 5]), torch.tensor([1, 2, 4])):
        with one.step(rows, model):
            loss = model(x[rows]).sum()
        other.log(rows, model(x[rows]))
    loss.backward()
    one.end_epoch()
    other.end_epoch()

    for name in ("loss", "m_logit", "el2n"):
        left, right = (r._run.columns([f"dynamics.{name}"], 0, 6)[f"dynamics.{name}"] for r in (one, other))
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("calls", [0, 2])
def test_a_step_with_no_call_or_several_is_told_of(tmp_path, calls):
    data = curate.load((np.zeros((4, 2), np.float32), np.arange(4) % 2))
    model = nn.Linear(2, 2)

    with (
        pytest.raises(InputError, match=f"called {calls} times"),
        curate.Recorder(tmp_path / "run", data).step([0, 1], model),
    ):
        for _ in range(calls):
            model(torch.zeros(2, 2))


TWO = """
import os, sys
import numpy as np, torch, torch.distributed as dist
sys.path.insert(0, sys.argv[1])
import curate
from curate.errors import InputError
port, out = sys.argv[2], sys.argv[3]
other_rank = os.fork()  # what is imported by now serves both
rank = 0 if other_rank else 1
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
data = curate.load((np.zeros((7, 2), np.float32), np.arange(7) % 3))
rng = np.random.default_rng(0)
recorder = curate.Recorder(out, data)
for epoch in range(3):
    order, logits = rng.permutation(7), torch.from_numpy(rng.normal(size=(7, 3)).astype(np.float32))
    mine = order[:5] if rank == 0 else order[5:]
    if epoch == 1:
        mine = order if rank == 1 else order[:0]  # a rank that sees nothing of an epoch
    if len(mine):
        recorder.log(mine, logits[mine])
    if epoch == 2:
        state = recorder.state_dict()  # killed and resumed in mid-epoch
        dist.barrier()
        recorder = curate.Recorder(out, data, resume=True)
        recorder.load_state_dict(state)
    recorder.end_epoch()
other = curate.Recorder(out + "-other", curate.load((np.zeros((7 + rank, 2), np.float32), np.arange(7 + rank) % 3)))
other.log(torch.arange(7), torch.zeros(7, 3))
try:
    other.end_epoch()
except InputError as error:
    assert "rows 7 on one, 8 on another" in str(error), error
else:
    raise AssertionError("ranks of different lengths were added up")
dist.barrier()
dist.destroy_process_group()  # a rank must not go while the other still speaks to it
if rank == 0:
    assert os.waitpid(other_rank, 0)[1] == 0
"""


def test_two_processes_record_what_one_does(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = str(Path(curate.__file__).parents[1])
    subprocess.run([sys.executable, "-c", TWO, root, str(port), str(tmp_path / "two")], check=True, timeout=120)

    data, rng = curate.load((np.zeros((7, 2), np.float32), np.arange(7) % 3)), np.random.default_rng(0)
    recorder = curate.Recorder(tmp_path / "one", data)
    for _ in range(3):
        order, logits = rng.permutation(7), torch.from_numpy(rng.normal(size=(7, 3)).astype(np.float32))
        recorder.log(order, logits[order])
        recorder.end_epoch()

    one, two = (tmp_path / name / "runs" / "recorded" / "dynamics" for name in ("one", "two"))
    assert len(list(one.iterdir())) == 3
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()


def test_several_processes_without_a_group_are_told_of(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")

    with pytest.raises(UsageError, match="after init_process_group"):
        curate.Recorder(tmp_path / "run", curate.load((np.zeros((4, 2), np.float32), np.arange(4) % 2)))
