"""Recording in other people's training loops, without changing them: `curate.integrations.transformers`, `.lightning`, `.accelerate`."""

import importlib


def __getattr__(name: str) -> object:
    """A module is imported when it is first asked for, since each needs its library."""
    if name in ("accelerate", "lightning", "transformers"):
        return importlib.import_module(f"curate.integrations.{name}")
    raise AttributeError(f"no integration {name!r}; there are: accelerate, lightning, transformers")
