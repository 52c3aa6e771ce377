"""Opens a store of the kind that is needed, and says how such a one is made where the folder holds another or none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from curate.errors import InputError
from curate.store import Store

MADE_BY: Final[Mapping[str, str]] = {
    "scores": "`curate score DATA --scorer … --out DIR` makes one.",
    "run": "`curate score` and `curate.Recorder` make some, in the folder `runs` of a store of scores.",
    "selection": "`curate select DATA … --out DIR` makes one.",
    "embeddings": "`curate embed DATA --out DIR` makes one.",
    "comparison": "`curate compare DATA SELECTION… --out DIR` makes one.",
    "bench": "`curate bench DATA --scorer … --out DIR` makes one.",
    "distilled": "`curate distill DATA --out DIR` makes one.",
}


def open_kind(path: str | Path, kind: str) -> Store:
    """The store in a folder; InputError where there is none of this kind, DamagedStoreError where it does not read back."""
    store = Store.open(path, made_by=MADE_BY[kind])
    if store.kind != kind:
        raise InputError(f'"{path}" is a store of kind "{store.kind}", not "{kind}". {MADE_BY[kind]}')
    return store
