"""A question about a text, as the model at hand has to be asked it: the text made harmless and short enough, the wording around it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import xxhash

from curate.errors import InputError, OptionError
from curate.signals.lm.tokens import encode

SLOT: Final = "{datapoint}"
Truncate = Literal["head", "middle", "windows"]

# Sachdeva et al. 2024, figure 3.
ASK_LLM: Final = """###
{datapoint}
###
Does the previous paragraph demarcated within ### and ### contain informative signal for pre-training a large-language model? \
An informative datapoint should be well-formatted, contain some usable knowledge of the world, and strictly NOT have any harmful, \
racist, sexist, etc. content.
OPTIONS:
- yes
- no"""


@dataclass(frozen=True)
class Prompt:
    """A wording with one slot for the text. `delimiters` are what marks the text off: the lines next to the slot, if they hold no words."""

    before: str
    after: str

    @classmethod
    def of(cls, given: str | None, who: str) -> "Prompt":
        """The published prompt, a wording that holds `{datapoint}`, or the file of one."""
        text = ASK_LLM if given is None else given if SLOT in given else _read(given, who)
        if text.count(SLOT) != 1:
            raise OptionError(f"{who}: the prompt must hold {SLOT} once, where the text goes; found it {text.count(SLOT)} times.")
        return cls(*text.split(SLOT))

    @property
    def hash(self) -> str:
        return xxhash.xxh3_64_hexdigest(f"{self.before}{SLOT}{self.after}".encode())

    @property
    def delimiters(self) -> tuple[str, ...]:
        beside = (self.before.rstrip("\n").rpartition("\n")[2], self.after.lstrip("\n").partition("\n")[0])
        marks = {line.strip() for line in beside if len(line.strip()) > 1 and _is_mark(line.strip())}
        return tuple(sorted(marks))

    def harmless(self, text: str, special: Sequence[str] = ()) -> str:
        """The text without the prompt's delimiters, and with a blank in whatever the tokenizer would take for a token of its own."""
        for mark in special:
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        while any(mark in text for mark in self.delimiters):  # what a removal joins may be one again
            for mark in self.delimiters:
                text = text.replace(mark, "")
        return text

    def filled(self, text: str) -> str:
        return f"{self.before}{text}{self.after}"


class Asker:
    """Turns texts into prompts of token ids for one model: chat template, cue, truncation.

    A prompt is tokenised whole, as anybody would who had only this one; a text that is too long is cut between two of its tokens first.
    Models with a chat template are asked in a user's turn, and answer in the turn that it opens; other decoder models are given
    the cue "ANSWER:", as the community's package does it, for they would go on with the list of options.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompt: Prompt,
        *,
        two_sided: bool,
        chat: Literal["auto", "yes", "no"],
        limit: int,
        truncate: Truncate,
        escape: bool = True,
    ) -> None:
        self._escape = escape
        self._tokenizer, self._prompt, self._limit, self._truncate = tokenizer, prompt, limit, truncate
        has = bool(getattr(tokenizer, "chat_template", None))
        if chat == "yes" and not has:
            raise OptionError("ask_llm: chat=yes, but this model's tokenizer has no chat template. Leave it out.")
        self._in_chat = chat != "no" and has
        self._cue = "" if two_sided or self._in_chat else "\nANSWER:"
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        self._special = sorted({str(token) for token in added if token.special and len(str(token)) > 1}, key=len, reverse=True)
        self._room = limit - max(map(len, self._ids([self._rendered("")]))) - 1
        if self._room < 1:
            raise OptionError(
                f"ask_llm: the prompt alone takes {limit - self._room - 1} of {limit} tokens. "
                "Shorten it (prompt=…), raise max_tokens, or take a model that reads more."
            )

    @property
    def joint(self) -> str:
        """What stands between the prompt and the answer's word."""
        return " " if self._cue else ""

    @property
    def empty(self) -> str:
        """The prompt around no text."""
        return self._rendered("")

    def prompts(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Token ids of every prompt, and how many each text has: one, but for `windows`."""
        clean = [self._prompt.harmless(text, self._special) if self._escape else text for text in texts]
        whole = self._ids([self._rendered(text[: self._limit * 24]) for text in clean])
        pieces = [
            [ids] if len(ids) <= self._limit and len(text) <= self._limit * 24 else self._cut(text)
            for text, ids in zip(clean, whole, strict=True)
        ]
        return [ids for of_text in pieces for ids in of_text], [len(of_text) for of_text in pieces]

    def _cut(self, text: str) -> list[list[int]]:
        if self._truncate == "middle":
            reach = self._room * 12  # characters to either side of the centre
            text = text[max(len(text) // 2 - reach, 0) : len(text) // 2 + reach]
        found = encode(self._tokenizer, [text], self._room if self._truncate == "head" else None)[0]
        n, room = len(found.ids), self._room
        if self._truncate == "windows":
            starts = list(range(0, n, room))
        else:
            starts = [max((n - room) // 2, 0) if self._truncate == "middle" else 0]
        return [self._fitting([found.text[_at(found.ends, a) : end] for end in _ends(found.ends, a, min(a + room, n))]) for a in starts]

    def _fitting(self, texts: "Sequence[str] | Any") -> list[int]:
        """The first that fits: the border between text and wording may cost a token or two."""
        for text in texts:
            ids = self._ids([self._rendered(text)])[0]
            if len(ids) <= self._limit:
                return ids
        return ids

    def _rendered(self, text: str) -> str:
        asked = self._prompt.filled(text)
        if not self._in_chat:
            return asked + self._cue
        turn = [{"role": "user", "content": asked}]
        return str(self._tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))

    def _ids(self, texts: list[str]) -> list[list[int]]:
        read = self._tokenizer(texts, add_special_tokens=not self._in_chat, verbose=False)["input_ids"]
        return [list(ids) for ids in read]


def word_id(tokenizer: Any, word: str, asker: Asker, *, two_sided: bool) -> int | None:
    """The token that is this word in the place of the answer; None where that takes several."""
    if two_sided:
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        return int(ids[0]) if len(ids) == 1 else None
    base, joined = (tokenizer(asker.empty + end, add_special_tokens=False)["input_ids"] for end in ("", asker.joint + word))
    return int(joined[-1]) if len(joined) == len(base) + 1 and joined[:-1] == base else None


def _at(ends: Sequence[int], token: int) -> int:
    return ends[token - 1] if token else 0


def _ends(ends: Sequence[int], first: int, stop: int) -> list[int]:
    """Where the text may end: after its last token, or a few earlier."""
    return [_at(ends, max(stop - less, first)) for less in range(min(64, stop - first + 1))]


def _is_mark(line: str) -> bool:
    return not re.search(r"\w", line) or re.fullmatch(r"</?\w+>|\[/?\w+\]", line) is not None


def _read(given: str, who: str) -> str:
    path = Path(given).expanduser()
    if not path.is_file():
        raise OptionError(f'{who}: prompt "{given}" is neither a wording with {SLOT} in it nor a file.')
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except UnicodeDecodeError as error:
        raise InputError(f'{who}: prompt file "{path}" is not UTF-8 ({error.reason} at byte {error.start}).') from None
