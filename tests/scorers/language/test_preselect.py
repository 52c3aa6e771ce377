"""preselect: a ladder of models trained on the spot, their agreement on a text, and the classifier that learns from it."""

import numpy as np
import pytest

from curate.errors import InputError, OptionError
from curate.ngram_classifier import _auroc
from curate.scorers.language.preselect import PreSelect, predictive_strength, sides
from curate.testing import check_scorer, shard_of

NOUNS, VERBS = ("cat", "dog", "bird", "fish", "fox", "hen"), ("sees", "hears", "finds", "likes")


def told(rng):
    """A text with a grammar: who does what to whom, and then is done the same by whom."""
    return " ".join(f"the {rng.choice(NOUNS)} {rng.choice(VERBS)} the {rng.choice(NOUNS)} ." for _ in range(12))


def shuffled(rng):
    """The same words and as many others, without order."""
    words = [*NOUNS, *VERBS, "the", ".", "qua", "zim", "wob", "lux"]
    return " ".join(rng.choice(words, 72))


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    """Folders of one small model after 0, 8, 25 and 80 steps on texts with a grammar: each better at them than the one before."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = ["<unk>", *NOUNS, *VERBS, "the", ".", "qua", "zim", "wob", "lux"]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(words), n_positions=128, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    )
    rng, rate = np.random.default_rng(1), torch.optim.AdamW(model.parameters(), lr=3e-3)
    folders = []
    for step in range(81):
        if step in (0, 8, 25, 80):
            folders.append(str(tmp_path_factory.mktemp("ladder") / f"step{step}"))
            model.save_pretrained(folders[-1])
            tokenizer.save_pretrained(folders[-1])
        ids = torch.tensor(tokenizer([told(rng) for _ in range(16)])["input_ids"])
        loss = model(input_ids=ids, labels=ids).loss
        rate.zero_grad()
        loss.backward()
        rate.step()
    return tuple(folders)


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(0)
    informs = rng.random(240) < 0.4
    return np.array([told(rng) if good else shuffled(rng) for good in informs], object), informs


def fitted(scorer, texts, cuts=()):
    pieces = [
        shard_of({"text": part}, rows=at) for part, at in zip(np.split(texts, cuts), np.split(np.arange(len(texts)), cuts), strict=True)
    ]
    scorer.open("cpu")
    state = None
    for _ in range(scorer.passes):
        state = scorer.merge([scorer.fit(piece, state) for piece in pieces])
    scorer.close()
    return np.concatenate([scorer.score(piece, state)["score"] for piece in pieces]), scorer.conclude(state)


def test_the_worked_example():
    losses = np.array([[2.0, 1.9, 1.95, 1.8, 1.85, 1.7], [6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6], [1, np.nan, 1, 1, 1, 1]])

    np.testing.assert_array_equal(predictive_strength(losses), [13, 15, 0, np.nan])


def test_good_and_bad_are_as_many():
    strength, luck = np.array([3, 3, 1, 0, 0, np.nan, 2, 2, 0, 1]), np.arange(10) / 10

    low, high = sides(strength, luck, 3)

    assert high.tolist() == [0, 1] and low.tolist() == [3, 4]  # two agree in all three pairs; of three equally bad those of least luck
    assert sides(np.full(40, 3.0), np.arange(40) / 40, 3)[1].tolist() == list(range(20))  # no text is both
    assert len(sides(np.zeros(100), np.arange(100) / 100, 3)[1]) == 5  # none agrees: a twentieth


def test_planted_texts_are_predictive_and_the_classifier_learns_them(ladder, planted):
    texts, informs = planted
    scorer = PreSelect(models=ladder, sample=160, buckets=4096)

    scorer.open("cpu")
    strength = predictive_strength(np.stack([scorer._losses(model, texts[:60]) for model in ladder], axis=1))
    score, facts = fitted(scorer, texts)

    assert strength[informs[:60]].mean() > strength[~informs[:60]].mean() + 1
    assert _auroc(score[~informs], score[informs]) >= 0.9 and facts["auroc_left_out"] >= 0.9
    assert facts["texts_read"] == 160 and facts["all_pairs_agree"] >= 40


def test_how_rows_were_cut_changes_nothing(ladder, planted):
    texts, _ = planted
    scorer = PreSelect(models=ladder[::2], sample=50, buckets=512)

    whole, one = fitted(scorer, texts[:80])
    cut, other = fitted(scorer, texts[:80], (1, 33))

    np.testing.assert_array_equal(whole, cut)
    assert one == other


def test_odd_texts(ladder):
    texts = np.array(["", "the cat .", "!", "the dog sees the cat . " * 5, "\ud800 qua", "lux " * 50_000, "zim wob", "the hen"], object)

    score, facts = fitted(PreSelect(models=ladder[:2], buckets=64), texts)

    assert np.isnan(score).tolist() == [True, *[False] * 7] and facts["texts_read"] >= 5


def test_too_few_texts_are_refused(ladder):
    with pytest.raises(InputError, match="2 texts have a word"):
        fitted(PreSelect(models=ladder[:2]), np.array(["the cat", "", "the dog"], object))
    with pytest.raises(InputError, match="long enough"):
        fitted(PreSelect(models=ladder[:2]), np.array(["cat", "dog", "hen", "fox", "lux"], object))


@pytest.mark.parametrize("options", [{"models": ("a",)}, {"models": ("a", "a")}, {"sample": 1}, {"length": 1}, {"windows": 0}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        PreSelect(**options)


def test_it_keeps_the_contract(tiny_language_model):
    check_scorer(PreSelect(models=(tiny_language_model("gpt2"), tiny_language_model("llama")), buckets=256))
