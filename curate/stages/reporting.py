"""`curate report`: one self-contained page about scores, a selection, a comparison or a distilled set, that needs nothing but a browser."""

import base64
import hashlib
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from curate.comparison import Comparison
from curate.data import Dataset
from curate.disk import write_whole
from curate.errors import InputError, OptionError, OtherJobError, UsageError
from curate.label_issues import write_issues
from curate.progress import Progress, Silent
from curate.scores import Scores, require_same_dataset
from curate.selection import Selection
from curate.stages.audit.findings import Audit
from curate.stages.report import SECTIONS
from curate.stages.report.cells import Cells
from curate.stages.report.context import Context, Section
from curate.store import Store
from curate.synthetic import KIND as DISTILLED
from curate.synthetic import Synthetic

TEMPLATES: Final = Path(__file__).parent / "report" / "templates"


def report(
    store: str | Path,
    out: str | Path,
    *,
    data: Any = None,
    selection: Selection | str | Path | None = None,
    comparison: Comparison | str | Path | None = None,
    scores: Scores | str | Path | None = None,
    issues: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Writes the page and returns its path. `store` holds scores, a selection or a comparison, and the others may be added
    by name; or a distilled set, whose page stands alone.

    `data` is the source of the rows, without which the page shows row numbers and no content. Where it is given and the scores come from a
    run trained here, the model's final probabilities are made if they are missing, for the labels that the page suggests. Below 10 MB
    however many rows there are: of large sets the map draws a random part. `issues` names a csv for the ranked list of the labels that the
    page calls probably wrong. Raises OtherDatasetError where the parts are not of one dataset.
    """
    progress = progress or Silent()
    target = Path(out)
    if target.suffix.lower() not in (".html", ".htm"):
        raise OptionError(f'The page "{target}" must end in .html.')
    if issues is not None and Path(issues).suffix.lower() != ".csv":
        raise OptionError(f'The list of label issues "{issues}" must end in .csv.')
    context = _context(store, data, selection, comparison, scores, progress)
    if issues is not None:
        _list_issues(context, Path(issues))
    text = _composed(context, progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, lambda path: path.write_text(text, encoding="utf-8"))
    return target


def audit_page(audit: Audit, scores: Scores, data: Dataset, title: str, progress: Progress) -> str:
    """The page of an audit, with the scores that it made on the way."""
    context = Context(scores=scores, selection=None, comparison=None, data=data, runs=(), cells=Cells(data), audit=audit)
    return _composed(context, progress, title)


def _composed(context: Context, progress: Progress, title: str = "") -> str:
    with progress.task("report", len(SECTIONS), "sections") as task:
        sections: dict[str, Section] = {}
        for name, target_of in SECTIONS.items():
            module, _, function = target_of.partition(":")
            made = getattr(importlib.import_module(module), function)(context)
            if made is not None:
                sections[name] = made
            task.advance()
    return _page(context, sections, title or _title(context))


def _context(
    store: str | Path,
    data: Any,
    selection: Selection | str | Path | None,
    comparison: Comparison | str | Path | None,
    scores: Scores | str | Path | None,
    progress: Progress,
) -> Context:
    parts: dict[str, Any] = {"scores": scores, "selection": selection, "comparison": comparison}
    if Path(store).is_file():
        raise UsageError(f'"{store}" is a file, and a page is made of a store: `curate report STORE --data {store}`.')
    kind = Store.open(store).kind
    if kind == DISTILLED:
        if any(part is not None for part in (*parts.values(), data)):
            raise UsageError(
                f'"{store}" is a distilled set, whose page stands alone. Leave out --data, --scores, --selection, --comparison.'
            )
        return Context(None, None, None, None, (), Cells(None), distilled=Synthetic.open(store))
    if kind not in parts:
        raise InputError(f'"{store}" holds a {kind}; a report is made of scores, a selection, a comparison or a distilled set.')
    if parts[kind] is not None:
        raise UsageError(f'"{store}" holds a {kind} already, so --{kind} names a second one. Make a page for each.')
    parts[kind] = store
    openers: dict[str, Callable[[Any], Any]] = {"scores": Scores.open, "selection": Selection.open, "comparison": Comparison.open}
    opened = {name: openers[name](part) if isinstance(part, str | Path) else part for name, part in parts.items()}
    if data is not None:
        from curate.loading import load

        data = load(data)
    _require_one_dataset(opened, data)
    return Context(**opened, data=data, runs=_runs(opened["scores"], data, progress), cells=Cells(data))


def _list_issues(context: Context, file: Path) -> None:
    if context.issues is None or context.data is None or not context.issues.judges:
        raise UsageError(
            "A list of label issues needs the labels and a score that judges them. Name the source with --data and, where it has labels, "
            "score them: --scorer aum --scorer confident, with embeddings --scorer knn_disagreement --scorer knn_shapley."
        )
    data, found = context.data, context.issues
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, lambda path: write_issues(path, data, found))


def _require_one_dataset(opened: dict[str, Any], data: Dataset | None) -> None:
    about = {name: part.dataset_about if name == "selection" else part.store.dataset for name, part in opened.items() if part is not None}
    (first, one), *others = about.items()
    for name, other in others:
        if other["fingerprint"] != one["fingerprint"]:
            raise InputError(
                f"The {first} and the {name} are of different datasets ({one['fingerprint'][:8]}… and {other['fingerprint'][:8]}…). "
                "Make a page for each."
            )
    if data is None:
        return
    if opened["selection"] is not None:
        opened["selection"].require_dataset(data)
    for part in (opened["scores"], opened["comparison"]):
        if part is not None:
            require_same_dataset(part.store, data)


def _runs(scores: Scores | None, data: Dataset | None, progress: Progress) -> Any:
    """The runs of a score store; with the data at hand the first one's final probabilities are made if they can be and are not there."""
    if scores is None:
        return ()
    from curate.locks import locked
    from curate.signals.runs import find_runs
    from curate.stages.running import trainer_of

    runs = tuple(run for run in find_runs(scores.path) if run.is_finished)
    if not runs or data is None or data.label is None or not runs[0].missing_evaluations(["probs.final"])[1]:
        return runs
    try:
        with locked(runs[0].store.path):
            trainer_of(runs[0], data, 1.0, progress).evaluate(runs[0], ["probs.final"])
    except (OtherJobError, OptionError, InputError) as error:
        progress.note(f"No suggested labels: {error}")
    return runs


def _page(context: Context, sections: dict[str, Section], title: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    engine = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    shared = {"classes": list(context.label_names), "rows": context.cells.as_json()}
    data = {"shared": shared, **{name: section.data for name, section in sections.items() if section.data is not None}}
    sources = f"img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    policy = f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"
    bodies = [(name, section, engine.get_template(section.template).render(section.values)) for name, section in sections.items()]
    page = engine.get_template("page.html")
    return page.render(policy=policy, style=style, script=script, sections=bodies, data=_json(data), title=title)


def _title(context: Context) -> str:
    paths = [
        part.path
        for part in (context.scores, context.selection, context.comparison, context.distilled)
        if part is not None and part.path is not None
    ]
    return ", ".join(Path(path).name for path in paths)


def _json(value: Any) -> str:
    """JSON that may stand inside a script element: no character of it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, default=_plain, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written into the page")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
