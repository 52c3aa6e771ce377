"""What every sampler for a training loop promises."""

import json
import socket
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import curate
from curate.errors import InputError, OptionError
from curate.samplers import RS2, Curriculum, InfoBatch, SeTa, Weighted
from curate.samplers.online import MENU

N, EPOCHS = 37, 8
SCORES = np.random.default_rng(0).gamma(2.0, size=N)
MAKERS = {
    "rs2": lambda **options: RS2(N, EPOCHS, share=0.3, **options),
    "infobatch": lambda **options: InfoBatch(N, EPOCHS, **options),
    "seta": lambda **options: SeTa(N, EPOCHS, share=0.1, **options),
    "weighted": lambda **options: Weighted(SCORES, EPOCHS, share=0.5, **options),
    "curriculum": lambda **options: Curriculum(SCORES, EPOCHS, **options),
}
every = pytest.mark.parametrize("name", MENU)


def loss_of(rows, epoch):
    return torch.tensor([SCORES[row] / (1 + epoch) for row in rows], dtype=torch.float32)


def epoch_of(sampler, epoch, batch=5):
    """The rows of one epoch, reporting losses batch by batch as a loop does."""
    rows = []
    stream = iter(sampler)
    while taken := list(islice(stream, batch)):
        sampler.update(taken, loss_of(taken, epoch))
        rows += taken
    return rows


@every
def test_each_iteration_is_the_next_epoch_and_equal_seeds_give_equal_rows(name):
    one, other = MAKERS[name](seed=3), MAKERS[name](seed=3)

    first = [epoch_of(one, e) for e in range(EPOCHS)]

    assert first == [epoch_of(other, e) for e in range(EPOCHS)]
    assert first != [epoch_of(sampler, e) for sampler in [MAKERS[name](seed=4)] for e in range(EPOCHS)]
    assert len({tuple(rows) for rows in first}) == EPOCHS
    assert one.visits == sum(map(len, first))
    assert one.saved == pytest.approx(1 - one.visits / (N * EPOCHS))


@every
def test_the_length_is_that_of_the_current_epoch(name):
    sampler = MAKERS[name]()

    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        assert len(sampler) == len(epoch_of(sampler, epoch)) == len(sampler)


@every
@pytest.mark.parametrize("stop", [0, 1, 4, 7, None], ids=lambda stop: f"after {stop} rows" if stop is not None else "at its end")
def test_a_resumed_sampler_goes_on_with_the_same_rows_and_weights(name, stop):
    whole = MAKERS[name]()
    truth = [epoch_of(whole, e, batch=1) for e in range(4)]
    weights = whole.weight(torch.arange(N)).tolist()
    killed, resumed = MAKERS[name](), MAKERS[name]()
    for e in range(2):
        epoch_of(killed, e, batch=1)
    for row in islice(iter(killed), stop):
        killed.update([row], loss_of([row], 2))

    resumed.load_state_dict(killed.state_dict())

    rest = [] if stop is None else epoch_of(resumed, 2, batch=1)
    assert rest == ([] if stop is None else truth[2][stop:])
    assert epoch_of(resumed, 3, batch=1) == truth[3]
    assert resumed.weight(torch.arange(N)).tolist() == weights


@every
def test_rows_that_a_loader_fetched_ahead_are_not_lost(name):
    sampler, resumed = MAKERS[name](), MAKERS[name]()
    rows = list(islice(iter(sampler), 9))

    resumed.load_state_dict(sampler.state_dict(seen=4))

    assert list(islice(iter(resumed), 5)) == rows[4:]


@every
def test_ranks_share_an_epoch_between_them(name):
    whole = epoch_of(MAKERS[name](), 0)
    ranks = [list(MAKERS[name](rank=rank, world=4)) for rank in range(4)]

    assert {len(rows) for rows in ranks} == {-(-len(whole) // 4)}
    assert [row for together in zip(*ranks, strict=True) for row in together][: len(whole)] == whole


@every
def test_a_data_loader_takes_it(name):
    data = TensorDataset(torch.arange(N))
    sampler = MAKERS[name]()
    loader = DataLoader(data, batch_size=4, sampler=sampler)

    for _ in range(3):
        batches = [rows for (rows,) in loader]
        assert len(batches) == len(loader) == -(-len(sampler) // 4)
        for rows in batches:
            assert sampler.weight(rows).shape == rows.shape
            sampler.update(rows, loss_of(rows.tolist(), 0))


@every
def test_the_steps_of_the_whole_run_are_known_to_a_scheduler(name):
    sampler = MAKERS[name]()
    promised = sampler.total_steps(4)

    steps = sum(-(-len(epoch_of(sampler, e)) // 4) for e in range(EPOCHS))

    assert sampler.total_steps(4) == steps  # all epochs are behind us
    if name in ("rs2", "weighted", "curriculum"):
        assert promised == steps


@every
def test_the_state_of_another_dataset_is_refused(name):
    state = MAKERS[name]().state_dict()
    other = RS2(N + 1, EPOCHS) if name == "rs2" else RS2(N, EPOCHS)

    with pytest.raises(InputError, match="The state is of"):
        other.load_state_dict(state)
    with pytest.raises(InputError, match=f"The state is of {N + 1} rows, but this one is of {N} rows. Resume with"):
        MAKERS[name]().load_state_dict({**state, "n": N + 1})
    with pytest.raises(InputError, match="no sampler's state: it has no n, name, seed"):
        MAKERS[name]().load_state_dict({"losses": state["losses"]})


@pytest.mark.parametrize(
    ("rows", "losses", "message"),
    [
        ([0, N], [1.0, 1.0], f"Row {N} is out of range"),
        ([-1], [1.0], "Row -1 is out of range"),
        ([0, 1], [1.0], 'reduction="none"'),
        ([0.5], [1.0], "whole numbers"),
        (None, [1.0], "whole numbers"),
    ],
)
def test_losses_that_do_not_fit_are_refused(rows, losses, message):
    with pytest.raises(InputError, match=message):
        InfoBatch(N, EPOCHS).update(rows, torch.tensor(losses))


def test_a_loss_that_is_not_finite_leaves_the_last_one():
    sampler = InfoBatch(3, 5)
    sampler.update([0, 1, 2], torch.tensor([0.1, 9.0, float("nan")]))

    sampler.set_epoch(1)

    assert {*sampler} == {0, 1, 2}  # of two known losses one is low, and of one low row at least one is kept


@every
def test_a_loop_that_reports_no_loss_is_told_of(name):
    sampler = MAKERS[name]()
    list(sampler)

    if sampler.reads_losses:
        with pytest.raises(InputError, match=r"after 1 epoch no finite one is known. Call sampler.update"):
            list(sampler)
    else:
        assert list(sampler)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RS2(range(5), 3),
        lambda: RS2(0, 3),
        lambda: RS2(5, 0),
        lambda: RS2(5, 3, share=0),
        lambda: RS2(5, 3, share=1.5),
        lambda: RS2(5, 3, rank=2, world=2),
        lambda: RS2(5, 3, rank=0),
        lambda: InfoBatch(5, 3, share=1),
        lambda: InfoBatch(5, 3, delta=2),
        lambda: SeTa(5, 3, groups=0),
        lambda: SeTa(5, 3, groups=3, window=0.1),
        lambda: Weighted(np.ones(3), 3, mix=-1),
        lambda: Curriculum(np.ones(3), 3, pace="slow"),
        lambda: Curriculum(np.ones(3), 3, order="random"),
    ],
)
def test_options_that_cannot_be_are_refused(make):
    with pytest.raises(OptionError):
        make()


TWO = """
import json, os, sys
import torch, torch.distributed as dist
sys.path.insert(0, sys.argv[1])
from curate.errors import InputError
from curate.samplers import InfoBatch, SeTa

port, state_file = sys.argv[2], sys.argv[3]
other_rank = os.fork()  # what is imported by now serves both
rank = 0 if other_rank else 1
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
found = []
for make in (lambda: InfoBatch(41, 6, seed=1), lambda: SeTa(41, 6, seed=1)):
    sampler = make()
    for epoch in range(3):
        rows = []
        for row in sampler:
            sampler.update([row], torch.tensor([float(row * 7 % 41) / (1 + epoch)]))
            rows.append(row)
            if epoch == 2 and len(rows) == 5:  # killed in the middle of an epoch, and resumed
                torch.save(sampler.state_dict(), f"{state_file}-{rank}")
                break
        found.append(rows)
    resumed = make()
    resumed.load_state_dict(torch.load(f"{state_file}-{rank}", weights_only=True))
    found.append(list(resumed))
    found.append(resumed.weight(torch.arange(41)).tolist())
refused = []
for n, seed in ((41 + rank, 1), (41, rank)):  # what must not hang
    try:
        list(InfoBatch(n, 6, seed=seed))
    except InputError as error:
        refused.append(str(error))
found.append(refused)
with open(f"{state_file}-{rank}.json", "w") as file:
    json.dump(found, file)
dist.barrier()
dist.destroy_process_group()  # a rank must not go while the other still speaks to it
if rank == 0:
    assert os.waitpid(other_rank, 0)[1] == 0
"""


def test_two_processes_killed_and_resumed_see_the_rows_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(curate.__file__).parents[1]
    subprocess.run([sys.executable, "-c", TWO, str(root), str(port), str(tmp_path / "state")], check=True, timeout=120)
    ranks = [json.loads((tmp_path / f"state-{rank}.json").read_text()) for rank in range(2)]

    expected = []
    for sampler in (InfoBatch(41, 6, seed=1), SeTa(41, 6, seed=1)):
        for epoch in range(3):
            rows = list(sampler)
            expected.append(rows)
            sampler.update(rows, torch.tensor([float(row * 7 % 41) / (1 + epoch) for row in rows]))
        expected.append(sampler.weight(torch.arange(41)).tolist())

    for which in range(2):
        one = expected[4 * which : 4 * which + 4]
        own = [rank[5 * which : 5 * which + 5] for rank in ranks]
        for epoch in range(2):
            together = [row for pair in zip(own[0][epoch], own[1][epoch], strict=True) for row in pair]
            assert together[: len(one[epoch])] == one[epoch]
        last = [row for pair in zip(own[0][2] + own[0][3], own[1][2] + own[1][3], strict=True) for row in pair]
        assert last[: len(one[2])] == one[2]
        assert own[0][4] == own[1][4] == one[3]
    assert "rows 41 here, but 42 on rank 1" in ranks[0][-1][0]
    assert "seed 1 here, but 0 on rank 0" in ranks[1][-1][1]
