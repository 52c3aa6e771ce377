"""Texts as token ids with the places that the tokens have in them, read no further than is needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

LONGEST: Final = 24  # characters a token, on the average of a whole text, beyond which a text is read to its end after all


@dataclass(frozen=True)
class Encoded:
    """A text's token ids without special tokens; `ends[i]` is the character behind token i, `text` what was read."""

    text: str
    ids: list[int]
    ends: list[int]
    is_cut: bool

    def bytes_between(self, first: int, stop: int) -> int:
        """UTF-8 bytes that tokens first … stop-1 stand for, blanks before them included."""
        begin = self.ends[first - 1] if first else 0
        end = self.ends[stop - 1] if stop < len(self.ids) or self.is_cut else len(self.text)
        return len(self.text[begin:end].encode("utf-8", errors="surrogatepass"))


def encode(tokenizer: Any, texts: Sequence[str], limit: int | None = None) -> list[Encoded]:
    """The texts' tokens, of each at most the first `limit`; a megabyte is not read whole for its first page."""
    heads = [text if limit is None else text[: limit * LONGEST] for text in texts]
    found = _encode(tokenizer, heads)
    if limit is None:
        return found
    short = [i for i, one in enumerate(found) if len(one.ids) <= limit and len(heads[i]) < len(texts[i])]
    for i, whole in zip(short, _encode(tokenizer, [texts[i] for i in short]), strict=True):
        found[i] = whole
    return [one if len(one.ids) <= limit else Encoded(one.text, one.ids[:limit], one.ends[:limit], is_cut=True) for one in found]


def _encode(tokenizer: Any, texts: Sequence[str]) -> list[Encoded]:
    if not texts:
        return []
    clean = [text.encode("utf-8", errors="replace").decode("utf-8") for text in texts]  # lone surrogates
    read = tokenizer(clean, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast, verbose=False)
    if tokenizer.is_fast:
        ends = [[end for _, end in offsets] for offsets in read["offset_mapping"]]
    else:
        ends = [_even(len(text), len(ids)) for text, ids in zip(clean, read["input_ids"], strict=True)]
    return [Encoded(text, list(ids), end, is_cut=False) for text, ids, end in zip(clean, read["input_ids"], ends, strict=True)]


def _even(characters: int, tokens: int) -> list[int]:
    """A tokenizer written in Python does not say where its tokens stand; they are taken to be of one length."""
    return [characters * (i + 1) // tokens for i in range(tokens)]
