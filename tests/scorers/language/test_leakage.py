"""leakage: what a model says next beside what stands there, and planted rows that it knows by heart."""

import numpy as np
import pytest

from curate.errors import InputError, OptionError
from curate.scorers.language.leakage import Leakage, starting_points
from curate.stages.contamination import decrease
from curate.testing import check_scorer, shard_of

TEXTS = ["the text is to inform of the end and so on", "yes", "a" * 60, "", "the end of a text " * 60, "no and yes and no and yes"]


def scored(scorer, texts, reference=None, name="text"):
    scorer.open("cpu")
    try:
        state = None
        if reference is not None:
            told = scorer.merge_target([scorer.fit_target(shard_of({f"target.{name}": np.array(reference, object)}))])
            state = {f"target.{key}": value for key, value in told.items()}
        columns = scorer.score(shard_of({name: np.array(texts, object)}), state)
        return columns, scorer.conclude(state or {})
    finally:
        scorer.close()


def test_the_worked_examples():
    assert starting_points(60, 5, 5).tolist() == [2, 15, 28, 41, 55]
    assert decrease(np.array([0.5, 0.7, np.nan]), np.array([0.3, 0.3])) == 50
    assert decrease(np.zeros(2), np.ones(2)) == 0


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_it_is_greedy_decoding_from_every_place(tiny_language_model, kind):
    """The official way: cut at each place, let the model go on, compare. Random weights repeat themselves, so n is 1."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_language_model(kind)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    first = [] if kind == "gpt2" else [tokenizer.bos_token_id]
    own = []
    for n in (1, 3):  # what the model itself says is all foretold
        ids = torch.tensor([[*first, *tokenizer("the text", add_special_tokens=False)["input_ids"]]])
        with torch.no_grad():
            own = model.generate(ids, max_new_tokens=30, do_sample=False, pad_token_id=0, eos_token_id=None)[0].tolist()
        scorer = Leakage(model=folder, n=n, starts=4)
        scorer.open("cpu")
        for tokens in (own, own[:20] + own[:12], [t % 7 + 40 for t in own]):
            found = scorer._accuracy(scorer._lm.foretold([tokens])[0])
            hits = []
            for place in starting_points(len(tokens), n, 4):
                with torch.no_grad():
                    said = model.generate(
                        torch.tensor([tokens[:place]]), max_new_tokens=n, do_sample=False, pad_token_id=0, eos_token_id=None
                    )
                hits.append(said[0, place:].tolist() == tokens[place : place + n])
            assert found == pytest.approx(np.mean(hits))
        scorer.close()


def test_perplexity_is_that_of_the_perplexity_scorer_and_batches_do_not_matter(tiny_language_model):
    from curate.scorers.language.perplexity import Perplexity

    folder = tiny_language_model("llama")
    plain = Perplexity(model=folder)
    plain.open("cpu")
    expected = plain.score_rows(shard_of({"text": np.array(TEXTS[:1], object)}))["score"]

    many, _ = scored(Leakage(model=folder), TEXTS)
    one, _ = scored(Leakage(model=folder, batch_tokens=1), TEXTS)

    np.testing.assert_allclose(many["perplexity"][:1], expected, rtol=1e-4)
    np.testing.assert_allclose(many["perplexity"], one["perplexity"], rtol=1e-4)
    np.testing.assert_array_equal(many["score"], one["score"])
    assert many["status"].tolist() == ["", "too_short", "", "too_short", "", ""]


def test_of_answers_the_question_is_not_judged(tiny_language_model):
    scorer = Leakage(model=tiny_language_model("llama"), answers=True, n=1)
    shard = shard_of({"question": np.array(["the text is", "no"], object), "answer": np.array(["to inform of the end", ""], object)})
    scorer.open("cpu")

    found, state = scorer.score(shard, None), scorer._ids([["the text is"], ["to inform"]])
    scorer.close()

    assert found["status"].tolist() == ["", "too_short"]  # without an answer nothing can leak
    assert state[1] == [len(state[0][0]) - 1 - len(scorer_tokens(tiny_language_model("llama"), " to inform"))]


def scorer_tokens(folder, text):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]


@pytest.fixture(scope="module")
def leaked(tmp_path_factory):
    """A small model that has read 10 of 200 rows many times, those rows, and as many others of the kind."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = [f"w{i}" for i in range(80)]
    rng = np.random.default_rng(0)
    rows, others = ([" ".join(rng.choice(words, 24)) for _ in range(200)] for _ in range(2))
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<unk>", *words])}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=81,
            n_positions=64,
            n_embd=64,
            n_layer=2,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
        )
    )
    ids, rate = torch.tensor(tokenizer(rows[:10])["input_ids"]), torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        loss = model(input_ids=ids, labels=ids).loss
        rate.zero_grad()
        loss.backward()
        rate.step()
    folder = tmp_path_factory.mktemp("leaked")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder), rows, others


def test_planted_rows_are_found_and_no_clean_one_is_accused(leaked):
    folder, rows, others = leaked

    found, facts = scored(Leakage(model=folder, reference=True), rows, others)
    alone, _ = scored(Leakage(model=folder), rows)

    assert found["is_leaked"][:10].mean() >= 0.95 and not found["is_leaked"][10:].any()
    assert alone["is_leaked"][:10].mean() >= 0.9 and not alone["is_leaked"][10:].any()
    assert facts["reference_rows"] == 200 and facts["reference_most"] < 1
    assert decrease(found["score"], found["reference_score"]) > 50


def test_a_reference_of_another_length_has_no_twins(leaked):
    folder, rows, others = leaked

    found, _ = scored(Leakage(model=folder, reference=True), rows[:5], others[:3])

    assert np.isnan(found["reference_score"]).tolist() == [False, False, False, True, True]


def test_what_cannot_be_measured_is_refused(tiny_language_model):
    with pytest.raises(InputError, match="no row of the target"):
        scored(Leakage(model=tiny_language_model("gpt2"), reference=True), TEXTS, ["yes", ""])
    with pytest.raises(InputError, match="a causal model is expected"):
        Leakage(model=tiny_language_model("t5")).open("cpu")
    for options in ({"n": 0}, {"starts": 0}, {"length": 6}, {"batch_tokens": 0}):
        with pytest.raises(OptionError, match=next(iter(options))):
            Leakage(**options)


@pytest.mark.parametrize("options", [{}, {"reference": True}, {"answers": True, "reference": True}])
def test_it_keeps_the_contract(tiny_language_model, options):
    check_scorer(Leakage(model=tiny_language_model("gpt2"), **options))
