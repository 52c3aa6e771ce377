"""What comes from a hub: asked once whether it is there, and an error that says what to do."""

import pytest

from curate.errors import InputError
from curate.signals import hub


@pytest.fixture
def nobody(monkeypatch):
    """A hub at an address of this machine where nothing listens."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    hub._answers.cache_clear()
    yield
    hub._answers.cache_clear()


def test_a_hub_that_is_away_is_asked_once_and_the_cache_alone_afterwards(nobody):
    asked = []

    found = [hub.loaded("weights", "org/name", lambda name, **options: asked.append(options) or name) for _ in range(3)]

    assert found == ["org/name"] * 3
    assert asked == [{"trust_remote_code": False, "local_files_only": True}] * 3
    assert hub._answers.cache_info().misses == 1


def test_a_model_that_is_neither_here_nor_in_reach_says_what_mends_it(nobody):
    from transformers import AutoConfig

    with pytest.raises(
        InputError, match=r'"org/name": there is no such folder, the hub \(http://127\S+\) cannot be reached.* folder made by'
    ):
        hub.loaded("configuration", "org/name", AutoConfig.from_pretrained)


def test_a_folder_needs_no_hub(nobody, tiny_language_model):
    from transformers import AutoTokenizer

    assert len(hub.loaded("tokenizer", tiny_language_model("gpt2"), AutoTokenizer.from_pretrained)) > 100
    assert hub._answers.cache_info().misses == 0


def test_a_broken_folder_says_what_the_library_found(tmp_path):
    from transformers import AutoConfig

    with pytest.raises(InputError, match=r"Could not load the configuration .* Is it a hub name"):
        hub.loaded("configuration", str(tmp_path), AutoConfig.from_pretrained)
