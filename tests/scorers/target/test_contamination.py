"""contamination: n-grams of an evaluation set among the rows."""

import re

import numpy as np
import pytest

from curate.errors import InputError, OptionError
from curate.protocols import Shard
from curate.scorers.target.contamination import Contamination
from curate.testing import check_scorer

LETTERS = "a b c d e f g h i j k l m n o p q r s t u v w x y z".split()


def shard(texts, name="text", first=0):
    return Shard(np.arange(first, first + len(texts)), {name: np.array(texts, object)})


def scored(rows, target, cuts=(), **options):
    scorer = Contamination(**options)
    told = scorer.merge_target([scorer.fit_target(shard([text], "target.text", i)) for i, text in enumerate(target)])
    state = {f"target.{key}": value for key, value in told.items()}
    pieces = np.split(np.array([*rows, None], object)[:-1], cuts)
    parts = [shard(part.tolist(), first=first) for part, first in zip(pieces, (0, *cuts), strict=True)]
    if scorer.passes:
        state = scorer.merge([scorer.fit(part, state) for part in parts]) | state
    columns = [scorer.score(part, state) for part in parts]
    return {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}, scorer.conclude(state)


def words_of(text):
    return re.findall(r"\w+", text.lower())


def naive(text, target, n, shortest):
    """Covered share, hits and the longest stretch in words, by sets of tuples."""
    grams = set()
    for item in map(words_of, target):
        if len(item) >= n:
            grams |= {tuple(item[i : i + n]) for i in range(len(item) - n + 1)}
        elif len(item) >= min(shortest, n):
            grams.add(tuple(item))
    words, hits = words_of(text), 0
    covered = [False] * len(words)
    for order in {len(gram) for gram in grams}:
        for i in range(len(words) - order + 1):
            if tuple(words[i : i + order]) in grams:
                hits += 1
                covered[i : i + order] = [True] * order
    longest = max((len(run) for run in "".join("x" if c else " " for c in covered).split()), default=0)
    return sum(covered) / max(len(words), 1), hits, longest


def test_the_worked_example():
    text = "Zero: A, b\nC d! e; one two"  # "a b c d e" is in the evaluation set, so are both of its 4-grams
    found, facts = scored([text, "a b c x d e", "!?"], ["x y z", "a b c d e f", "one"], n=4, shortest=3)

    assert found["score"].tolist() == [np.float32(5 / 8), 0, 0]
    assert found["hits"].tolist() == [2, 0, 0] and found["longest"].tolist() == [5, 0, 0]
    assert text[found["start"][0] : found["stop"][0]] == "A, b\nC d! e"
    assert found["target_row"].tolist() == [1, -1, -1]
    # of the second row of the evaluation set 5 of 6 words are there
    expected = {"target_rows": 3, "target_rows_too_short": 1, "target_rows_touched": 1, "target_rows_at_80_percent": 1, "rows_touched": 1}
    assert facts == expected


def test_a_short_evaluation_row_is_looked_for_whole():
    found, _ = scored(["so: one two three, four", "one two three"], ["one two three", "w x y z"], n=4, shortest=3)

    assert found["hits"].tolist() == [1, 1] and found["longest"].tolist() == [3, 3]


@pytest.mark.parametrize("cuts", [(), (1, 30), (0, 7, 60)])
@pytest.mark.parametrize(("n", "shortest"), [(3, 3), (4, 2), (2, 8)])
def test_it_agrees_with_sets_of_tuples(n, shortest, cuts):
    rng = np.random.default_rng(0)
    target = [" ".join(rng.choice(LETTERS[:6], rng.integers(1, 9))) for _ in range(12)]
    rows = [" ".join(rng.choice(LETTERS[:8], rng.integers(0, 30))) for _ in range(60)]

    found, _ = scored(rows, target, cuts, n=n, shortest=shortest)

    expected = np.array([naive(text, target, n, shortest) for text in rows])
    np.testing.assert_allclose(found["score"], expected[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(found["hits"], expected[:, 1])
    np.testing.assert_array_equal(found["longest"], expected[:, 2])
    for text, start, stop, longest in zip(rows, found["start"], found["stop"], found["longest"], strict=True):
        assert longest == 0 or len(words_of(text[start:stop])) == longest


def test_stretches_do_not_go_on_into_the_next_row():
    found, _ = scored(["a b", "c d"], ["a b c d", "a b", "c d"], n=4, shortest=2)

    assert found["longest"].tolist() == [2, 2] and found["start"].tolist() == [0, 0] and found["stop"].tolist() == [3, 3]


def test_stock_phrases_do_not_count_where_that_is_asked_for():
    rows = ["a b c"] * 3 + ["d e f"]

    assert scored(rows, ["a b c", "d e f"], n=3, common=2)[0]["hits"].tolist() == [0, 0, 0, 1]
    assert scored(rows, ["a b c", "d e f"], n=3, common=3)[0]["hits"].tolist() == [1, 1, 1, 1]


def test_planted_leaks_are_found_and_clean_text_is_not():
    rng = np.random.default_rng(1)

    def text(k, rng):
        return " ".join(f"w{i}" for i in rng.integers(0, 500, k))

    target = [text(40, rng) for _ in range(50)]
    rows = [text(80, rng) for _ in range(1000)]
    leaked = rng.choice(1000, 50, replace=False)
    for row, item in zip(leaked, target, strict=True):
        rows[row] += " " + item.upper().replace(" ", ",  ", 3) + " " + rows[row][:20]

    found, facts = scored(rows, target)

    assert sorted(leaked) == np.flatnonzero(found["hits"]).tolist() and facts["target_rows_at_80_percent"] == 50
    assert found["target_row"][leaked].tolist() == list(range(50))


@pytest.mark.parametrize("text", ["", " \n ", "\ufffd\ufffd", "…", "東京都は日本の首都", "x" * 1_000_000, "İ a b c d"])
def test_odd_texts_are_clean_or_found(text):
    found, _ = scored([text], ["a b c d"], n=4)

    assert found["hits"][0] == ("a b c d" in text) and found["start"][0] == (2 if "a b" in text else -1)


def test_without_the_report_there_is_no_pass_and_the_score_is_the_same():
    rows, target = ["a b c d", "b c d e"], ["a b c d"]
    short, facts = scored(rows, target, n=3, report=False)

    assert Contamination(report=False).passes == 0 and facts == {"target_rows": 1, "target_rows_too_short": 0}
    np.testing.assert_array_equal(short["hits"], scored(rows, target, n=3)[0]["hits"])


def test_an_evaluation_set_that_cannot_match_is_refused():
    with pytest.raises(InputError, match="none of the 2 rows of the target has the 8 words"):
        scored(["a"], ["a b", ""])


@pytest.mark.parametrize("options", [{"n": 0}, {"shortest": 0}, {"common": -1}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        Contamination(**options)


@pytest.mark.parametrize("spec", ["contamination", "contamination:n=3,shortest=2,common=5", "contamination:report=false"])
def test_it_keeps_the_contract(spec):
    check_scorer(spec)
