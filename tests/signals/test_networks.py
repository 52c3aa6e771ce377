"""Encoders that read a network: built small, with random weights."""

import sys
import types

import numpy as np
import pyarrow as pa
import pytest
import torch

import curate
from curate.errors import InputError, MissingExtraError, OptionError, OtherDatasetError, UnknownNameError

transformers = pytest.importorskip("transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "very", "a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny BERT with random weights, laid out as `save_pretrained` does."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    path.mkdir()
    (path / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    sizes = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertModel(transformers.BertConfig(**sizes, max_position_embeddings=32)).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def texts():
    cells = [f"a {'very ' * (i % 4)}{'good' if i % 2 else 'bad'} film" for i in range(24)]
    return curate.load(pa.table({"text": [*cells, " "], "label": [*["bad", "good"] * 12, "bad"]}))


def test_hf_takes_the_mean_over_tokens_whatever_is_batched_beside(folder, texts, tmp_path):
    made = curate.embed(texts, encoder=f"hf:{folder}", out=tmp_path / "e", max_failures=0.1)

    model = transformers.BertModel.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)
    for row in (0, 3):  # of different lengths
        mean = model(**tokens(texts.texts(row, row + 1)[0], return_tensors="pt")).last_hidden_state.mean(dim=1)[0]
        expected = torch.nn.functional.normalize(mean, dim=0).detach().numpy()
        np.testing.assert_allclose(made.matrix[row], expected, atol=1e-5)
    assert made.failed == {"empty_text": 1} and made.store.job["encoder"].startswith("hf:tiny#")


def test_sentence_vectors_are_those_of_sentence_transformers(folder, texts, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")

    made = curate.embed(texts, encoder=f"sentence:{folder}", out=tmp_path / "e", max_failures=0.1)

    peer = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(made.matrix[:24], peer.encode(texts.texts(0, 24), normalize_embeddings=True), atol=1e-5)
    assert made.failed == {"empty_text": 1} and str(folder) not in made.store.job["encoder"]


def test_a_model_that_is_nowhere_is_said_to_be(texts, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(InputError, match="Could not load the tokenizer of"):
        curate.embed(texts, encoder=f"hf:{tmp_path / 'none'}", out=tmp_path / "e")


def test_the_features_of_a_run_are_what_its_last_layer_reads(tmp_path):
    data = curate.load("sample:digits", limit=60)
    curate.score(data, ["el2n:mode=online", "entropy"], epochs=1, out=tmp_path / "scores")

    made = curate.embed(data, encoder=f"run:{tmp_path / 'scores'}", out=tmp_path / "e", shard_rows=25)

    from safetensors.numpy import load_file

    run = next((tmp_path / "scores" / "runs").iterdir())
    layer = load_file(str(next((run / "checkpoints").iterdir())))
    weight, bias = (
        next(value for name, value in layer.items() if name.endswith(end) and value.shape[0] == 10) for end in ("weight", "bias")
    )
    logits = made.matrix.astype(np.float64) @ weight.T + bias
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(-(p * np.log(p)).sum(axis=1), curate.Scores.open(tmp_path / "scores")["entropy"], atol=1e-4)
    assert made.store.job["encoder"] == f"run:{run.name}"
    with pytest.raises(OtherDatasetError):
        curate.embed(curate.load("sample:digits", limit=50), encoder=f"run:{tmp_path / 'scores'}", out=tmp_path / "other")


class Colours(torch.nn.Module):
    """A timm model as far as we look at one: the mean of each colour plane."""

    pretrained_cfg = types.MappingProxyType({"input_size": (3, 4, 4), "crop_pct": 1.0, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.25, 0.5)})

    def forward(self, x):
        return x.mean(dim=(2, 3))


def test_timm_images_are_sized_and_normalised_as_the_model_wants(tmp_path, monkeypatch):
    """timm itself needs torchvision, which is not installed here; the stand-in has its three names that we use."""
    stand_in = types.SimpleNamespace(list_models=lambda: ["colours"], create_model=lambda name, pretrained, num_classes: Colours())
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    grey = np.full((2, 8, 6), 51, np.uint8)  # 0.2 of white

    made = curate.embed(curate.load((grey, np.arange(2))), encoder="timm:colours", out=tmp_path / "e")

    # (0.2 - 0.5) / 0.5, (0.2 - 0.5) / 0.25
    np.testing.assert_allclose(made.matrix, [[-0.6, -1.2, -0.6]] * 2, atol=1e-6)
    with pytest.raises(UnknownNameError, match='Did you mean "colours"'):
        curate.embed(curate.load((grey, np.arange(2))), encoder="timm:colour", out=tmp_path / "f")


def test_what_is_not_installed_is_named(texts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    images = curate.load((np.zeros((2, 8, 8), np.uint8), np.arange(2)))

    with pytest.raises(MissingExtraError, match=r"curatekit\[timm\]"):
        curate.embed(images, encoder="timm:resnet18", out=tmp_path / "e")
    with pytest.raises(OptionError, match="Leave out --dimensions"):
        curate.embed(images, encoder="timm:resnet18", dimensions=4, out=tmp_path / "e")
