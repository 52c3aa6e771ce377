"""The engine against one forward pass a text, as anybody would write it."""

import numpy as np
import pytest
import torch

from curate.errors import InputError, OptionError
from curate.signals.lm.batches import plan
from curate.signals.lm.loading import identity
from curate.signals.lm.model import LanguageModel, Part
from curate.signals.lm.tokens import encode

ROUNDING = 1e-5  # float32, other batch shapes


def parts_of(n=25):
    rng = np.random.default_rng(0)
    return [Part(rng.integers(6, 30, rng.integers(1, 9)).tolist(), rng.integers(6, 30, rng.integers(1, 40)).tolist()) for _ in range(n)]


def naive_loss(model, part, two_sided, eos, start):
    if two_sided:
        decoder = torch.tensor([[start, *part.target[:-1]]])
        logits = model(input_ids=torch.tensor([[*part.condition, eos]]), decoder_input_ids=decoder).logits[0]
        wanted = torch.tensor(part.target)
    else:
        ids = torch.tensor([[*part.condition, *part.target]])
        first = max(len(part.condition), 1)
        logits, wanted = model(input_ids=ids).logits[0, first - 1 : -1], ids[0, first:]
    return torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").item(), len(wanted)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
@pytest.mark.parametrize("budget", [1, 64, 100_000])
def test_losses_are_those_of_one_text_at_a_time(tiny_language_model, kind, budget):
    lm = LanguageModel.open(tiny_language_model(kind), "cpu", batch_tokens=budget)
    parts = parts_of()

    nll, count = lm.losses(parts)

    with torch.no_grad():
        expected = [naive_loss(lm._model, part, kind == "t5", lm.tokenizer.eos_token_id, 0) for part in parts]
    np.testing.assert_allclose(nll, [loss for loss, _ in expected], rtol=ROUNDING)
    assert count.tolist() == [n for _, n in expected]


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("shared", [0, 30])
def test_the_next_token_is_that_of_one_prompt_at_a_time_whether_a_prefix_is_shared_or_not(tiny_language_model, kind, shared):
    lm = LanguageModel.open(tiny_language_model(kind), "cpu", batch_tokens=128)
    prompts = [[7, 8, 9] * (shared // 3) + [20 + i, *part.target] for i, part in enumerate(parts_of())]

    p = lm.next_token(prompts, [6, 7])

    with torch.no_grad():
        expected = [lm._model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(0)[[6, 7]].numpy() for ids in prompts]
    np.testing.assert_allclose(p, expected, rtol=1e-4, atol=1e-7)


def test_an_encoder_decoder_answers_at_its_first_position(tiny_language_model):
    lm = LanguageModel.open(tiny_language_model("t5"), "cpu", batch_tokens=64)
    prompts = [[*part.target, 1] for part in parts_of()]

    p = lm.next_token(prompts, [6, 7])

    start = torch.tensor([[0]])
    with torch.no_grad():
        expected = [
            lm._model(input_ids=torch.tensor([i]), decoder_input_ids=start).logits[0, 0].softmax(0)[[6, 7]].numpy() for i in prompts
        ]
    np.testing.assert_allclose(p, expected, rtol=1e-4, atol=1e-7)


def test_the_head_is_put_on_one_position_a_prompt(tiny_language_model):
    lm = LanguageModel.open(tiny_language_model("llama"), "cpu")
    seen = []
    lm._head.register_forward_hook(lambda module, given, out: seen.append(given[0].shape[0]))

    lm.next_token([[6] * 20, [7] * 30, [8] * 5], [6])

    assert sum(seen) == 3


def test_what_all_prompts_begin_with_is_read_once(tiny_language_model):
    lm = LanguageModel.open(tiny_language_model("llama"), "cpu")
    read = []
    lm._model.base_model.register_forward_pre_hook(lambda m, a, options: read.append(options["input_ids"].numel()), with_kwargs=True)

    lm.next_token([[6, 7, 8, 9] * 10 + [10 + i] * 3 for i in range(5)], [6])

    assert read == [40, 5 * 3]


def test_logits_are_made_a_chunk_at_a_time_and_for_the_judged_positions_alone(tiny_language_model):
    lm = LanguageModel.open(tiny_language_model("llama"), "cpu")
    parts = parts_of()
    whole, count = lm.losses(parts)
    lm._chunk, seen = 7, []
    lm._head.register_forward_hook(lambda module, given, out: seen.append(given[0].shape[0]))

    nll, _ = lm.losses(parts)

    assert max(seen) == 7 and sum(seen) == count.sum()
    np.testing.assert_allclose(nll, whole, rtol=ROUNDING)


def test_a_batch_that_the_memory_does_not_hold_is_halved_and_its_size_not_tried_again(tiny_language_model):
    lm = LanguageModel.open(tiny_language_model("gpt2"), "cpu", batch_tokens=400)
    parts = [Part([], [6 + i % 20] * 20) for i in range(80)]
    whole, _ = lm.losses(parts)
    tried = []

    def holds_150(module, given, options):
        tried.append(options["input_ids"].numel())
        if tried[-1] > 150:
            raise torch.OutOfMemoryError

    lm._model.base_model.register_forward_pre_hook(holds_150, with_kwargs=True)
    nll, _ = lm.losses(parts)

    np.testing.assert_allclose(nll, whole, rtol=ROUNDING)
    assert sum(n > 150 for n in tried) <= 2  # 400, then 200


def test_bfloat16_is_near_float32(tiny_language_model):
    parts = parts_of()

    exact, short = (
        LanguageModel.open(tiny_language_model("llama"), "cpu", precision=precision).losses(parts)[0]
        for precision in ("float32", "bfloat16")
    )

    np.testing.assert_allclose(short, exact, rtol=0.05)
    assert not np.array_equal(short, exact)


def test_what_leaves_nothing_to_judge_has_no_loss(tiny_language_model):
    lm = LanguageModel.open(tiny_language_model("gpt2"), "cpu")

    nll, count = lm.losses([Part([], []), Part([], [5]), Part([5], []), Part([5], [6])])

    assert count.tolist() == [0, 0, 0, 1]
    assert nll[:3].tolist() == [0, 0, 0]


def test_a_batch_holds_like_lengths_and_no_more_than_the_budget():
    lengths = np.array([5, 1, 9, 2, 9, 30])

    batches = plan(lengths, 20)

    assert [batch.tolist() for batch in batches] == [[5], [2, 4], [0, 3, 1]]


def test_a_megabyte_is_read_no_further_than_its_first_page(tiny_language_model):
    lm = LanguageModel.open(tiny_language_model("gpt2"), "cpu")
    text = "the end of a text \U0001f40d " * 50_000

    (head,) = encode(lm.tokenizer, [text], 100)

    assert len(head.text) < 3000
    assert head.ids == lm.tokenizer(text[:5000], add_special_tokens=False)["input_ids"][:100]
    assert head.bytes_between(0, 100) == len(text[: head.ends[-1]].encode())


def test_other_weights_have_another_identity_and_no_path_is_in_it(tiny_language_model, tmp_path):
    folder = tiny_language_model("gpt2")

    found = identity(folder)

    assert found.startswith("gpt2#") and "/" not in found
    assert identity("org/name") == "org/name"


@pytest.mark.parametrize(
    ("name", "message"),
    [("/nowhere/at/all", "does not exist"), ("surely-no-such-model-here", "HF_HUB_OFFLINE is set")],
)
def test_a_model_that_is_not_there_is_said_to_be_so(name, message):
    with pytest.raises(InputError, match=message):
        LanguageModel.open(name, "cpu")


def test_a_precision_that_overflows_is_refused(tiny_language_model):
    with pytest.raises(OptionError, match="float16"):
        LanguageModel.open(tiny_language_model("gpt2"), "cpu", precision="float16")
