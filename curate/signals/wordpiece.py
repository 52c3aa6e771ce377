"""WordPiece as uncased BERT spells it, without the `tokenizers` package: texts to words, words to pieces of a vocabulary.

Wu et al. 2016, "Google's Neural Machine Translation System"; Devlin et al. 2019, "BERT".
The words are those of the `tokenizers` package's BertNormalizer and BertPreTokenizer.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

LONGEST: Final = 100  # characters of a word beyond which BERT does not look at it


class WordPiece:
    """A vocabulary, `pieces` in the order of their numbers; "##x" goes on where a piece of the same word ended.

    >>> WordPiece(["[UNK]", "un", "##aff", "##able", "!"]).spell("unaffable")
    [1, 2, 3]
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self.numbers = {piece: number for number, piece in enumerate(pieces)}
        self.longest = max(map(len, pieces), default=0)

    def spell(self, word: str) -> list[int]:
        """The pieces' numbers, each the longest that fits; none where the word cannot be spelled, or is longer than 100 characters."""
        if word in self.numbers:
            return [self.numbers[word]]
        found: list[int] = []
        start = 0
        while start < len(word) <= LONGEST:
            stop = next(
                (s for s in range(min(len(word), start + self.longest), start, -1) if self._piece(word, start, s) in self.numbers), 0
            )
            if not stop:
                return []
            found.append(self.numbers[self._piece(word, start, stop)])
            start = stop
        return found

    @staticmethod
    def _piece(word: str, start: int, stop: int) -> str:
        return "##" + word[start:stop] if start else word[start:stop]


def words(texts: Iterable[str]) -> list[list[str]]:
    """Each text's words: lower case, without accents and control characters; punctuation marks and Chinese characters stand alone."""
    return [_plain(text).translate(_CHARACTERS).split(" ") for text in texts]


def _plain(text: str) -> str:
    # Python makes a word's last Σ a ς, which lower-casing letter by letter does not do.
    return text if text.isascii() else unicodedata.normalize("NFD", text)


class _Characters(dict[int, str]):
    """What a character becomes, worked out once: nothing, a blank, itself between blanks, or its small letter."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _becomes(chr(code))
        return found


def _becomes(char: str) -> str:
    kind = unicodedata.category(char)
    if char in "\t\n\r" or kind[0] == "Z":
        return " "
    if kind == "Mn" or kind[0] == "C" or char == "\ufffd":
        return ""
    if kind[0] == "P" or (char.isascii() and not char.isalnum()) or _is_chinese(ord(char)):
        return f" {char} "
    return char.lower()


def _is_chinese(code: int) -> bool:
    return any(first <= code <= last for first, last in _CHINESE)


_CHINESE: Final = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_CHARACTERS: Final = _Characters()
