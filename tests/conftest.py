"""What every test gets: no network, and a cache of its own for the `datasets` library."""

import os
import shutil
import tempfile

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # Both are read when `datasets` is first imported, before any fixture could set them.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HOME"] = config.stash[_CACHE] = tempfile.mkdtemp(prefix="curate-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_CACHE], ignore_errors=True)


_CACHE = pytest.StashKey[str]()
