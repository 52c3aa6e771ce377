import sys

import numpy as np
import pyarrow as pa
import pytest
import torch

import curate
from curate.errors import InputError, MissingExtraError, OptionError, UnknownNameError, UsageError
from curate.progress import Silent
from curate.signals.inputs import prepare
from curate.signals.models import MLP
from curate.signals.proxies import check_width, find

BUILD = "import torch\n\ndef build_model(shape, classes):\n    return torch.nn.Linear(shape[0], classes)\n"


@pytest.fixture(scope="module")
def vectors():
    return curate.load((np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32), np.arange(6) % 2))


@pytest.mark.parametrize(
    ("columns", "name"),
    [({"text": ["a", "b"], "label": ["x", "y"]}, "text_bag"), ({"n": [1.5, 2.5], "m": [3.5, 4.5], "label": ["x", "y"]}, "mlp")],
    ids=["text", "table"],
)
def test_each_kind_of_data_has_a_default(columns, name):
    assert find(None, curate.load(pa.table(columns))).name == name


def test_images_default_to_the_small_network():
    assert find(None, curate.load("sample:digits", limit=4)).name == "convnet"


def test_a_function_in_a_file_builds_the_model_and_is_known_by_its_content(vectors, tmp_path):
    (tmp_path / "mine.py").write_text(BUILD)
    proxy = find(f"{tmp_path}/mine.py:build_model", vectors)
    (tmp_path / "mine.py").write_text(BUILD + "# changed\n")

    assert proxy.build((3,), 2)(torch.zeros(1, 3)).shape == (1, 2)
    assert proxy.name.startswith("mine.py:build_model#") and str(tmp_path) not in proxy.name
    assert find(f"{tmp_path}/mine.py:build_model", vectors).name != proxy.name


def test_a_function_that_builds_no_module_is_refused(vectors, tmp_path):
    (tmp_path / "mine.py").write_text("def build_model(shape, classes):\n    return 3\n")

    with pytest.raises(InputError, match=r"returned int; a torch.nn.Module is expected"):
        find(f"{tmp_path}/mine.py:build_model", vectors).build((3,), 2)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("mpl", UnknownNameError, r'No model named "mpl". Did you mean "mlp"'),
        ("convnet", OptionError, r'"convnet" reads image, but .* is embedding data.*"mlp"'),
        ("missing.py:build_model", UsageError, "does not exist"),
        ("hf:no/such-folder", OptionError, "reads text, but"),
    ],
)
def test_a_model_that_cannot_be_had_is_named(vectors, name, error, message):
    with pytest.raises(error, match=message):
        find(name, vectors).prepare(vectors, torch.device("cpu"), Silent())


def test_a_function_that_is_not_in_the_file_is_named(vectors, tmp_path):
    (tmp_path / "mine.py").write_text("")

    with pytest.raises(UnknownNameError, match=r'mine\.py" has no function "build"'):
        find(f"{tmp_path}/mine.py:build", vectors)


def test_without_timm_the_extra_is_named(vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)

    with pytest.raises(MissingExtraError, match=r'pip install "curatekit\[timm\]"'):
        find("timm:resnet18", vectors).build((3, 8, 8), 2)


def test_without_transformers_the_extra_is_named(monkeypatch):
    data = curate.load(pa.table({"text": ["a", "b"], "label": ["x", "y"]}))
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(MissingExtraError, match=r'pip install "curatekit\[text\]"'):
        find("hf:org/name", data)


def test_a_model_of_another_width_is_refused_before_it_trains(vectors):
    inputs = prepare(vectors, torch.device("cpu"), Silent())

    with pytest.raises(InputError, match=r"shape \(2, 5\) for 2 rows; \(2, 2\) is expected"):
        check_width(MLP((3,), 5), inputs, torch.arange(2), 2)
