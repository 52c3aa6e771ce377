"""A real kill -9 at seeded instants, the same command again, and the bytes compared with an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

COMMAND = [sys.executable, "-c", "from curate.cli import main; main()"]
SCORE = ["score", "sample:digits", "--limit", "300", "--scorer", "aum", "--scorer", "datamap", "--scorer", "el2n", "--quiet"]
SIZES = ["--epochs", "6", "--shard-rows", "64", "--batch-size", "64"]
DEADLINE = 120  # seconds after which a test is stuck rather than slow


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "log.jsonl"}


def begin(arguments, out):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [*COMMAND, *arguments, "--out", str(out)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # which a shell's background jobs, such as these tests, ignore
    )


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


def test_a_score_store_killed_again_and_again_equals_an_undisturbed_one(undisturbed, tmp_path):
    out, epoch = tmp_path / "scores", random.Random(0).randint(3, 5)
    instants = {
        "between state and epoch": lambda out: files(out, "runs/*/state/epoch-00002.safetensors") > 0,
        "while an epoch is written": lambda out: files(out, f"runs/*/dynamics/epoch-{epoch:05d}.arrow*") > 0,
        "in the clean pass": lambda out: files(out, "runs/*/eval/*") > 0,
        "while a score is written": lambda out: files(out, "aum/part-00002.arrow*") > 0,
    }
    for name, reached in instants.items():
        assert kill_when([*SCORE, *SIZES], out, reached), f"the command was done before the kill {name}"

    finish([*SCORE, *SIZES], out)

    assert contents(out) == contents(undisturbed)
    lines = [json.loads(line) for log in out.glob("runs/*/log.jsonl") for line in log.read_text().splitlines()]
    assert len([line for line in lines if line["what"] == "epoch"]) <= 6 + len(instants)  # a kill costs an epoch at most


SELECT = ["select", "sample:digits", "--limit", "300", "--sampler", "random", "--budget", "50%", "--quiet"]


def test_a_selection_killed_while_its_data_is_written_equals_an_undisturbed_one(tmp_path):
    finish(SELECT, tmp_path / "whole")

    kill_when(SELECT, tmp_path / "killed", lambda out: files(out, "data/*") > 0)
    finish(SELECT, tmp_path / "killed")

    whole, killed = contents(tmp_path / "whole"), contents(tmp_path / "killed")
    for name in ("README.md", "manifest.json"):  # the card repeats the command, which names the folder
        whole[name], killed[name] = b"", b""
    assert killed == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminated"])
def test_an_interrupted_job_says_in_one_line_that_it_can_go_on(tmp_path, number, code):
    # So many epochs that it is still at work when a busy machine lets this process send its signal.
    process = begin([*SCORE, "--epochs", "500", "--batch-size", "64"], tmp_path / "scores")
    while process.poll() is None and not files(tmp_path / "scores", "runs/*/dynamics/epoch-00001.arrow"):
        time.sleep(0.001)
    process.send_signal(number)
    _, errors = process.communicate(timeout=DEADLINE)

    assert process.returncode == code
    assert errors.decode().strip().startswith("Error: ") and len(errors.decode().strip().splitlines()) == 1
