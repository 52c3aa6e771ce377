import hashlib
import re

import numpy as np
import pytest

from curate import ngrams
from curate.ngrams import blocks, sha256_buckets, text_of, tokenize

WORDPUNCT = re.compile(r"\w+|[^\w\s]+")
ODD = [
    "Alice went to the store.",
    "",
    "  \n\t ",
    "İstanbul, ΟΔΟΣ ΣΑΣ; ",
    "naïve café — «ça va»?",
    "東京都 は 日本の首都。",
    "कमल नमन कर",
    "a\x00b \ufffd\ufffd e\u0301",
    "x_1 != y2--z",
    "\U0001f600 ok\u2028next\u00a0one",
    "word " * 3000,
]


def test_tokens_are_those_of_wordpunct_in_every_script():
    found = tokenize(ODD)

    for row, text in enumerate(ODD):
        mine = slice(found.bounds[row], found.bounds[row + 1])
        got = [text_of(found.points[a:b]) for a, b in zip(found.start[mine], found.stop[mine], strict=True)]
        assert got == WORDPUNCT.findall(text.lower())


def test_equal_tokens_have_equal_hashes_and_others_have_not():
    rng = np.random.default_rng(0)
    words = sorted({"".join(rng.choice(list("abAB1é東"), rng.integers(1, 7))).lower() for _ in range(4000)})

    found = tokenize([" ".join(words), " ".join(words[::-1])])

    first = found.hash[: len(words)]
    assert len(set(first.tolist())) == len(words)
    np.testing.assert_array_equal(found.hash[len(words) :], first[::-1])


@pytest.mark.parametrize("n", [1, 2, 3, 13])
def test_grams_stay_inside_a_row_and_tell_texts_apart(n):
    found = tokenize(["a b c a b", "", "b c", "a b c d e f g h i j k l m n", "b c"])

    hashes, at = found.grams(n)

    words = [
        [text_of(found.points[a:b]) for a, b in zip(found.start, found.stop, strict=True)][lo:hi]
        for lo, hi in zip(found.bounds, found.bounds[1:], strict=False)
    ]
    expected = [" ".join(row[i : i + n]) for row in words for i in range(len(row) - n + 1)]
    assert found.gram_texts(at, n) == expected
    assert len(set(hashes.tolist())) == len(set(expected))
    assert all((hashes[i] == hashes[j]) == (expected[i] == expected[j]) for i in range(len(at)) for j in range(len(at)))


def test_blocks_cover_every_row_once_and_hash_alike_however_they_are_cut():
    texts = np.array(["one two", "x" * 50, "", "three four five"], object)

    whole = tokenize(texts)
    parts = list(blocks(texts, chars=8))

    assert [(s.start, s.stop) for s, _ in parts] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    np.testing.assert_array_equal(np.concatenate([tokens.hash for _, tokens in parts]), whole.hash)


def test_sha256_buckets_are_those_of_the_text_whether_remembered_or_not():
    texts = ["Alice went to the store", "the store went to Alice", "Ünïcode 東京 x"]
    for _ in range(2):
        found, at = sha256_buckets(tokenize(texts), 10_000, 2)
        grams = tokenize(texts).gram_texts(at, 2)

        assert found.tolist() == [int(hashlib.sha256(gram.encode()).hexdigest(), 16) % 10_000 for gram in grams]


def test_a_full_table_forgets_but_is_never_wrong(monkeypatch):
    monkeypatch.setattr(ngrams, "_SLOTS", 4)
    monkeypatch.setattr(ngrams, "_memory", lambda n: (np.zeros(4, np.uint64), np.zeros(4, np.int32)))
    tokens = tokenize([" ".join(f"w{i % 40}" for i in range(400))])

    found, at = sha256_buckets(tokens, 97, 1)

    assert found.tolist() == [int(hashlib.sha256(gram.encode()).hexdigest(), 16) % 97 for gram in tokens.gram_texts(at, 1)]


def test_words_are_tokens_without_punctuation():
    words = tokenize(["a, b!", "?", "(c)"]).words()

    assert words.gram_texts(np.arange(3), 1) == ["a", "b", "c"] and words.counts.tolist() == [2, 0, 1]


def test_places_are_kept_where_lower_case_would_move_them():
    text = "İİ straße ΟΔΟΣ end"

    tokens = tokenize([text], keep_places=True)

    assert [text[a:b] for a, b in zip(tokens.start, tokens.stop, strict=True)] == text.split()
    assert len(tokens.points) == len(text)


@pytest.mark.parametrize("every", [1, 3, 31])
@pytest.mark.parametrize("n", [1, 2, 8, 13])
def test_grams_at_chosen_tokens_are_those_of_all(n, every):
    words = tokenize(["a b c d e f g h i j k l m n o p", "", "b c", "x y z a b c d e f g h i j k l"], words_only=True)
    hashes, at = words.grams(n)

    some, where = words.grams_at(np.arange(0, len(words.hash), every), n)

    chosen = at % every == 0
    np.testing.assert_array_equal(where, at[chosen])
    np.testing.assert_array_equal(some, hashes[chosen])


def test_words_only_leaves_out_punctuation_from_the_start():
    found, expected = tokenize(ODD, words_only=True), tokenize(ODD).words()

    for name in ("start", "stop", "is_word", "hash", "bounds"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
