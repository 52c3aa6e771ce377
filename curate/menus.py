"""Makes a room's classes importable from the room itself, `curate.samplers.CCS`, without importing any of them early."""

import importlib
from collections.abc import Callable, Mapping


def lazy(menu: Mapping[str, str]) -> Callable[[str], type]:
    """A module `__getattr__` that finds a class by its own name in a menu of "module:Class"."""
    where = {target.partition(":")[2]: target.partition(":")[0] for target in menu.values()}

    def find(name: str) -> type:
        if name not in where:
            raise AttributeError(f"no method class {name!r} here; there are: {', '.join(sorted(where))}")
        found: type = getattr(importlib.import_module(where[name]), name)
        return found

    return find
