"""`ask_llm` over HTTP: a small server that misbehaves, a real kill half way, and no paid request made twice."""

import collections
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMAND = [sys.executable, "-c", "from curate.cli import main; main()", "score"]
DEADLINE = 240  # seconds after which a test is stuck rather than slow


class Stub:
    """Answers each prompt well at last; the first time it may say 429 or 500, cut its body short, or send half of the JSON."""

    def __init__(self):
        self.sent, self.answered, self.blocks_after = collections.Counter(), collections.Counter(), None
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *words):
                """Says nothing."""

            def do_GET(self):
                self.say(200, b'{"data": [{"id": "stub"}]}')

            def do_POST(self):
                prompt = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][0]["content"]
                if stub.blocks_after is not None and stub.answered.total() >= stub.blocks_after:
                    threading.Event().wait(DEADLINE)
                stub.sent[prompt] += 1
                fault = len(stub.sent) % 6 if stub.sent[prompt] == 1 else 5
                top = [{"token": "yes", "logprob": -0.5 - len(prompt) / 1e4}, {"token": "no", "logprob": -2.0}]
                body = json.dumps({"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]}).encode()
                if fault < 2:
                    self.say((429, 500)[fault], b"")
                elif fault == 2:
                    self.say(200, body[:20], length=len(body))
                    self.close_connection = True
                else:
                    stub.answered[prompt] += fault != 3
                    self.say(200, body[:30] if fault == 3 else body)

            def say(self, code, body, length=None):
                self.send_response(code)
                self.send_header("retry-after", "0")
                self.send_header("content-length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def stub():
    made = Stub()
    yield made
    made.server.shutdown()


def command(folder, stub, out, *more):
    file = folder / "texts.jsonl"
    if not file.exists():
        file.write_text("".join(json.dumps({"text": f"text number {i} says this"}) + "\n" for i in range(60)), encoding="utf-8")
    scorer = f"ask_llm:model={stub.url},concurrency=4,wait=0.01,timeout=5"
    return [*COMMAND, str(file), "--scorer", scorer, "--shard-rows", "25", "--out", str(folder / out), *more]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "log.jsonl"}


def test_a_killed_job_asks_nothing_twice_and_ends_as_an_undisturbed_one(stub, tmp_path):
    stub.blocks_after = 35
    process = subprocess.Popen(command(tmp_path, stub, "killed"), stderr=subprocess.DEVNULL)
    started = time.monotonic()
    while stub.answered.total() < 35:
        assert process.poll() is None and time.monotonic() - started < DEADLINE
        time.sleep(0.01)
    time.sleep(0.5)  # the last answer is on its way to the disk
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    stub.blocks_after = None

    subprocess.run(command(tmp_path, stub, "killed"), check=True, capture_output=True, timeout=DEADLINE)

    assert len(stub.answered) == 60
    assert set(stub.answered.values()) == {1}
    subprocess.run(command(tmp_path, stub, "whole"), check=True, capture_output=True, timeout=DEADLINE)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_more_requests_than_allowed_are_refused_before_the_first(stub, tmp_path):
    done = subprocess.run(command(tmp_path, stub, "out", "--max-requests", "50"), capture_output=True, text=True, timeout=DEADLINE)

    assert done.returncode == 2
    assert "needs 60 requests" in done.stderr
    assert stub.sent.total() == 0
