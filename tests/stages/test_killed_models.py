"""A real kill -9 while a local language model scores, and the job again: no shard is scored twice, the bytes are the undisturbed ones."""

import json
import os
import signal
import subprocess
import sys
import time

import curate

DEADLINE = 240  # seconds after which a test is stuck rather than slow
ROWS, SHARD = 1200, 50
PROMPT = "Is this to inform? {datapoint} yes or no"


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "log.jsonl"}


def test_a_killed_model_scores_no_shard_twice_and_ends_as_an_undisturbed_one(tiny_language_model, tmp_path):
    data = tmp_path / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": f"the text number {i} " * (i % 20 + 1)}) + "\n" for i in range(ROWS)), encoding="utf-8")
    scorer = f"ask_llm:model={tiny_language_model('llama')},prompt={PROMPT}"
    job = {"scorers": [scorer], "shard_rows": SHARD}
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", f"import curate; curate.score({str(data)!r}, **{job!r}, out={str(killed)!r})"])
    started = time.monotonic()
    while len(list(killed.glob("ask_llm/*.arrow"))) < 3:
        assert process.poll() is None and time.monotonic() - started < DEADLINE
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    entered = {entry.file: killed / "ask_llm" / entry.file for entry in curate.Scores.open(killed).store.files("ask_llm")}
    done = {name: path.stat().st_mtime_ns for name, path in entered.items()}

    curate.score(str(data), **job, out=killed)

    assert 2 <= len(done) < ROWS // SHARD
    assert {name: path.stat().st_mtime_ns for name, path in entered.items()} == done
    curate.score(str(data), **job, out=tmp_path / "whole")
    assert contents(killed) == contents(tmp_path / "whole")
