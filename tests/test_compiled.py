import numpy as np
import pytest

from curate import compiled
from curate.compiled import grams, runs
from curate.ngrams import blocks, tokenize

TEXTS = [
    "Alice went -- to the_store.",
    "",
    "  \n\t ",
    "naïve café — «ça va»?",
    "東京都 は 日本の首都。",
    "a\x00b \U0001f600 ok\u2028next",
    "x " * 30,
]


@pytest.fixture
def as_compiled(monkeypatch):
    """The loops take part, as they stand here and without numba."""
    monkeypatch.setattr(compiled, "_passed", [compiled.WORTH])
    monkeypatch.setattr(compiled, "_compiled", lambda: (runs, grams))
    with np.errstate(over="ignore"):
        yield


@pytest.mark.parametrize("words_only", [False, True])
def test_the_loops_find_the_tokens_that_numpy_finds(words_only, request):
    expected = tokenize(TEXTS, words_only=words_only)
    request.getfixturevalue("as_compiled")

    found = tokenize(TEXTS, words_only=words_only)

    for name in ("points", "start", "stop", "is_word", "hash", "bounds", "begins"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("n", [1, 2, 3, 13, 40])
def test_the_loops_find_the_n_grams_that_numpy_finds(n, request):
    expected = tokenize(TEXTS).grams(n)
    request.getfixturevalue("as_compiled")

    found = tokenize(TEXTS).grams(n)

    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_texts_of_nothing_have_no_tokens(as_compiled):
    assert [len(tokenize(texts).hash) for texts in ([], [""], ["", " "])] == [0, 0, 0]


def test_they_wait_until_their_start_is_won_back(monkeypatch):
    monkeypatch.setattr(compiled, "_passed", [0])
    monkeypatch.setattr(compiled, "_compiled", lambda: (runs, grams))

    assert compiled.loops(compiled.WORTH - 1) is None
    assert compiled.loops(1) == (runs, grams)


def test_numba_makes_the_same_numbers_where_it_is_installed(monkeypatch):
    pytest.importorskip("numba")
    expected = list(blocks(TEXTS))
    monkeypatch.setattr(compiled, "_passed", [compiled.WORTH])

    for (_, found), (_, plain) in zip(blocks(TEXTS), expected, strict=True):
        np.testing.assert_array_equal(found.hash, plain.hash)
        np.testing.assert_array_equal(found.grams(5)[0], plain.grams(5)[0])
