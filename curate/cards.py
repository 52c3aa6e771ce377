"""The dataset card of a selection: what it is, where its rows come from, and the command that makes it again."""

import html
import json
import re
from collections.abc import Mapping
from typing import Any


def selection_card(about: Mapping[str, Any], dataset: Mapping[str, Any], report: Mapping[str, Any], files: str | None) -> str:
    """README.md with the hub's YAML head. `about` is how the rows were chosen, `report` what came of it, `files` where they lie."""
    parts = [
        _head(report["kept"], dataset, files),
        _provenance(about, dataset, report),
        _by_class(report),
        _leaks(dataset, report),
        _again(about),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _head(kept: int, dataset: Mapping[str, Any], files: str | None) -> str:
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
    size = next((name for bound, name in bounds if kept < bound), "10M<n<100M")
    return "\n".join(
        [
            "---",
            *(["configs:", "- config_name: default", "  data_files:", "  - split: train", f"    path: {files}"] if files else []),
            "size_categories:",
            f"- {size}",
            "tags:",
            "- curate",
            "- data-selection",
            "---",
            "",
            "# A selection made by curate",
            "",
            f"{kept:,} of {dataset['rows']:,} rows of the dataset with content fingerprint `{dataset['fingerprint']}`.",
            "The licence and terms of the source apply.",
            "",
        ]
    )


def _provenance(about: Mapping[str, Any], dataset: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    rows = {
        "source fingerprint": f"`{dataset['fingerprint']}`",
        "sampler": f"{_code(about['sampler'])} {_options(about['sampler_options'])}" if about["sampler"] else "none (a filter)",
        "by": f"{_code(about['by'])}, keeping {about['keep']}" if about["by"] else "",
        "budget": about["budget"] or "",
        "where": _code(about["where"]) if about["where"] else "",
        "within": f"{about['within']:,} rows chosen before" if about["within"] else "",
        "per class": "yes" if about["per_class"] else "",
        "seed": about["seed"],
        "scores": _scores(about["scores"]),
        "decisions": _decisions(about.get("decisions")),
        "shared with a random pick": f"{report['overlap_with_random']:.1%} (a random pick would share {report['overlap_expected']:.1%})",
    }
    lines = ["## How the rows were chosen", "", "| | |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows.items() if value not in ("", None)), ""])


def _decisions(decisions: Mapping[str, Any] | None) -> str:
    if decisions is None:
        return ""
    dropped, fixed, kept = (decisions[name] for name in ("dropped", "fixed", "kept"))
    return f"looked at by a person: {dropped:,} dropped, {fixed:,} relabelled, {kept:,} kept as they are"


def _scores(scores: Mapping[str, Mapping[str, Any]]) -> str:
    return "; ".join(
        f"{_code(name)} = {plain(about.get('method', name))} {_options(about.get('options', {}))} v{about.get('version', 1)}"
        for name, about in scores.items()
    )


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(plain(f"{name}={json.dumps(value)}") for name, value in options.items())


def _by_class(report: Mapping[str, Any]) -> str:
    if not report.get("classes"):
        return ""
    lines = ["## Shares kept by class", "", "| class | kept | of | share |", "| --- | --- | --- | --- |"]
    for name, (kept, total) in report["classes"].items():
        lines.append(f"| {plain(name)} | {kept:,} | {total:,} | {kept / total if total else 0:.1%} |")
    return "\n".join([*lines, ""])


def _leaks(dataset: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Evaluation sets that the rows repeat; a set of texts says it, too, where nobody looked."""
    records = report.get("contamination") or []
    if not records and dataset.get("modality") not in ("text", "text_pair", "chat"):
        return ""
    lines = [_leak(one) for one in records] or [
        "Not checked against any evaluation set: `curate score DATA --scorer contamination --target EVALUATION --out scores`, then "
        "`curate export … --with-scores scores`."
    ]
    return "\n".join(["## Contamination", "", *(f"- {line}" for line in lines), ""])


def _leak(one: Mapping[str, Any]) -> str:
    if one["method"] == "leakage":
        beside = f", {one['reference_accuracy']:.1%} of the reference (a decrease of {one['decrease']:.1f} %)" if "decrease" in one else ""
        return (
            f"{_code(one['score'])}: the model {_code(one['model'])} goes on word for word at {one['accuracy']:.1%} of places{beside}; "
            f"{one['rows']:,} rows are known by heart, {one['kept']:,} of them kept."
        )
    return (
        f"{_code(one['score'])}: {one['rows']:,} rows of the source share a run of {one['n']} words, or a whole shorter row, with the "
        f"evaluation set of {one['against_rows']:,} rows with fingerprint `{one['against']}`; {one['kept']:,} of them are kept"
        f"{', with runs of up to ' + format(one['kept_longest'], ',') + ' words' if one['kept'] else ''}."
    )


def _again(about: Mapping[str, Any]) -> str:
    command = about.get("command")
    if not command:
        return ""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", command)), default=0))
    return f"## The command that makes it again\n\n{fence}\n{command}\n{fence}\n"


def told(facts: Mapping[str, float | int | str]) -> list[str]:
    """Facts in words: "label entropy 3.317".

    >>> told({"label_entropy": 3.31702, "rows": 12000, "verdict": "fine"})
    ['label entropy 3.317', 'rows 12,000', 'verdict fine']
    """
    shown = {name: f"{v:,}" if isinstance(v, int) else f"{v:,.4g}" if isinstance(v, float) else v for name, v in facts.items()}
    return [f"{name.replace('_', ' ')} {text}" for name, text in shown.items()]


def plain(text: object) -> str:
    """Names, conditions and options are the user's and the dataset's, so they must not become markup."""
    escaped = re.sub(r"([\\`*_{}\[\]()#!|~])", r"\\\1", html.escape(" ".join(str(text).split()), quote=False))
    return escaped[:400]


def _code(text: object) -> str:
    return f"<code>{plain(text)}</code>"
