"""line_filters: which of 14 filters the lines of a text pass."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from curate.errors import OptionError
from curate.protocols import Shard
from curate.scorers.language.line_filters import FILTERS, LineFilters
from curate.testing import check_scorer

EQUAL = (1.0,) * len(FILTERS)
GOOD = "The old man walked to the shore with a small boat and that was the end of it."


def fitted(scorer, texts, cuts=()):
    pieces = np.split(np.array([*texts, None], object)[:-1], cuts)
    parts = [Shard(np.arange(first, first + len(part)), {"text": part}) for part, first in zip(pieces, (0, *cuts), strict=True)]
    state = None
    for _ in range(scorer.passes):
        state = scorer.merge([scorer.fit(part, state) for part in parts])
    columns = [scorer.score(part, state) for part in parts]
    return {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}, state


def gibberish(rng):
    return "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz0123456789{}#;"), 60))


def prose(rng):
    nouns = "man boat shore house river garden street morning letter window child road".split()
    a, b, c = rng.choice(nouns, 3)
    return f"The {a} went to the {b} with a {c}, and that was all they have of it."


def test_the_worked_example():
    state = {"nll": np.log([80, 120, 50, *[200] * 11, 100.0]), "tokens": np.ones(15, np.int64)}

    # (100 - 80) / 100, worse than all, (100 - 50) / 100
    np.testing.assert_allclose(LineFilters(reference="bigram")._weights(state), [0.2, 0, 0.5, *[0] * 11], atol=1e-12)


@pytest.mark.parametrize(
    ("line", "fails"),
    [
        (GOOD, set()),
        ("the old man walked to the shore and that was the end of it.", {"first_letter_caps"}),
        ("The man and the man went to the boat and the boat.", {"few_repeated_words"}),
        ("THE MEN WALKED TO A SHORE AND SLEPT.", {"not_all_caps"}),
        ("The man went to a shore and left", {"terminal_punctuation"}),
        ("Use Javascript to be with the times.", {"no_javascript_or_lorem_ipsum"}),
        ("The man went to a shore and left...", {"no_ellipsis"}),
        ("The code { went to a shore and left.", {"no_braces"}),
        ("The men of 1 2 3 4.", {"few_digits_and_punctuation", "words_with_letters", "usual_word_length"}),
        ("Antidisestablishmentarianism and the electroencephalography of that.", {"usual_word_length"}),
        ("No.", {"two_stop_words", "more_than_3_tokens", "4_to_255_words", "usual_word_length", "few_digits_and_punctuation"}),
        ("They went home to sleep with friends.", {"has_determiner"}),
    ],
)
def test_each_filter_tells_its_line(line, fails):
    found, _ = fitted(LineFilters(weights=EQUAL), [line])

    assert {name for name in FILTERS if found[name][0] == 0} == fails
    assert found["score"][0] == pytest.approx(1 - len(fails) / 14)


def test_a_text_is_the_mean_of_its_lines_by_tokens():
    text = f"{GOOD}\n\n  \nNo."  # 19 tokens that pass all, 2 that fail five
    found, _ = fitted(LineFilters(weights=EQUAL), [text])

    assert found["score"][0] == pytest.approx((19 + 2 * 9 / 14) / 21) and found["lines"][0] == 2


@pytest.mark.parametrize("reference", ["none", "bigram"])
def test_the_score_falls_with_the_share_of_gibberish(reference):
    rng = np.random.default_rng(0)
    share = rng.random(200)
    texts = ["\n".join(gibberish(rng) if rng.random() < p else prose(rng) for _ in range(20)) for p in share]

    found, _ = fitted(LineFilters(reference=reference), texts)

    assert spearmanr(found["score"], share)[0] <= -0.8


def test_the_weights_are_one_fact_the_greatest_first():
    state = {"nll": np.log([80, 120, 50, *[200] * 11, 100.0]), "tokens": np.ones(15, np.int64)}

    told = LineFilters(reference="bigram").conclude(state)["weights"]

    assert told == "few_repeated_words 0.5, first_letter_caps 0.2; none for the other 12"
    assert LineFilters().conclude({})["weights"] == "all 14 filters alike"


def test_a_cut_of_a_fifth_removes_the_gibberish():
    rng = np.random.default_rng(1)
    bad = np.arange(300) % 6 == 0
    texts = ["\n".join((gibberish if is_bad else prose)(rng) for _ in range(8)) for is_bad in bad]

    score = fitted(LineFilters(), texts)[0]["score"]

    cut = np.argsort(score)[: len(texts) // 5]
    assert bad[cut].sum() >= 0.9 * bad.sum()


@pytest.mark.parametrize("cuts", [(1,), (2, 3, 17)])
def test_how_rows_were_cut_changes_nothing_but_rounding(cuts):
    rng = np.random.default_rng(2)
    texts = [prose(rng) if i % 3 else gibberish(rng) for i in range(30)]

    scorer = LineFilters(reference="bigram")
    np.testing.assert_allclose(fitted(scorer, texts, cuts)[0]["score"], fitted(scorer, texts)[0]["score"], rtol=1e-6)


def test_odd_texts_have_a_score_or_none():
    found, _ = fitted(LineFilters(), ["", " \n\n ", "\ufffd", "x" * 1_000_000, "東京\nは", "A\n" * 10_000])

    assert np.isnan(found["score"][:2]).all() and np.isfinite(found["score"][2:]).all()


@pytest.mark.parametrize("weights", [(1.0,), (0.0,) * 14, (-1.0,) * 14, (float("nan"),) * 14])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(OptionError, match="weights"):
        LineFilters(weights=weights)


def test_weights_and_a_reference_do_not_go_together():
    with pytest.raises(OptionError, match="not both"):
        LineFilters(weights=EQUAL, reference="bigram")


@pytest.mark.parametrize("spec", ["line_filters", "line_filters:reference=bigram", "line_filters:weights=" + "+".join(["1"] * 14)])
def test_it_keeps_the_contract(spec):
    check_scorer(spec)
