import importlib
import subprocess
import sys

import pytest

import curate
from curate.plugins import FOLDERS, ROOMS, methods


@pytest.mark.parametrize("name", curate.__all__)
def test_every_public_name_is_there(name):
    assert getattr(curate, name) is not None


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'scroe'"):
        _ = curate.scroe


def test_importing_the_facade_imports_nothing_heavy():
    code = "import sys, curate; print(sorted({'numpy', 'torch', 'datasets', 'pyarrow'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("room", ROOMS)
def test_every_class_of_a_menu_is_an_attribute_of_its_room(room):
    for method in methods(room).values():
        if method.origin == "curate":
            name = method.target.partition(":")[2]
            assert getattr(importlib.import_module(f"curate.{FOLDERS[room]}"), name).__name__ == name


def test_every_public_thing_says_what_it_is():
    for name in curate.__all__:
        if name != "__version__":
            assert (getattr(curate, name).__doc__ or "").strip(), name
