"""The same job in one process, in several, in parts and on Ray: the same bytes, whoever is lost on the way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate
from curate.errors import DoesNotFitError, InputError, MissingExtraError, OptionError, OtherJobError, UsageError
from curate.locks import locked
from curate.stages.parts import Part
from curate.store import Store

SCORERS = ["aum", "datamap", "random", "vog", "trak:width=16"]  # the last two visit checkpoints, and read all rows before they score one
OPTIONS = {"shard_rows": 20, "epochs": 3}

# A scorer that kills its worker the first time it meets row 40, and one that says how often it was opened.
MINE = """
import os, signal
from pathlib import Path
import numpy as np
from curate.protocols import PerRow

class Fatal(PerRow):
    requires = ("label",)
    def __init__(self, *, mark: str) -> None:
        self.mark = mark
    def score_rows(self, shard):
        if 40 in shard.rows and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"score": shard["label"].astype("float32") + 1}

class Odd(PerRow):
    requires = ("label",)
    def score_rows(self, shard):
        return {"points": shard["label"]}

class Doomed(PerRow):
    requires = ("label",)
    def score_rows(self, shard):
        os.kill(os.getpid(), signal.SIGKILL)

class Heavy(PerRow):
    requires = ("label",)
    def __init__(self, *, log: str) -> None:
        self.log = log
    def open(self, device: str) -> None:
        self.model = device
        with open(self.log, "a") as file:
            file.write(f"open {os.getpid()}\\n")
    def close(self) -> None:
        del self.model
        with open(self.log, "a") as file:
            file.write(f"close {os.getpid()}\\n")
    def score_rows(self, shard):
        assert self.model == "cpu"
        return {"score": shard["label"].astype("float32")}
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    x = rng.normal(size=(90, 4)) + 2 * np.eye(4)[labels]
    pq.write_table(pa.table({"x": x.astype(np.float32).tolist(), "label": labels}), folder / "data.parquet")
    (folder / "mine.py").write_text(MINE)
    return folder


@pytest.fixture(scope="module")
def truth(source):
    curate.score(source / "data.parquet", SCORERS, out=source / "truth", **OPTIONS)
    return contents(source / "truth")


@pytest.fixture(scope="module")
def ray_engine():
    """One cluster for all: starting one takes seconds. It has room for the two workers of one job."""
    ray = pytest.importorskip("ray")
    paths = os.pathsep.join([str(Path(curate.__file__).parents[1]), *filter(None, sys.path)])
    small = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 1 << 27, "log_to_driver": False}
    ray.init(**small, logging_level="error", runtime_env={"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}})
    yield
    ray.shutdown()


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in ("log.jsonl", ".lock")
    }


def test_two_workers_give_the_same_bytes(source, truth, tmp_path):
    front = Path(curate.__file__).parents[1] / "cli.py"  # its workers import it again, and must not run it
    words = ["--out", tmp_path / "s", "--shard-rows", 20, "--epochs", 3, "--workers", 2, *(w for s in SCORERS for w in ("--scorer", s))]

    done = subprocess.run([sys.executable, front, "score", source / "data.parquet", *map(str, words)], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "s") == truth


def test_three_parts_are_joined_to_the_same_bytes(source, truth, tmp_path):
    for part in ("2/3", "3/3", "1/3"):
        curate.score(source / "data.parquet", SCORERS, out=tmp_path / "s", shard=part, **OPTIONS)
    scored = sum(line["what"] == "score" for path in (tmp_path / "s" / "parts").iterdir() for line in Store.open(path).history())

    curate.score(source / "data.parquet", SCORERS, out=tmp_path / "s", **OPTIONS)

    assert contents(tmp_path / "s") == truth
    assert not (tmp_path / "s" / "parts").exists()
    assert scored == 15 and sum(line["what"] == "score" for line in Store.open(tmp_path / "s").history()) == 15  # nothing was done again


def test_a_part_that_is_missing_is_done_when_the_others_are_joined(source, truth, tmp_path):
    curate.score(source / "data.parquet", SCORERS, out=tmp_path / "s", shard="2/3", **OPTIONS)

    curate.score(source / "data.parquet", SCORERS, out=tmp_path / "s", **OPTIONS)

    assert contents(tmp_path / "s") == truth


def test_parts_that_start_together_train_once(source, truth, tmp_path):
    words = [
        "score",
        source / "data.parquet",
        *(w for s in SCORERS for w in ("--scorer", s)),
        "--out",
        tmp_path / "s",
        "--shard-rows",
        20,
        "--epochs",
        3,
    ]
    entry = [sys.executable, "-c", "from curate.cli import main; main()", *map(str, words)]

    both = [subprocess.Popen([*entry, "--shard", f"{i}/2"], env=os.environ | {"OMP_NUM_THREADS": "1"}) for i in (1, 2)]

    assert [process.wait(timeout=180) for process in both] == [0, 0]
    (run,) = (tmp_path / "s" / "runs").iterdir()
    done = [line["what"] for line in Store.open(run).history()]
    assert done.count("epoch") == 3 and done.count("sweep") == 5  # a range each, whoever came to it first
    curate.score(source / "data.parquet", SCORERS, out=tmp_path / "s", **OPTIONS)
    assert contents(tmp_path / "s") == truth


def test_a_part_that_is_still_written_is_not_joined(source, tmp_path):
    curate.score(source / "data.parquet", ["random"], out=tmp_path / "s", shard="1/2", shard_rows=20)

    with locked(tmp_path / "s" / "parts" / "1-of-2"), pytest.raises(OtherJobError, match="Another process is writing"):
        curate.score(source / "data.parquet", ["random"], out=tmp_path / "s", shard_rows=20)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", ""])
def test_a_part_that_cannot_be_is_refused(text):
    with pytest.raises(OptionError, match="--shard takes I/N"):
        Part.parse(text)


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "5"}, Part(3, 4)),
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "0"}, Part(1, 4)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, Part(2, 2)),
    ],
)
def test_slurm_and_torchrun_say_which_part_it_is(monkeypatch, environment, part):
    for name in ("SLURM_ARRAY_TASK_ID", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert Part.parse("auto") == part


def test_without_either_auto_is_refused(monkeypatch):
    for name in ("SLURM_ARRAY_TASK_ID", "RANK"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(OptionError, match="Write --shard I/N"):
        Part.parse("auto")


def test_every_shard_belongs_to_one_part():
    assert [sum(Part(i, 3).has(shard) for i in (1, 2, 3)) for shard in range(10)] == [1] * 10


def test_a_lost_worker_costs_its_shard(source, tmp_path):
    spec = f"{source / 'mine.py'}:Fatal:mark={tmp_path / 'mark'}"

    scores = curate.score(source / "data.parquet", [spec], out=tmp_path / "s", workers=2, shard_rows=20)

    assert (tmp_path / "mark").exists()
    np.testing.assert_array_equal(scores["fatal"], np.arange(90) % 3 + 1)


def test_workers_that_die_again_and_again_are_given_up(source, tmp_path):
    with pytest.raises(DoesNotFitError, match="Worker processes died 4 times"):
        curate.score(source / "data.parquet", [f"{source / 'mine.py'}:Doomed"], out=tmp_path / "s", workers=2, shard_rows=45)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_heavy_is_opened_once_in_each_process(source, tmp_path, workers):
    log = tmp_path / "log"

    curate.score(source / "data.parquet", [f"{source / 'mine.py'}:Heavy:log={log}"], out=tmp_path / "s", workers=workers, shard_rows=20)

    said = [line.split() for line in log.read_text().splitlines()]
    opened = [process for what, process in said if what == "open"]
    assert len(opened) == len(set(opened)) <= workers
    assert sorted(opened) == sorted(process for what, process in said if what == "close")
    if workers == 1:
        assert log.read_text().splitlines() == [f"open {os.getpid()}", f"close {os.getpid()}"]


def test_ray_workers_open_once_and_close(source, tmp_path, ray_engine):
    log = tmp_path / "log"

    curate.score(
        source / "data.parquet", [f"{source / 'mine.py'}:Heavy:log={log}"], out=tmp_path / "s", engine="ray", workers=2, shard_rows=20
    )

    said = [line.split() for line in log.read_text().splitlines()]
    opened = sorted(process for what, process in said if what == "open")
    assert len(set(opened)) == len(opened) and opened == sorted(process for what, process in said if what == "close")


def test_more_workers_than_the_cluster_has_room_for_still_end(source, tmp_path, ray_engine):
    scores = curate.score(source / "data.parquet", ["random"], out=tmp_path / "s", engine="ray", workers=4, shard_rows=20)

    assert len(scores["random"]) == 90


def test_a_worker_that_no_cluster_node_can_hold_is_refused(source, tmp_path, ray_engine):
    with pytest.raises(DoesNotFitError, match=r"needs 1 CPU and 500 GPU; the Ray cluster has 2 CPU"):
        curate.score(source / "data.parquet", ["random"], out=tmp_path / "s", engine="ray", worker_gpus=500)


def test_ray_gives_the_same_bytes(source, truth, tmp_path, ray_engine):
    curate.score(source / "data.parquet", SCORERS, out=tmp_path / "s", engine="ray", workers=2, **OPTIONS)

    assert contents(tmp_path / "s") == truth


def test_a_lost_ray_worker_costs_its_shard_and_changes_no_byte(source, tmp_path, ray_engine):
    spec = f"{source / 'mine.py'}:Fatal:mark={tmp_path / 'mark'}"

    curate.score(source / "data.parquet", [spec], out=tmp_path / "s", engine="ray", workers=2, shard_rows=20)

    assert (tmp_path / "mark").exists()  # a worker died; this process, scoring after it, does not
    curate.score(source / "data.parquet", [spec], out=tmp_path / "undisturbed", shard_rows=20)
    assert contents(tmp_path / "s") == contents(tmp_path / "undisturbed")


def test_what_a_killed_process_began_ray_finishes(source, tmp_path, ray_engine):
    front = Path(curate.__file__).parents[1] / "cli.py"
    scorers = [*SCORERS, f"{source / 'mine.py'}:Fatal:mark={tmp_path / 'mark'}"]
    words = ["--out", tmp_path / "s", "--shard-rows", 20, "--epochs", 3, *(w for s in scorers for w in ("--scorer", s))]

    done = subprocess.run([sys.executable, front, "score", source / "data.parquet", *map(str, words)], capture_output=True, text=True)

    assert done.returncode == -signal.SIGKILL, done.stderr
    begun = sum(len(Store.open(tmp_path / "s").files(name)) for name in (*SCORERS, "Fatal"))
    assert 0 < begun < 5 * len(scorers)
    curate.score(source / "data.parquet", scorers, out=tmp_path / "s", engine="ray", workers=2, **OPTIONS)
    curate.score(source / "data.parquet", scorers, out=tmp_path / "undisturbed", **OPTIONS)
    assert contents(tmp_path / "s") == contents(tmp_path / "undisturbed")


def test_an_error_in_a_ray_worker_is_the_error_itself(source, tmp_path, ray_engine):
    with pytest.raises(InputError, match='gave the columns points; one called "score" is expected'):
        curate.score(source / "data.parquet", [f"{source / 'mine.py'}:Odd"], out=tmp_path / "s", engine="ray", workers=2)


def test_data_in_memory_is_scored_here_and_that_is_said(tmp_path, capsys):
    from curate.terminal import Terminal

    data = curate.load((np.zeros((10, 2), np.float32), np.arange(10) % 2))

    scores = curate.score(data, ["random"], out=tmp_path / "s", workers=2, progress=Terminal())

    assert len(scores["random"]) == 10
    assert "cannot go to another process" in " ".join(capsys.readouterr().err.split())


def test_a_head_that_does_not_answer_is_told_of_at_once(source, tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"

    words = [str(source / "data.parquet"), "--scorer", "random", "--out", str(tmp_path / "s"), "--engine", "ray", "--ray-address", address]
    entry = [sys.executable, "-c", "from curate.cli import main; main()", "score"]
    failed = subprocess.run([*entry, *words], capture_output=True, text=True)

    assert failed.returncode == 3
    assert f'No Ray head answers at "{address}"' in failed.stderr
    assert not (tmp_path / "s").exists()


def test_without_ray_the_extra_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(MissingExtraError, match=r"curatekit\[ray\]"):
        curate.score(source / "data.parquet", ["random"], out=tmp_path / "s", engine="ray")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"engine": "rey"}, OptionError, 'Did you mean "ray"'),
        ({"ray_address": "auto"}, UsageError, "goes with --engine ray"),
        ({"shard": "1/2", "overwrite": True}, UsageError, "does not go with --overwrite"),
    ],
)
def test_what_does_not_go_together_is_refused(source, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        curate.score(source / "data.parquet", ["random"], out=tmp_path / "s", **options)

    assert not Path(tmp_path / "s").exists()
