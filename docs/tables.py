"""Writes the parts of README.md and docs/ that follow from the menus, between their markers, so that there is no second list.

make docs          or: python docs/tables.py
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from curate.plugins import Room, find_class, methods, noun, signature

ROOT: Final = Path(__file__).parents[1]
PAGES: Final[dict[Room, str]] = {
    "scorers": "scorers.md",
    "samplers": "samplers.md",
    "online_samplers": "training.md",
    "distillers": "distillers.md",
}
NO_SOURCE: Final = "no paper of its own"


def main() -> None:
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


def pages() -> dict[Path, str]:
    """Every page with generated parts, as it should be."""
    wanted = {ROOT / "README.md": {room: table(room) for room in PAGES}}
    wanted |= {ROOT / "docs" / page: {room: "\n".join(paragraphs(room))} for room, page in PAGES.items()}
    return {path: _filled(path.read_text(encoding="utf-8"), parts) for path, parts in wanted.items()}


def table(room: Room) -> str:
    keeps = room == "scorers"
    head = [noun(room), *(["keeps"] if keeps else []), "what it is", "source"]
    rows = [[f"`{name}`", *([cls.keep] if keeps else []), _headline(name, cls), _source(cls)] for name, cls in _own(room)]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in [head, ["---"] * len(head), *rows]
    )


def paragraphs(room: Room) -> Iterator[str]:
    """A section a method: what it is, its options with their defaults, the docstring of its class, its source."""
    for name, cls in _own(room):
        path = f"{cls.__module__.replace('.', '/')}.py"
        options = ",".join(f"{option}={_short(p.default)}" for option, p in signature(cls).items())
        yield f"## {name}\n\n`{name}{':' if options else ''}{options}`\n"
        yield f"{inspect.getdoc(cls)}\n"
        yield f"Source: {_source(cls)}. Code: [{path}](../{path}).\n"


def _own(room: Room) -> list[tuple[str, type[Any]]]:
    """The methods that come with the package; what else is installed has a page of its own."""
    return [(method.name, find_class(room, method.name)) for method in methods(room).values() if method.origin == "curate"]


def _headline(name: str, cls: type[Any]) -> str:
    """The module's first sentence, without the method's name where it opens with it."""
    sentence = _paragraphs(cls)[0].rstrip(".")
    first, colon, rest = sentence.partition(": ")
    text = rest if colon and _letters(first).startswith(_letters(name)) else sentence
    return text[:1].upper() + text[1:]


def _source(cls: type[Any]) -> str:
    """Who published it and where the official code is: the second paragraph of the module's docstring."""
    text = "".join(_paragraphs(cls)[1:2]).rstrip(".")
    return re.sub(r"official code ([\w.-]+/[\w.-]*\w)", r"[official code](https://github.com/\1)", text) or NO_SOURCE


def _paragraphs(cls: type[Any]) -> list[str]:
    return [" ".join(part.split()) for part in (inspect.getdoc(sys.modules[cls.__module__]) or "").split("\n\n")]


def _letters(text: str) -> str:
    return re.sub("[^a-z0-9]", "", text.lower())


def _short(default: object) -> object:
    return f"{default:.3g}" if isinstance(default, float) else default


def _filled(text: str, parts: dict[Room, str]) -> str:
    for room, part in parts.items():
        pattern = rf"(<!-- {room}: written by docs/tables.py -->\n).*?(<!-- end of {room} -->)"
        text, found = re.subn(pattern, lambda match, part=part: f"{match[1]}\n{part}\n{match[2]}", text, flags=re.DOTALL)
        assert found == 1, f"the markers of {room} must stand once"
    return text


if __name__ == "__main__":
    main()
