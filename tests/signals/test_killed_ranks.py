"""Two processes that train together, killed with SIGKILL and started again, give what one undisturbed process gives.

Run as a program it is the training itself: one process imports torch and forks the ranks of every run.
"""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import curate
from curate.samplers import InfoBatch

N, EPOCHS, BATCH, SAVE_EVERY = 45, 5, 4, 4  # rows of a rank's batch; steps between checkpoints
SOFT = {"rtol": 1e-5, "atol": 1e-6}  # sums of gradients in another order
# Who is killed in which step of a start, before its gradient reaches the other: in mid-epoch, and with an epoch written since.
KILLS = (((1,), 9), ((0, 1), 4), ((0,), 6))


def main(out: Path) -> None:
    import datasets  # noqa: F401  # once for all, before they fork
    import torch._dynamo  # noqa: F401  # what DDP and optimisers import

    fork = multiprocessing.get_context("fork")
    for name, world, kills in (("one", 1, ()), ("two", 2, ()), ("killed", 2, KILLS)):
        for start, (victims, step) in enumerate((*kills, ((), 0))):
            each = [(out / name, rank, world, start, step if rank in victims else 0) for rank in range(world)]
            ranks = [fork.Process(target=train, args=one) for one in each]
            for rank in ranks:
                rank.start()
            for victim in victims:
                ranks[victim].join()
                assert ranks[victim].exitcode == -signal.SIGKILL
            if victims:
                for rank in ranks:  # who waits for a dead one
                    rank.kill()
            for rank in ranks:
                rank.join()
            assert victims or [rank.exitcode for rank in ranks] == [0] * world


def train(out: Path, rank: int, world: int, start: int, killed_in: int) -> None:
    out.mkdir(exist_ok=True)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{out}/meeting-{start}", rank=rank, world_size=world)
    x, y = rows()
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    model = DistributedDataParallel(inner) if world > 1 else inner
    optimizer = torch.optim.SGD(inner.parameters(), 0.3, momentum=0.9)
    sampler = InfoBatch(N, EPOCHS, seed=3)
    recorder = curate.Recorder(out / "run", curate.load((x.numpy(), y.numpy())), resume=start > 0)
    step, first, seen = resume(out, rank, world, inner, optimizer, recorder, sampler)
    loader = DataLoader(TensorDataset(torch.arange(N), x, y), batch_size=BATCH * 2 // world, sampler=sampler)
    begun = step
    for epoch in range(first, EPOCHS):
        sampler.set_epoch(epoch)
        for where, inputs, labels in filled_up(loader, world):
            logits = model(inputs)
            losses = nn.functional.cross_entropy(logits, labels, reduction="none")
            recorder.log(where, logits.detach(), labels)
            sampler.update(where, losses)
            weight = sampler.weight(where)
            seen.append(torch.stack((torch.full_like(weight, epoch), where.float(), weight)))
            if killed_in and step - begun == killed_in:
                os.kill(os.getpid(), signal.SIGKILL)
            optimizer.zero_grad()
            (losses * weight).mean().backward()
            optimizer.step()
            step += 1
            if step % SAVE_EVERY == 0:
                state = {"model": inner.state_dict(), "optimizer": optimizer.state_dict(), "seen": torch.cat(seen, 1)}
                save(state | {"recorder": recorder.state_dict(), "sampler": sampler.state_dict()}, out / f"state-{rank}-{step}")
        recorder.end_epoch()
    save({"model": inner.state_dict(), "seen": torch.cat(seen, 1)}, out / f"end-{rank}")
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, N)
    return torch.from_numpy(rng.normal(y[:, None], 1.5, (N, 6)).astype(np.float32)), torch.from_numpy(y)


def filled_up(loader, world):
    """The batches; one process alone fills an odd epoch up with its first row, as ranks do."""
    batches = list(loader) if world == 1 else loader
    if world == 1 and sum(len(batch[0]) for batch in batches) % 2:
        batches[-1] = [torch.cat((last, first[:1])) for last, first in zip(batches[-1], batches[0], strict=True)]
    return batches


def save(state, path: Path) -> None:
    torch.save(state, f"{path}.part")
    os.replace(f"{path}.part", path)


def resume(out: Path, rank: int, world: int, model, optimizer, recorder, sampler):
    """From the newest checkpoint that all ranks have: the step, the epoch, and what was presented until then."""
    had = [{int(re.sub(r".*-", "", path.name)) for path in out.glob(f"state-{one}-*[0-9]")} for one in range(world)]
    both = set.intersection(*had)
    if not both:
        return 0, 0, []
    state = torch.load(out / f"state-{rank}-{max(both)}", weights_only=True)
    for part, name in ((model, "model"), (optimizer, "optimizer"), (recorder, "recorder"), (sampler, "sampler")):
        part.load_state_dict(state[name])
    return max(both), state["sampler"]["epoch"], [state["seen"]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(curate.__file__).parents[1])}
    subprocess.run([sys.executable, __file__, str(out)], env=environment, check=True, timeout=300)
    return out


def ended(run, rank):
    return torch.load(run / f"end-{rank}", weights_only=True)


def recorded(run):
    return {path.name: path.read_bytes() for path in (run / "run/runs/recorded/dynamics").iterdir()}


def test_ranks_killed_and_resumed_equal_undisturbed_ones_in_every_bit(runs):
    assert recorded(runs / "killed") == recorded(runs / "two") and len(recorded(runs / "two")) == EPOCHS
    for rank in range(2):
        torch.testing.assert_close(ended(runs / "killed", rank), ended(runs / "two", rank), rtol=0, atol=0)


def test_they_see_the_rows_with_the_weights_and_end_with_the_model_of_one_process(runs):
    one, two = ended(runs / "one", 0), [ended(runs / "killed", rank) for rank in range(2)]

    together = torch.stack([two[rank]["seen"] for rank in range(2)], dim=2).flatten(1)
    torch.testing.assert_close(together, one["seen"], rtol=0, atol=0)
    assert len(set(one["seen"][2].tolist())) > 1  # rows were dropped, and others weighed more
    torch.testing.assert_close(two[0]["model"], one["model"], **SOFT)
    torch.testing.assert_close(two[0]["model"], two[1]["model"], rtol=0, atol=0)


def test_their_recording_scores_as_that_of_one_process(runs):
    data = curate.load(tuple(part.numpy() for part in rows()))
    names = ["el2n:mode=online", "aum", "forgetting", "datamap"]
    one, two = (curate.Recorder(runs / name / "run", data, resume=True).score(names) for name in ("one", "killed"))

    for name in names:
        name = name.partition(":")[0]
        np.testing.assert_allclose(two[name], one[name], **SOFT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
