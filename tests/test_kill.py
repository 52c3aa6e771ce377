"""A real kill -9 at seeded instants, the same command again, and the bytes compared with an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-c", "from curate.cli import main; main()"]
SCORE = ["score", "sample:digits", "--limit", "300", "--scorer", "aum", "--scorer", "datamap", "--scorer", "el2n", "--quiet"]
SIZES = ["--epochs", "6", "--shard-rows", "64", "--batch-size", "64"]
DEADLINE = 120  # seconds after which a test is stuck rather than slow


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "log.jsonl"}


def begin(arguments, out):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([*COMMAND, *arguments, "--out", str(out)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(arguments, out):
    process = begin(arguments, out)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, errors.decode()


def kill_when(arguments, out, reached):
    """Starts the command and kills it as soon as `reached(out)` holds; whether it was still at work."""
    process = begin(arguments, out)
    started = time.monotonic()
    while process.poll() is None and not reached(out):
        assert time.monotonic() - started < DEADLINE
        time.sleep(0.001)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "scores"
    finish([*SCORE, *SIZES], out)
    return out


def files(out, pattern):
    return len(list(out.glob(pattern)))


@pytest.mark.parametrize(
    "reached",
    [
        lambda out: files(out, "runs/*/manifest.json") > 0,
        lambda out: files(out, "runs/*/state/epoch-00002.safetensors") > 0,
        lambda out: files(out, "runs/*/dynamics/epoch-00004.arrow*") > 0,
        lambda out: files(out, "aum/part-00002.arrow*") > 0,
    ],
    ids=["before the first epoch", "between state and epoch", "while an epoch is written", "while a score is written"],
)
def test_a_score_store_killed_and_resumed_equals_an_undisturbed_one(undisturbed, tmp_path, reached):
    out = tmp_path / "scores"

    assert kill_when([*SCORE, *SIZES], out, reached), "the command was done before the kill; ask for more work"
    finish([*SCORE, *SIZES], out)

    assert contents(out) == contents(undisturbed)


def test_a_store_killed_again_and_again_equals_an_undisturbed_one(undisturbed, tmp_path):
    out, rng = tmp_path / "scores", random.Random(0)
    for _ in range(2):
        kill_when([*SCORE, *SIZES], out, lambda out, epoch=rng.randint(1, 6): files(out, f"runs/*/dynamics/epoch-{epoch:05d}.arrow") > 0)

    finish([*SCORE, *SIZES], out)

    assert contents(out) == contents(undisturbed)


def test_a_killed_epoch_is_the_only_one_trained_again(undisturbed, tmp_path):
    out = tmp_path / "scores"
    kill_when([*SCORE, *SIZES], out, lambda out: files(out, "runs/*/dynamics/epoch-00003.arrow") > 0)
    finish([*SCORE, *SIZES], out)

    lines = [json.loads(line) for log in out.glob("runs/*/log.jsonl") for line in log.read_text().splitlines()]

    assert len([line for line in lines if line["what"] == "epoch"]) <= 7


SELECT = ["select", "sample:digits", "--limit", "300", "--sampler", "random", "--budget", "50%", "--quiet"]


@pytest.mark.parametrize(
    "pattern", ["manifest.json*", "selection.arrow*", "README.md*", "data/*"], ids=["manifest", "selection", "card", "data"]
)
def test_a_selection_killed_and_resumed_equals_an_undisturbed_one(tmp_path, pattern):
    finish(SELECT, tmp_path / "whole")

    kill_when(SELECT, tmp_path / "killed", lambda out: files(out, pattern) > 0)
    finish(SELECT, tmp_path / "killed")

    whole, killed = contents(tmp_path / "whole"), contents(tmp_path / "killed")
    for name in ("README.md", "manifest.json"):  # the card repeats the command, which names the folder
        whole[name], killed[name] = b"", b""
    assert killed == whole


@pytest.mark.parametrize("format", ["jsonl", "arrow", "ids", "parquet"])
def test_an_export_killed_and_resumed_is_whole(tmp_path, format):
    finish(["select", "sample:snips", "--limit", "200", "--sampler", "random", "--budget", "50%", "--quiet"], tmp_path / "subset")
    export = ["export", str(tmp_path / "subset"), "--format", format, "--quiet"]
    finish(export, tmp_path / "whole")

    kill_when(export, tmp_path / "killed", lambda out: files(out, "*") > 1)
    finish(export, tmp_path / "killed")

    assert contents(tmp_path / "killed").keys() == contents(tmp_path / "whole").keys()


def test_ctrl_c_and_termination_leave_one_line_and_a_store_that_goes_on(undisturbed, tmp_path):
    out = tmp_path / "scores"
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = begin([*SCORE, *SIZES], out)
        epoch = 1 if number == signal.SIGINT else 3
        while process.poll() is None and not files(out, f"runs/*/dynamics/epoch-{epoch:05d}.arrow"):
            time.sleep(0.001)
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE)

        assert process.returncode == code
        assert errors.decode().startswith("Error: ") and errors.count(b"\n") == 1, errors.decode()
    finish([*SCORE, *SIZES], out)
    assert contents(out) == contents(undisturbed)
