"""Writes the parts of README.md and docs/ that follow from the menus, between their markers, so that there is no second list.

make docs          or: python docs/tables.py
"""

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from curate.plugins import Method, Room, methods, summary

ROOT: Final = Path(__file__).parents[1]
ROOMS: Final[tuple[Room, ...]] = ("scorers", "samplers")
# What a method without a paper of its own is, where the table has its source.
NO_SOURCE: Final = "baseline or common practice"


def main() -> None:
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


def pages() -> dict[Path, str]:
    """Every page with generated parts, as it should be."""
    wanted = {ROOT / "README.md": {room: table(room) for room in ROOMS}}
    wanted |= {ROOT / "docs" / f"{room}.md": {room: "\n".join(paragraphs(room))} for room in ROOMS}
    return {path: _filled(path.read_text(encoding="utf-8"), parts) for path, parts in wanted.items()}


def table(room: Room) -> str:
    lines = [f"| {room[:-1]} | keeps | what it is | source |", "| --- | --- | --- | --- |"]
    if room == "samplers":
        lines = ["| sampler | what it does | source |", "| --- | --- | --- |"]
    for method in _own(room):
        keep = summary(method)[1].get("keep", "'high'").strip("'\"")
        cells = [f"`{method.name}`", *([keep] if room == "scorers" else []), _headline(method), _source(method)]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def paragraphs(room: Room) -> Iterator[str]:
    """A section a method: its headline, its options, the docstring of its class, its source."""
    for method in _own(room):
        module, node = _parsed(method)
        yield f"## {method.name}\n\n{_sentence(module)}\n"
        yield f"`{method.name}{_options(node)}`\n"
        yield f"{ast.get_docstring(node)}\n"
        yield f"Source: {_source(method)}. Code: [{_path(method)}](../{_path(method)}).\n"


def _own(room: Room) -> list[Method]:
    return [method for method in methods(room).values() if method.origin == "curate"]


def _headline(method: Method) -> str:
    """The module's first sentence without the name that it may open with."""
    sentence = _sentence(_parsed(method)[0]).rstrip(".")
    name, colon, rest = sentence.partition(": ")
    return (
        rest if colon and _letters(name) in (_letters(method.name), _letters(method.name) + "s", "datamaps", "betasampling") else sentence
    )


def _letters(text: str) -> str:
    return re.sub("[^a-z0-9]", "", text.lower())


def _sentence(module: ast.Module) -> str:
    return " ".join((ast.get_docstring(module) or "").split("\n\n")[0].split())


def _source(method: Method) -> str:
    """Who published it and where the official code is: what the module's docstring says after its first sentence."""
    _, _, rest = (ast.get_docstring(_parsed(method)[0]) or "").partition("\n\n")
    text = " ".join(rest.split("\n\n")[0].split()).rstrip(".")
    return re.sub(r"official code ([\w.-]+/[\w.-]*\w)", r"[official code](https://github.com/\1)", text) or NO_SOURCE


def _options(node: ast.ClassDef) -> str:
    init = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    if init is None:
        return ""
    defaults = [ast.literal_eval(default) for default in init.args.kw_defaults if default is not None]
    return ":" + ",".join(f"{option.arg}={value}" for option, value in zip(init.args.kwonlyargs, defaults, strict=True))


def _parsed(method: Method) -> tuple[ast.Module, ast.ClassDef]:
    module = ast.parse((ROOT / _path(method)).read_text(encoding="utf-8"))
    name = method.target.partition(":")[2]
    return module, next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)


def _path(method: Method) -> str:
    spec = find_spec(method.target.partition(":")[0])
    assert spec is not None and spec.origin is not None, "a listed method lies in a file"
    return Path(spec.origin).relative_to(ROOT).as_posix()


def _filled(text: str, parts: dict[Room, str]) -> str:
    for room, part in parts.items():
        pattern = rf"(<!-- {room}: written by docs/tables.py -->\n).*?(<!-- end of {room} -->)"
        text, found = re.subn(pattern, lambda match, part=part: f"{match[1]}\n{part}\n{match[2]}", text, flags=re.DOTALL)
        assert found == 1, f"the markers of {room} must stand once"
    return text


if __name__ == "__main__":
    main()
