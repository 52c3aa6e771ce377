"""A causal language model as a proxy: the answers' mean loss a row, from the command line as from a loop of one's own."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

import curate
from curate.errors import OptionError, UsageError
from curate.progress import Silent
from curate.signals.causal import IGNORED, Causal
from curate.signals.proxies import find
from curate.signals.runs import Run

transformers = pytest.importorskip("transformers")

WORDS = ["<pad>", "<unk>", "</s>", "say", "hello", "goodbye", "now", "please", "again", "one", "two"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama with random weights and a word tokenizer, laid out as `save_pretrained` does."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    path = tmp_path_factory.mktemp("models") / "tiny"
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", eos_token="</s>").save_pretrained(
        path
    )
    sizes = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, max_position_embeddings=64)).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def asked():
    """Instructions of which the last tenth get the wrong answer."""
    n = 60
    questions = [f"say {'hello' if i % 2 else 'goodbye'} " for i in range(n)]
    answers = [("hello" if (i % 2) ^ (i >= 54) else "goodbye") + " again" for i in range(n)]
    return curate.load(pa.table({"prompt": questions, "completion": answers}))


def test_only_answers_bear_loss(folder, asked):
    inputs = find(f"hf-causal:{folder}", asked).prepare(asked, torch.device("cpu"), Silent())

    ids, mask, labels = inputs.batch(torch.tensor([1]))

    words = [WORDS[i] for i in ids[0]]
    assert words[:4] == ["say", "hello", "hello", "again"] and mask.all()
    assert labels[0, :2].tolist() == [IGNORED, IGNORED]
    assert labels[0, 2:].tolist() == ids[0, 2:].tolist()


def test_of_a_plain_text_every_token_bears_loss_and_its_end_too(folder):
    data = curate.load(pa.table({"text": ["hello again", "one two now "]}))

    ids, _, labels = find(f"hf-causal:{folder}", data).prepare(data, torch.device("cpu"), Silent()).batch(torch.tensor([0, 1]))

    assert ids[1].tolist() == [*map(WORDS.index, ("one", "two", "now", "</s>"))]
    assert labels[0].tolist() == [*map(WORDS.index, ("hello", "again", "</s>")), IGNORED]


def test_a_rows_loss_is_the_mean_over_its_answer_whatever_it_is_batched_with(folder, asked):
    proxy = find(f"hf-causal:{folder}", asked)
    model, inputs = proxy.build((len(WORDS),), 0).eval(), proxy.prepare(asked, torch.device("cpu"), Silent())
    ids, mask, labels = inputs.batch(torch.tensor([0]))
    padded = [nn.functional.pad(one, (0, 3), value=value) for one, value in ((ids, 0), (mask, 0), (labels, IGNORED))]

    with torch.no_grad():
        log_p = model.model(input_ids=ids).logits[0].log_softmax(dim=1)
        naive = [-log_p[at - 1, ids[0, at]] for at in range(1, ids.shape[1]) if labels[0, at] != IGNORED]
        alone, together = model(ids, mask, labels), model(*padded)

    torch.testing.assert_close(alone, torch.stack(naive).mean()[None])
    torch.testing.assert_close(alone, together)


def test_rows_without_an_answer_or_a_text_are_named(folder):
    data = curate.load(pa.table({"prompt": ["say hello ", "", "say now "], "completion": ["hello", "", ""]}))

    failed = find(f"hf-causal:{folder}", data).prepare(data, torch.device("cpu"), Silent()).failed

    assert failed == {1: "empty_text", 2: "no_answer"}


def test_instructions_without_a_label_are_scored_and_wrong_answers_have_the_higher_loss(folder, asked, tmp_path):
    scores = curate.score(asked, ["datamap", "loss:over=mean"], model=f"hf-causal:{folder}", epochs=6, lr=0.03, out=tmp_path)

    wrong, right = scores["loss"][54:], scores["loss"][:54]
    assert wrong.mean() > right.mean() + 0.3
    assert scores["datamap.confidence"][:54].mean() > scores["datamap.confidence"][54:].mean()


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(folder, asked, tmp_path, monkeypatch):
    options = {"model": f"hf-causal:{folder}", "epochs": 3, "lr": 0.01, "device": "cpu"}
    whole = curate.score(asked, ["datamap"], out=tmp_path / "whole", **options)
    calls = []
    forward = Causal.forward

    def dies(self, *arguments):
        calls.append(1)
        if len(calls) == 10:  # in the third epoch of four batches
            raise KeyboardInterrupt
        return forward(self, *arguments)

    monkeypatch.setattr(Causal, "forward", dies)
    with pytest.raises(KeyboardInterrupt):
        curate.score(asked, ["datamap"], out=tmp_path / "killed", **options)
    again = curate.score(asked, ["datamap"], out=tmp_path / "killed", **options)

    np.testing.assert_array_equal(again["datamap"], whole["datamap"])
    assert len(calls) < 2 * 12  # two of three epochs were not trained again


def test_lora_learns_by_its_adapters_and_keeps_nothing_else(folder, asked, tmp_path):
    pytest.importorskip("peft")
    from safetensors import safe_open

    scores = curate.score(asked, ["datamap"], model=f"hf-causal-lora:{folder}", epochs=4, lr=0.03, out=tmp_path)

    (run,) = (Run.open(path) for path in (scores.path / "runs").iterdir())
    losses = run.column("dynamics.loss", 0, len(asked)).mean(axis=0)
    assert losses[-1] < losses[0]
    with safe_open(str(run.checkpoint(1)), "pt") as file:
        assert list(file.keys()) and all("lora_" in name for name in file.keys())


@pytest.mark.parametrize("scorer", ["aum", "entropy", "tdds", "el2n"])
def test_scorers_that_need_classes_are_refused_before_training(scorer, folder, asked, tmp_path):
    with pytest.raises(OptionError, match="no more than a loss a row"):
        curate.score(asked, [scorer], model=f"hf-causal:{folder}", out=tmp_path)

    assert not (tmp_path / "runs").exists()


def test_a_comparison_refuses_it(folder, tmp_path):
    data = curate.load(pa.table({"text": ["hello now", "one two"] * 20, "label": ["a", "b"] * 20}))

    with pytest.raises(UsageError, match="compare trains classifiers"):
        curate.compare(data, ["rs2"], model=f"hf-causal:{folder}", out=tmp_path)


def test_images_are_refused(folder):
    with pytest.raises(OptionError, match="reads texts or conversations"):
        find(f"hf-causal:{folder}", curate.load("sample:digits"))
