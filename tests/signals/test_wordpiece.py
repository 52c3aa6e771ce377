"""WordPiece: texts to words to pieces, as the `tokenizers` package does it."""

import json

import pytest

from curate.signals.static import TABLE
from curate.signals.wordpiece import WordPiece, words

ODD = [
    "Unaffable!! don't (re-use) $5 & <br>",
    "ΑΣ ΣΑΣ. İstanbul, naïve ﬁne Ⅷ ²",
    "a\x00b\u200bc\x85d\u2028e\ufffdf\tg\r\nh",
    "中文和English混合 日本語 한국어",
    "😀 emoji👍🏽 — “quotes” … ¿qué?",
    "w" * 101 + " " + "w" * 100,
    "",
    "   ",
]


def test_the_longest_piece_that_fits_comes_first():
    pieces = WordPiece(["a", "ab", "##c", "##cd", "##d"])

    assert [pieces.spell(word) for word in ("abcd", "abcc", "acd")] == [[1, 3], [1, 2, 2], [0, 3]]


def test_a_word_that_cannot_be_spelled_to_its_end_has_no_pieces():
    assert WordPiece(["ab", "##c"]).spell("abx") == [] == WordPiece(["a", "##a"]).spell("a" * 101)


def test_words_are_small_without_accents_and_marks_stand_alone():
    assert [[word for word in text if word] for text in words(["Éa-b\u0007c  D"])] == [["ea", "-", "bc", "d"]]


def test_pieces_are_those_of_tokenizers():
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = (TABLE / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    peer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    peer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    peer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    texts = [*ODD, json.dumps(dict(zip(vocabulary[1000:9000:97], vocabulary[::97], strict=False)), ensure_ascii=False)]
    ours = WordPiece(vocabulary)

    for text, split in zip(texts, words(texts), strict=True):
        assert [piece for word in split for piece in ours.spell(word)] == [piece for piece in peer.encode(text).ids if piece != 1]
