"""Perplexity against one text at a time, and its windows, first tokens and odd texts."""

import numpy as np
import pytest
import torch

from curate.errors import OptionError
from curate.scorers.language.perplexity import Perplexity, _columns
from curate.testing import check_scorer, shard_of

TEXTS = ["the text is to inform", "yes", "no and yes", "a" * 100, "ça va? добрый день 你好 🐍", "the end of a text " * 60]


def scored(scorer, texts):
    scorer.open("cpu")
    try:
        return scorer.score_rows(shard_of({"text": np.array(texts, object)}))
    finally:
        scorer.close()


def test_a_worked_example():
    columns = _columns(np.array([6.0]), np.array([3]), np.array([9]))  # losses 1, 2 and 3 nats over 9 bytes

    np.testing.assert_allclose(columns["score"], [7.389056], rtol=1e-6)
    np.testing.assert_allclose(columns["bits_per_byte"], [0.961797], rtol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_it_is_the_loss_of_one_forward_pass(tiny_language_model, kind):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_language_model(kind)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = [text for text in TEXTS[:5] if text != "yes" or kind == "llama"]

    found = scored(Perplexity(model=folder), texts)

    with torch.no_grad():
        ids = [torch.tensor([tokenizer(text)["input_ids"][:256]]) for text in texts]
        expected = [model(input_ids=row, labels=row).loss.exp().item() for row in ids if row.shape[1] <= 256]
    np.testing.assert_allclose(found["score"][: len(expected)], expected, rtol=1e-4)


def test_every_token_is_judged_once_however_a_text_is_cut(tiny_language_model):
    folder = tiny_language_model("llama")

    for overlap in (0, 10):
        found = scored(Perplexity(model=folder, length=32, windows=100, overlap=overlap), TEXTS)
        assert found["bytes"].tolist() == [len(text.encode()) for text in TEXTS]

    cut = scored(Perplexity(model=folder, length=32, windows=2), TEXTS)
    assert cut["tokens"].max() == 62


def test_without_a_first_token_the_first_one_has_no_loss_and_costs_no_bytes(tiny_language_model):
    found = scored(Perplexity(model=tiny_language_model("gpt2")), ["yes", "yes no"])
    added = scored(Perplexity(model=tiny_language_model("gpt2"), bos="add"), ["yes", "yes no"])

    assert found["status"].tolist() == ["too_short", ""]
    assert found["bytes"].tolist() == [0, 3]
    assert added["bytes"].tolist() == [3, 6]


def test_t5_judges_the_second_half(tiny_language_model):
    found = scored(Perplexity(model=tiny_language_model("t5")), TEXTS)

    assert found["status"].tolist() == ["", "too_short", *[""] * 4]  # "yes" is one token, which has no two halves
    assert (found["tokens"][2:] > 0).all()


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_it_keeps_the_contract(tiny_language_model, kind):
    check_scorer(Perplexity(model=tiny_language_model(kind), batch_tokens=256))


def test_odd_texts_have_a_number_or_a_reason(tiny_language_model):
    texts = ["", " \n\t ", "\ufffd\ufffd", "x" * 1_000_000, "<|endoftext|>", "\ud800 lone", "\x00\x01"]

    found = scored(Perplexity(model=tiny_language_model("llama"), windows=2), texts)

    assert found["status"].tolist() == ["too_short", *[""] * 6]
    assert np.isfinite(found["score"][1:]).all()


@pytest.mark.parametrize("option", [{"length": 1}, {"windows": 0}, {"overlap": 1024}, {"batch_tokens": 0}])
def test_an_option_that_means_nothing_is_refused(option):
    with pytest.raises(OptionError, match=next(iter(option))):
        Perplexity(**option)


def test_a_first_token_cannot_be_added_where_the_decoder_has_its_own(tiny_language_model):
    with pytest.raises(OptionError, match="encoder-decoder"):
        scored(Perplexity(model=tiny_language_model("t5"), bos="add"), ["yes"])
