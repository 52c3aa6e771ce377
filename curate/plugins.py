"""Finds scorers, samplers and distillers by name: ours in the rooms' menus, other people's in entry points or in a file they name."""

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from curate.errors import CurateError, OptionError, UnknownNameError, UsageError, did_you_mean

Room = Literal["scorers", "samplers", "online_samplers", "distillers"]
ROOMS: tuple[Room, ...] = ("scorers", "samplers", "online_samplers", "distillers")
FOLDERS: dict[Room, str] = {"scorers": "scorers", "samplers": "samplers", "online_samplers": "samplers.online", "distillers": "distill"}

_SPEC = re.compile(
    r"^(?:(?P<alias>[A-Za-z_]\w*)=)?(?P<name>(?:[A-Za-z]:[\\/])?[^:]*?\.py:[A-Za-z_]\w*|[^:=]+)(?::(?P<options>.*))?$", re.DOTALL
)


@dataclass(frozen=True)
class Method:
    """One listed method: its name and where its class is, "module:Class"; `origin` names the package that brings it."""

    room: Room
    name: str
    target: str
    origin: str


@dataclass(frozen=True)
class Plugin:
    """A method that was asked for: the name its results bear, the class, and the options as given (already typed)."""

    name: str
    method: str
    cls: type[Any]
    options: Mapping[str, Any]
    source_hash: str | None = None
    where: str | None = None  # NAME or FILE.py:Class, by which another process finds the class; None for an instance

    @classmethod
    def of(cls, room: Room, instance: Any) -> "Plugin":
        """The plug-in that an instance stands for, under its listed name where it has one."""
        if isinstance(instance, type):
            raise UsageError(f"{instance.__name__} is a class; an instance is expected, {instance.__name__}(), or its name as text.")
        kind = type(instance)
        target = f"{kind.__module__}:{kind.__name__}"
        listed = next((m.name for m in methods(room).values() if m.target == target), None)
        name = listed or _snake(kind.__name__)
        return cls(name, name, kind, options_of(instance), where=listed)

    def portable(self, options: Mapping[str, Any]) -> "Plugin | None":
        """This plug-in with other options and without its class, which another process looks up; None where it cannot."""
        return None if self.where is None else Plugin(self.name, self.method, object, dict(options), self.source_hash, self.where)

    def build(self) -> Any:
        """The instance; a bad option is an OptionError that names the method."""
        return self.cls(**self.options)


@cache
def methods(room: Room) -> dict[str, Method]:
    """Every listed method of a room by name, sorted; a name taken twice is an error that names both."""
    menu: dict[str, str] = importlib.import_module(f"curate.{FOLDERS[room]}").MENU
    found = {name: Method(room, name, target, "curate") for name, target in menu.items()}
    for point in importlib.metadata.entry_points(group=f"curate.{room}"):
        origin = point.dist.name if point.dist else point.module
        if point.name in found:
            other = found[point.name]
            raise UsageError(
                f'Two packages bring {noun(room)} "{point.name}": "{other.target}" of {other.origin} and "{point.value}" of {origin}. '
                "Uninstall one, or rename its entry point."
            )
        found[point.name] = Method(room, point.name, point.value, origin)
    return dict(sorted(found.items()))


def parse(room: Room, spec: str) -> Plugin:
    """The plug-in that a `[AS=]NAME[:opt=v,…]` or `[AS=]FILE.py:Class[:opt=v,…]` stands for; imports only that one."""
    match = _SPEC.match(spec.strip())
    if not match or not match["name"]:
        raise UsageError(f'Cannot read {noun(room)} "{spec}". Write NAME, NAME:option=value,… or ALIAS=NAME:option=value,….')
    name = match["name"].strip()
    if ".py:" in name:
        cls, source_hash = _load_file(room, name)
        method = _snake(cls.__name__)
    else:
        cls, source_hash, method = _load_listed(room, name), None, name
    options = _typed_options(cls, method, match["options"] or "")
    return Plugin(match["alias"] or method, method, cls, options, source_hash, str(Path(name).absolute()) if source_hash else name)


def find_class(room: Room, where: str) -> type[Any]:
    """The class behind a Plugin's `where`."""
    return _load_file(room, where)[0] if ".py:" in where else _load_listed(room, where)


def noun(room: Room) -> str:
    """What one method of a room is called in messages."""
    return room[:-1].replace("_", " ")


def part(room: Room, module: str) -> types.ModuleType:
    """A module of a room that holds no method (how its results are tested), for stages, which must not import one."""
    return importlib.import_module(f"curate.{FOLDERS[room]}.{module}")


def stage(name: str) -> types.ModuleType:
    """A stage by name, for code below that must not import one (the recorder's `score`)."""
    return importlib.import_module(f"curate.stages.{name}")


def options_of(instance: object) -> dict[str, Any]:
    """The constructor options of an instance, read back from the attributes of the same names."""
    return {name: getattr(instance, name) for name in signature(type(instance))}


def signature(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """The keyword options of a method's constructor by name."""
    own = cls.__init__ is not object.__init__
    parameters = inspect.signature(cls).parameters if own else {}
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def summary(method: Method) -> tuple[str, dict[str, str]]:
    """The first docstring sentence and the literal class attributes (as source text) of a method, read without importing it."""
    text, attributes = described(method)
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0], attributes


def described(method: Method) -> tuple[str, dict[str, str]]:
    """The whole docstring, in one line, and the literal class attributes of a method, read without importing it.

    `curate list` must answer at once, and numpy alone takes longer than the rest of it.
    """
    module, _, cls = method.target.partition(":")
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise CurateError(f'Package {method.origin} lists {noun(method.room)} "{method.name}" as "{method.target}", which does not exist.')
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == cls:
            text = ast.get_docstring(node) or ast.get_docstring(tree) or ""
            return " ".join(text.split()), _class_attributes(node)
    raise CurateError(f'Package {method.origin} lists {noun(method.room)} "{method.name}", but {module} has no class {cls}.')


def _class_attributes(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for item in node.body:
        targets = item.targets if isinstance(item, ast.Assign) else [item.target] if isinstance(item, ast.AnnAssign) else []
        value = getattr(item, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and value is not None:
                found[target.id] = ast.unparse(value)
    return found


def _load_listed(room: Room, name: str) -> type[Any]:
    listed = methods(room)
    if room == "samplers" and name not in listed and name in methods("online_samplers"):
        cls = methods("online_samplers")[name].target.partition(":")[2]
        raise UsageError(
            f'"{name}" chooses rows anew in every epoch, inside a training loop: DataLoader(train, sampler=curate.samplers.{cls}(…)). '
            f"`curate compare DATA {name} --out DIR` tries it; docs/training.md shows the loop."
        )
    if room == "samplers" and name in methods("scorers") and name not in listed:
        raise UsageError(
            f'"{name}" is a scorer, not a sampler: `curate score DATA --scorer {name} --out scores`, then choose by it, '
            f'--scores scores --sampler top --by {name}, or where it marks copies --where "not {name}.is_duplicate".'
        )
    if name not in listed:
        raise UnknownNameError(f'No {noun(room)} named "{name}".{did_you_mean(name, listed)} `curate list {room}` shows all {len(listed)}.')
    module, _, cls = listed[name].target.partition(":")
    return _class(importlib.import_module(module), cls, name)


def import_file(spec: str, what: str) -> tuple[types.ModuleType, str, str]:
    """The module, the attribute's name and the source's hash for a `FILE.py:NAME`; UsageError where there is no such file."""
    import xxhash

    path_text, _, attribute = spec.rpartition(":")
    path = Path(path_text).expanduser()
    if not path.is_file():
        raise UsageError(f'{what} file "{path}" does not exist.')
    source_hash = xxhash.xxh3_128_hexdigest(path.read_bytes())
    found = importlib.util.spec_from_file_location(f"curate_file_{path.stem}_{source_hash[:8]}", path)
    assert found is not None and found.loader is not None, "a .py path always has a loader"
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module, attribute, source_hash


def _load_file(room: Room, name: str) -> tuple[type[Any], str]:
    module, cls, source_hash = import_file(name, noun(room).capitalize())
    return _class(module, cls, name), source_hash


def _class(module: types.ModuleType, cls: str, name: str) -> type[Any]:
    found = getattr(module, cls, None)
    if not isinstance(found, type):
        known = [key for key, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__]
        raise UnknownNameError(
            f'"{name}" names class {cls}, which is not there.{did_you_mean(cls, known)} Found: {", ".join(known) or "none"}.'
        )
    return found


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _typed_options(cls: type[Any], method: str, text: str) -> dict[str, Any]:
    known = signature(cls)
    hints = typing.get_type_hints(cls.__init__) if known else {}
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f'Option "{part}" of {method} has no value. Write {method}:{part}=VALUE.')
        if name not in known:
            choices = ", ".join(known) or "none"
            raise UnknownNameError(f'{method} has no option "{name}".{did_you_mean(name, known)} Its options: {choices}.')
        if name in options:
            raise UsageError(f'Option "{name}" of {method} is given twice.')
        options[name] = convert(value, hints.get(name, str), f"{method}: {name}")
    missing = [name for name, p in known.items() if p.default is inspect.Parameter.empty and name not in options]
    if missing:
        raise UsageError(f"{method} needs option {missing[0]}: write {method}:{missing[0]}=VALUE.")
    return options


def convert(text: str, hint: Any, what: str) -> Any:
    """An option's text as the type its annotation names: int, float, str, bool, Literal, tuple[X, ...] (`3+5`), or None."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if type(None) in arguments and text.lower() in ("none", "auto"):
            return None
        return _first_that_fits(text, [a for a in arguments if a is not type(None)], what)
    if origin is Literal:
        for choice in arguments:
            if str(choice) == text:
                return choice
        choices = ", ".join(str(a) for a in arguments)
        raise OptionError(f'{what} must be one of {choices}; got "{text}".{did_you_mean(text, map(str, arguments))}')
    if origin in (tuple, list) or origin is typing.get_origin(typing.Sequence[int]):
        return tuple(convert(item, arguments[0], what) for item in text.split("+"))
    return _scalar(text, hint, what)


def _first_that_fits(text: str, hints: Iterable[Any], what: str) -> Any:
    error: OptionError | None = None
    for hint in hints:
        try:
            return convert(text, hint, what)
        except OptionError as failed:
            error = error or failed
    assert error is not None, "a union has at least one member besides None"
    raise error


def _scalar(text: str, hint: Any, what: str) -> Any:
    if hint is bool:
        if text.lower() in ("true", "yes", "1", "on"):
            return True
        if text.lower() in ("false", "no", "0", "off"):
            return False
        raise OptionError(f'{what} must be true or false; got "{text}".')
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            kind = "a whole number" if hint is int else "a number"
            raise OptionError(f'{what} must be {kind}; got "{text}".') from None
    return text
