"""What every test gets: no network, and a cache of its own for the `datasets` library; and what many tests need."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # Both are read when `datasets` is first imported, before any fixture could set them.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HOME"] = config.stash[_CACHE] = tempfile.mkdtemp(prefix="curate-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_CACHE], ignore_errors=True)


_CACHE = pytest.StashKey[str]()

HOLD = """
import sys
from pathlib import Path
from curate.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held_elsewhere():
    """A context in which another process holds a folder's lock, until it is killed."""

    @contextmanager
    def hold(folder):
        with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout.readline().strip() == b"held"
            try:
                yield other
            finally:
                other.kill()

    return hold
