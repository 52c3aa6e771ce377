"""`curate show` and `curate verify`: what a store holds, and whether it is whole."""

from pathlib import Path
from typing import Any

import numpy as np

from curate.comparison import Comparison
from curate.embeddings import EMBEDDINGS
from curate.errors import InputError
from curate.scores import ROWS, Scores
from curate.selection import HERE
from curate.store import MANIFEST, RESULT, Store
from curate.synthetic import KIND as DISTILLED
from curate.synthetic import Synthetic


def describe(path: str | Path) -> dict[str, Any]:
    """What a store of any kind holds, as one dict: dataset, job, and a summary of each table."""
    store = Store.open(path)
    about: dict[str, Any] = {"store": str(path), "kind": store.kind, "dataset": store.dataset, "job": store.job, "settled": store.settled}
    if store.kind == "scores":
        about["scores"] = [_score_line(Scores(store), name) for name in store.tables if name != ROWS]
        about["runs"] = [_run_line(Store.open(run)) for run in _runs(Path(path))]
    elif store.kind == "comparison":
        about["report"] = Comparison(store).summary()
    elif store.kind == EMBEDDINGS:
        about["embeddings"] = _embeddings_line(store)
    elif store.kind == "audit":
        about["report"] = _audited(store)
    elif store.kind == DISTILLED:
        about["report"] = Synthetic.open(path).summary()
    elif store.kind == "run":
        about["runs"] = [_run_line(store)]
    elif store.kind == "bench":
        from curate.stages.benching import Bench

        about["report"] = Bench(store).summary()
    else:
        if store.kind == "selection" and not (HERE in store.tables and store.files(HERE)):
            raise InputError(f'The selection in "{store.path}" is not finished. Run its command again: it goes on.')
        about["report"] = store.about(HERE).get("report", {}) if HERE in store.tables else {}
        about["files"] = {table: len(store.files(table)) for table in store.tables}
    about["seconds"] = round(sum(float(line.get("wall", 0)) for line in _history(Path(path))), 1)
    return about


def verify(path: str | Path) -> tuple[int, list[dict[str, str]]]:
    """Reads every file of a store and of the runs in it; how many were read, and those that are not as they were written."""
    folders = [Path(path), *_runs(Path(path))]
    files, faults = 0, []
    for folder in folders:
        store = Store.open(folder)
        files += sum(len(store.files(table)) for table in store.tables)
        faults += [{"file": str(folder / fault.file), "problem": fault.problem} for fault in store.faults()]
    return files, faults


def _score_line(scores: Scores, name: str) -> dict[str, Any]:
    begun, about = bool(scores.store.files(name)), scores.about(name)
    values = scores[name] if begun else np.empty(0, np.float32)
    known = values[~np.isnan(values)]
    quantiles = [float(f"{v:.4g}") for v in np.quantile(known, (0, 0.5, 1))] if len(known) else [None] * 3
    return {
        "name": name,
        "method": about["method"],
        "keep": about["keep"],
        "hard": {1: "high", -1: "low", 0: "-"}[about["hard_sign"]],
        "lowest": quantiles[0],
        "median": quantiles[1],
        "highest": quantiles[2],
        "unscored": scores.failed(name),
        "rows": sum(entry.rows for entry in scores.store.files(name)),
        "columns": scores.columns(name) if begun else [],
        "options": about["options"],
        "cpu_seconds": round(sum(line.get("cpu", 0.0) for line in scores.store.history() if line.get("scorer") == name), 2),
        **{key: value for key, value in about.get("result", {}).items() if key in ("stability", "facts")},
        **({"target": about["target"]} if "target" in about else {}),
    }


def _audited(store: Store) -> dict[str, Any]:
    """What the audit found; InputError where it was interrupted before it had."""
    found = store.about(".").get(RESULT, {}).get("report") if "." in store.tables else None
    if found is None:
        raise InputError(f'The audit in "{store.path}" is not finished. Run its command again: it goes on.')
    return dict(found)


def _embeddings_line(store: Store) -> dict[str, Any]:
    rows = sum(entry.rows for entry in store.files(EMBEDDINGS))
    return {"rows": rows, "of": store.dataset["rows"], **store.job, "failed": store.failed(EMBEDDINGS)}


def _run_line(store: Store) -> dict[str, Any]:
    made = {table: len(store.files(table)) for table in store.tables}
    return {"run": store.path.name, "epochs_done": made.get("dynamics", 0), "of": store.job.get("epochs"), "job": store.job, "files": made}


def _runs(folder: Path) -> list[Path]:
    runs = folder / "runs"
    return [p for p in sorted(runs.iterdir()) if (p / MANIFEST).is_file()] if runs.is_dir() else []


def _history(folder: Path) -> list[dict[str, Any]]:
    return [line for place in (folder, *_runs(folder)) for line in Store.open(place).history()]
