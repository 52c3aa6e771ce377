"""IFD against two forward passes a row."""

import numpy as np
import pytest
import torch

from curate.scorers.language.ifd import IFD
from curate.testing import check_scorer, shard_of

QUESTIONS = ["Does this text inform?", "yes or no? " * 40, "a", "Is the user to answer?", "", "what?"]
ANSWERS = ["yes, the text is to inform", "no", "the end of a text " * 80, "no and yes", "yes", "  "]


def scored(scorer, questions=QUESTIONS, answers=ANSWERS):
    scorer.open("cpu")
    try:
        return scorer.score_rows(shard_of({"question": np.array(questions, object), "answer": np.array(answers, object)}))
    finally:
        scorer.close()


def naive(model, condition, target):
    ids = torch.tensor([[*condition, *target]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, len(condition) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, ids[0, len(condition) :]).item()


@pytest.mark.parametrize("form", ["ppl", "loss"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_it_is_the_ratio_of_two_forward_passes_over_the_same_tokens(tiny_language_model, kind, form):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_language_model(kind)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)

    found = scored(IFD(model=folder, form=form), QUESTIONS[:4:3], ANSWERS[:4:3])

    expected = []
    for question, answer in zip(QUESTIONS[:4:3], ANSWERS[:4:3], strict=True):
        q, a = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (question, answer))
        first = [tokenizer.bos_token_id] if kind == "llama" else []
        lead, rest = ([], a) if first else (a[:1], a[1:])  # GPT-2 foresees no first token
        given, alone = naive(model, [*first, *q, *lead], rest), naive(model, [*first, *lead], rest)
        expected.append(np.exp(given - alone) if form == "ppl" else given / alone)
    np.testing.assert_allclose(found["score"], expected, rtol=1e-4)


def test_long_rows_are_cut_and_empty_sides_have_a_reason(tiny_language_model):
    found = scored(IFD(model=tiny_language_model("gpt2"), bos="add", length=64))

    assert found["status"].tolist() == ["", "", "", "", "empty_question", "empty_answer"]
    assert found["tokens"].max() <= 63
    assert np.isnan(found["score"]).tolist() == [False] * 4 + [True] * 2


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_it_keeps_the_contract(tiny_language_model, kind):
    check_scorer(IFD(model=tiny_language_model(kind)))
