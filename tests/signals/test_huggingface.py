import numpy as np
import pyarrow as pa
import pytest
import torch

import curate
from curate.errors import InputError, OptionError
from curate.progress import Silent
from curate.signals.proxies import find

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
        transformers.BertForSequenceClassification(transformers.BertConfig(**sizes, max_position_embeddings=32)).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def texts():
    cells = [f"a {'very ' * (i % 4)}{'good' if i % 2 else 'bad'} film" for i in range(24)]
    return curate.load(pa.table({"text": cells, "label": ["bad", "good"] * 12}))


def test_a_folder_is_fine_tuned_and_scored(folder, texts, tmp_path):
    scores = curate.score(texts, ["loss:over=mean", "entropy"], model=f"hf:{folder}", epochs=2, batch_size=8, out=tmp_path)

    assert np.isfinite(scores["loss"]).all() and np.isfinite(scores["entropy"]).all()
    assert scores.about("loss")["epochs"] == 2


def test_its_name_holds_no_path_and_follows_its_weights(folder, texts, tmp_path):
    name = find(f"hf:{folder}", texts).name
    other = tmp_path / "tiny"
    other.mkdir()
    for file in folder.iterdir():
        content = file.read_bytes()
        (other / file.name).write_bytes(content[:-1] + b"\x01" if file.suffix == ".safetensors" else content)

    assert name.startswith("hf:tiny#") and find(f"hf:{other}", texts).name != name


def test_texts_are_padded_to_the_longest_of_the_batch_and_masked(folder, texts):
    inputs = find(f"hf:{folder}", texts).prepare(texts, torch.device("cpu"), Silent())

    ids, mask = inputs.batch(torch.tensor([0, 3]))  # [CLS] a bad film [SEP]; three times "very" more

    assert ids.shape == (2, 8) and mask.sum(dim=1).tolist() == [5, 8]
    assert ids[0, 5:].tolist() == [0, 0, 0]


def test_what_a_row_is_batched_with_does_not_move_its_logits(folder, texts):
    proxy = find(f"hf:{folder}", texts)
    inputs, model = proxy.prepare(texts, torch.device("cpu"), Silent()), proxy.build((10,), 2).eval()

    with torch.no_grad():
        alone, together = model(*inputs.batch(torch.tensor([0]))), model(*inputs.batch(torch.tensor([0, 3])))

    torch.testing.assert_close(alone[0], together[0])


def test_an_empty_text_is_named(folder):
    data = curate.load(pa.table({"text": ["a film", " "], "label": ["x", "y"]}))

    assert find(f"hf:{folder}", data).prepare(data, torch.device("cpu"), Silent()).failed == {1: "empty_text"}


def test_a_folder_without_a_model_is_named(texts, tmp_path):
    with pytest.raises(InputError, match=r"Could not load the tokenizer .*save_pretrained"):
        find(f"hf:{tmp_path}", texts)


def test_other_data_than_text_is_refused_before_anything_is_loaded():
    data = curate.load((np.zeros((2, 2), np.float32), np.array([0, 1])))

    with pytest.raises(OptionError, match="reads text, but"):
        find("hf:no/such-model", data)
