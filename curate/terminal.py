"""What a person sees in a terminal: progress bars with rate and time left, notes on stderr, small aligned tables."""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from curate.cards import told
from curate.progress import Progress, Silent, Task

logger = logging.getLogger(__name__)

_JOINER: Final = "\u200d"  # of which families of emoji are made
WORTH_ROOM: Final = 1e8  # bytes from which on a sampler's memory is told
WORTH_TELLING: Final = 10.0  # CPU seconds from which on a score's rate is told


class Terminal:
    """Bars on stderr by rich; each task is one bar, and notes appear above it."""

    def __init__(self) -> None:
        self._live: Any = None

    @contextmanager
    def task(self, name: str, total: int, unit: str = "rows") -> Iterator[Task]:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = ("{task.description}", BarColumn(), "{task.percentage:>3.0f}%", TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        with Bars(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bars:
            self._live = bars
            yield _Bar(bars, bars.add_task(name, total=max(1, total), rate=""), unit)
            self._live = None

    def note(self, message: str) -> None:
        if self._live is not None:
            self._live.console.print(f"Note: {message}", markup=False, highlight=False)
        else:
            print(f"Note: {message}", file=sys.stderr)  # noqa: T201  # the terminal is this module's whole purpose


class _Bar:
    def __init__(self, bars: Any, task: Any, unit: str) -> None:
        self._bars, self._task, self._unit = bars, task, unit

    def advance(self, amount: int = 1) -> None:
        task = self._bars.tasks[self._bars.task_ids.index(self._task)]
        self._bars.update(self._task, advance=amount, rate=f"{task.speed:,.0f} {self._unit}/s" if task.speed else "")


class Notes(Silent):
    """No bars, but notes on stderr: for scripts and logs."""

    def task(self, name: str, total: int, unit: str = "rows") -> AbstractContextManager[Task]:
        return super().task(name, total, unit)

    def note(self, message: str) -> None:
        print(f"Note: {message}", file=sys.stderr)  # noqa: T201  # the terminal is this module's whole purpose


class Quiet(Silent):
    """Neither bars nor notes; a log that wants them has them at the level of information, which nobody sees unasked."""

    def note(self, message: str) -> None:
        logger.info("%s", message)


def progress_for(quiet: bool) -> Progress:
    """Bars where a person watches, else notes alone; neither when quiet."""
    if quiet:
        return Quiet()
    return Terminal() if sys.stderr.isatty() else Notes()


def columns(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Aligned columns; numbers to the right. Class names come from the data: what would steer the terminal is shown as U+FFFD."""
    cells = [[_printable(str(cell)) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    right = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() or c == _JOINER else "\ufffd" for c in text)


def comparison_lines(summary: Mapping[str, Any], where: str) -> str:
    """A comparison as a table, below it what it cost and what failed."""
    test, seeds, excluded = summary["test"], len(summary["seeds"]), summary["excluded"]
    steps = f", {summary['steps']:,} steps each" if summary["steps"] else ""
    lines = [f"{where}: {seeds} seed{'s' if seeds > 1 else ''}{steps}, tested " + _tested(test)]
    overlap = excluded["counts"].get("in_test", 0)
    if overlap:
        named = ", ".join(map(str, excluded["in_test"])) + (", …" if overlap > len(excluded["in_test"]) else "")
        lines.append(f"{overlap:,} rows have the same input as a test row and are left out of every arm: {named}")
    arms = summary["arms"]
    shown = [name for name in ("accuracy", "worst_class", "ece") if any(arm[name]["mean"] is not None for arm in arms)]
    costed = any("seconds_with_scoring" in arm for arm in arms)
    timed = any(arm.get("seconds_to_target") is not None for arm in arms)
    head = ["arm", "rows", *(name.replace("_", " ") + " %" for name in shown), "seconds", *(["with scoring"] if costed else [])]
    head += ["to target"] if timed else []
    rows = [
        [
            arm["arm"],
            f"{arm['rows']:,}",
            *(_percent(arm[name]) for name in shown),
            *(f"{arm[name]:,.1f}" if arm.get(name) is not None else "" for name in ("seconds", "seconds_with_scoring")[: 1 + costed]),
            *([f"{arm['seconds_to_target']:,.1f}" if arm.get("seconds_to_target") is not None else "never"] if timed else []),
            _percent(arm["minus_random"], signed=True) if "verdict" in arm else "",
            arm.get("verdict") or _online_verdict(arm),
        ]
        for arm in arms
    ]
    lines += ["", columns(rows, [*head, "minus random", "verdict"])]
    return "\n".join([*lines, *_remarks(summary, seeds)])


def bench_lines(summary: Mapping[str, Any], where: str) -> str:
    """AUROC by scorer and planted kind, in the order in which they were asked for."""
    kinds, means = list(summary["hardness"]), summary["means"]
    rows = [
        [name, *("" if (auroc := by_kind.get(kind, {}).get("auroc")) is None else f"{auroc:.3f}" for kind in kinds)]
        for name, by_kind in means.items()
    ]
    seeds = len(summary["seeds"])
    head = f"{where}: AUROC of what was planted, mean of {seeds} seed{'s' if seeds > 1 else ''}; 0.5 knows nothing, 1 finds all"
    control = ["duplicates are redundant, not hard: below 0.5 is right"] if "duplicates" in kinds else []
    return "\n".join([head, "", columns(rows, ["scorer", *kinds]), "", *control, f"more in {where}/bench.md and {where}/bench.png"])


def _remarks(summary: Mapping[str, Any], seeds: int) -> list[str]:
    """What a reader must know to read the table right."""
    lines, charged = [], dict[str, list[str]]()
    for arm in summary["arms"]:
        lines += [f'"{arm["arm"]}" with seed {one["seed"]} came to nothing: {one["status"]}' for one in arm["failed"]]
        if "break_even" in arm:
            charged.setdefault(_won_back(arm, summary["budget"]), []).append(arm["arm"])
    for said, arms in charged.items():
        lines.append(f"{summary['scoring_seconds']:,.1f} s of scoring for {_few(arms, 4, ', ')}: {said}")
    if summary.get("target") is not None and any(arm.get("seconds_to_target") is not None for arm in summary["arms"]):
        lines.append(f"to target: seconds until {100 * summary['target']:.1f} % accuracy, 95 % of that on everything, scoring charged")
    if seeds == 1:
        lines.append("One seed allows no interval and no verdict. Use --seeds 3 or more.")
    elif seeds == 2:
        lines.append("Two seeds allow wide intervals only; 3 or more are advised.")
    return ["", *lines] if lines else []


def _online_verdict(arm: Mapping[str, Any]) -> str:
    if arm["kind"] != "online" or arm.get("steps_saved") is None:
        return ""
    return f"{_percent(arm['minus_everything'], signed=True)} against everything, {arm['steps_saved']:.0%} of its steps saved"


def _won_back(arm: Mapping[str, Any], budget: str | None) -> str:
    if budget == "steps":
        return "not won back, since equal steps take equal time (--budget epochs shortens the training)"
    if arm["break_even"] is None:
        return "not won back: a training is no shorter than on everything"
    points = _percent(arm["minus_everything"], signed=True)
    runs = f"{arm['break_even']:,} training{'s' if arm['break_even'] > 1 else ''}"
    return f"won back after {runs}; accuracy minus that on everything is {points} points"


def _tested(test: Mapping[str, Any] | None) -> str:
    return "by the training function itself" if test is None else f"on {test['rows']:,} rows ({test['from']})"


def _percent(estimate: Mapping[str, Any], signed: bool = False) -> str:
    """`87.1 ± 0.4`, in points of a hundred."""
    if estimate["mean"] is None:
        return "-"
    mean = f"{100 * estimate['mean']:{'+' if signed else ''}.1f}"
    return mean if estimate["low"] is None else f"{mean} ± {100 * (estimate['high'] - estimate['mean']):.1f}"


def _is_number(cell: object) -> bool:
    return (
        isinstance(cell, int | float)
        or str(cell).replace(",", "").replace(".", "").replace("%", "").lstrip("-").isdigit()
        or cell in ("", "-")
    )


def lds_lines(found: dict[str, Any]) -> str:
    """The attributions by how well they foresee, random among them."""
    ranked = sorted(found["lds"].items(), key=lambda item: -item[1]["lds"])
    rows = [[name, f"{one['lds']:.3f}", f"{one['low']:.3f} … {one['high']:.3f}"] for name, one in ranked]
    of = f"{found['subsets']} subsets x {found['repeats']} trainings, {found['targets']:,} targets"
    ceiling = found["ceiling"]
    last = f"noise ceiling {ceiling:.3f}" if ceiling is not None else "no noise ceiling: it takes --repeats 2 or more"
    return "\n".join([f"linear datamodelling score, {of}", "", columns(rows, ["attribution", "LDS", "95 %"]), "", last])


def influence_lines(found: dict[str, Any], out: Any) -> str:
    """The first targets' proponents and opponents."""
    rows = [[one["target"], _some(one["proponents"], one["influence"]), _some(one["opponents"], one["least"])] for one in found["top"]]
    head = f"{found['name']}: {found['rows']:,} rows x {found['targets']:,} targets"
    more = [f"all targets in {out}" if out is not None else f"the first {len(rows)} targets; all with -o FILE.parquet"]
    return "\n".join([head, "", columns(rows, ["target", "proponents (row: influence)", "opponents"]), "", *more])


def _some(rows: list[int], values: list[float]) -> str:
    return "  ".join(f"{row}: {value:.3g}" for row, value in zip(rows, values, strict=True) if row >= 0)


def score_lines(about: dict[str, Any], only: list[str] | None) -> str:
    dataset = about["dataset"]
    lines = [f"{about['store']}: {dataset['rows']:,} rows, dataset {dataset['fingerprint'][:8]}…, {about['seconds']:,} s of work"]
    for run in about["runs"]:
        lines.append(f"run {run['run']}: {run['job'].get('model') or 'recorded'}, {run['epochs_done']} epochs")
    scores = [one for one in about.get("scores", []) if only is None or one["name"] in only]
    if scores:
        rows = [
            [
                s["name"],
                s["keep"],
                s["hard"],
                s["lowest"],
                s["median"],
                s["highest"],
                sum(s["unscored"].values()),
                _few(s["columns"][1:]),
            ]
            for s in scores
        ]
        lines += ["", columns(rows, ["score", "keep", "hard end", "lowest", "median", "highest", "unscored", "more columns"])]
    facts = [f"{s['name']}: {fact}" for s in scores for fact in told(s.get("facts", {}))]
    facts += [f"{s['name']}: {s['cpu_seconds']:,.0f} CPU s, {_rate(s)} rows/s" for s in scores if s["cpu_seconds"] >= WORTH_TELLING]
    lines += ["", *facts] if facts else []
    return "\n".join(lines)


def _rate(score: Mapping[str, Any]) -> str:
    rate = score["rows"] / score["cpu_seconds"]
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _few(names: Sequence[str], most: int = 8, between: str = " ") -> str:
    """The names in a row, of many the first and how many there are besides."""
    return between.join(names) if len(names) <= most else f"{between.join(names[:3])} … and {len(names) - 3} more"


def distilled_lines(summary: Mapping[str, Any], where: str) -> str:
    """A distilled set in a table: what networks make of it, beside real rows, and in words whether it paid."""
    height, width, channels = summary["shape"]
    training, losses = summary["training"], summary["loss"]
    head = (
        f"{where}: {summary['images']:,} images of {height} x {width} x {channels} by {summary['method']}, {summary['seconds']:,} s of work"
    )
    facts = ", ".join(told(summary["facts"]))
    fell = [f"{name} {first:.3g} -> {last:.3g}" for name, (first, last) in losses.items()]
    test = f"{training['steps']:,} steps each, tested {_tested(summary['test'])}"
    rows = [
        [one["set"], one["labels"], one["network"], f"{one['rows']:,}", f"{one['bytes']:,}", f"{one['lr']:.3g}", _percent(one["accuracy"])]
        for one in summary["results"]
    ]
    table = columns(rows, ["trained on", "labels", "network", "rows", "bytes", "lr", "accuracy %"])
    verdicts = [
        f"{one['set']} ({one['labels']}, {one['network']}) minus {name}: {_percent(found, signed=True)}"
        + (f", {found['verdict']}" if found["verdict"] else "")
        for one in summary["results"]
        for name, found in one.get("minus", {}).items()
    ]
    robust = summary.get("robust")
    ranked = f"DD-Ranking: label-robust {robust['label']:.3f}, augmentation-robust {robust['augmentation']:.3f} (0 … 1)" if robust else ""
    above = [line for line in (head, ", ".join(fell), facts, test) if line]
    return "\n".join([*above, "", table, "", *verdicts, *([ranked] if ranked else [])])


def embeddings_line(where: str, about: Mapping[str, Any]) -> str:
    """What a store of embeddings holds, in a line."""
    failed = ", ".join(f"{count:,} {why}" for why, count in about["failed"].items())
    begun = f" of {about['of']:,}" if about["rows"] < about["of"] else ""
    return f"{where}: {about['rows']:,}{begun} vectors by {about['encoder']}, {about['dtype']}" + (f"; without: {failed}" if failed else "")


def selection_lines(report: dict[str, Any] | Any, where: str) -> str:
    head = f"{where}: " if where else ""
    lines = [f"{head}kept {report['kept']:,} of {report['of']:,} rows"]
    for what in ("score", "vector"):
        if report.get(f"without_{what}"):
            lines.append(f"{report[f'without_{what}']:,} without a {what} left out")
    lines.append(f"shares {report['overlap_with_random']:.1%} with a random pick of that size ({report['overlap_expected']:.1%} by chance)")
    if report.get("score_quantiles"):
        quantiles = report["score_quantiles"]
        rows = [[name, *(f"{v:.4g}" for v in quantiles[name])] for name in ("kept", "all") if quantiles[name]]
        lines += ["", columns(rows, ["score", *(f"{q:.0%}" for q in quantiles["at"])])]
    if report.get("classes"):
        classes = list(report["classes"].items())
        rows = [[name[:40], kept, total, f"{kept / total:.0%}" if total else "-"] for name, (kept, total) in classes[:20]]
        lines += ["", columns(rows, ["class", "kept", "of", "share"])]
        if len(classes) > 20:
            lines.append(f"… and {len(classes) - 20} classes more")
    if report.get("unlabelled"):
        lines.append("without a label {:,} of {:,}".format(*report["unlabelled"]))
    if report.get("coverage"):
        lines += ["", *_coverage_lines(report["coverage"])]
    if report.get("notes"):
        lines += ["", *report["notes"]]
    if report.get("memory_needed", 0) >= WORTH_ROOM:
        lines += ["", f"the sampler took about {size(report['memory_needed'])} of memory"]
    return "\n".join(lines)


def selection_plan_lines(plan: Mapping[str, Any]) -> str:
    """What a selection would read, keep and take; of a ranking also what it would keep."""
    lines = [f"{plan['sampler'] or 'a filter'} would keep {plan['keeps']:,} of {plan['of']:,} rows, {plan['candidates']:,} to choose from"]
    if plan["reads"]:
        wide = f" ({plan['dimensions']:,} numbers a row)" if plan["dimensions"] else ""
        lines.append(f"reads {', '.join(plan['reads'])}{wide}")
    seconds = plan["seconds"]
    needs = [] if seconds is None else [f"time about {duration(seconds)}"]
    needs += [] if plan["memory"] is None else [f"memory about {size(plan['memory'])} beside the vectors as they lie"]
    lines.append(", ".join([*needs, f"disk about {size(plan['disk'])} (nothing was written)"]))
    if "report" in plan:
        lines += ["", selection_lines(plan["report"], "")]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> [duration(s) for s in (0.2, 90, 600, 90_000)]
    ['1 s', '90 s', '10 min', '25.0 h']
    """
    if seconds <= 120:
        return f"{max(1, round(seconds)):,} s"
    return f"{seconds / 60:,.0f} min" if seconds <= 7200 else f"{seconds / 3600:,.1f} h"


def size(count: float) -> str:
    """Bytes as a person says them.

    >>> [size(n) for n in (300, 20_000_000, 3.2e9)]
    ['1 MB', '20 MB', '3.2 GB']
    """
    return f"{max(1, round(count / 1e6)):,} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def audit_lines(about: Mapping[str, Any], page: str) -> str:
    """A line a check, and the commands that follow."""
    from curate.stages.audit.findings import KINDS

    lines = [f"{about['rows']:,} rows"] if about["rows"] != 1 else ["1 row"]
    for kind in KINDS:
        name = kind.replace("_", " ")
        if kind in about["found"]:
            count = about["found"][kind]
            note = about["notes"].get(kind, "") if count or kind == "label_issue" else ""
            lines.append(f"  {name:<16} {count:>9,}  {100 * count / about['rows']:5.2f} %  {note}".rstrip())
        elif kind in about["skipped"]:
            lines.append(f"  {name:<16} {'-':>9}           {about['skipped'][kind]}")
    classes = about.get("classes", {})
    if classes:
        low, *_, high = sorted([*classes, *classes], key=lambda name: (classes[name], name))  # twice: there may be one
        between = f"{len(classes)} classes, {classes[low]:,} ({low}) to {classes[high]:,} ({high}) rows"
        lines.append(f"  {between}" if len(classes) > 1 else f'  every label is "{low}"')
    lines += ["", f"page: {page}"]
    if about.get("doubted_labels"):
        lines.append(f"beside it: label_issues.csv, {about['doubted_labels']:,} doubted labels, the likeliest errors first")
    for step in about["next"]:
        lines += ["", f"{step['why']}:", f"  {step['command']}"]
    if not about["next"]:
        lines += ["", "Nothing would be left to train on." if about["left"] == 0 else "Nothing was found that should go."]
    return "\n".join(lines)


COVERAGE = {
    "coverage": "rows with a kept one within their 5 nearest",
    "density": "such rows about a kept one",
    "radius": "distance of the row farthest from any kept one",
    "distance": "mean distance to the nearest kept one",
    "clusters": "evenness over clusters, 0 to 1",
    "near_equal": "kept rows nearly equal to another",
    "spread": "distance between two kept rows",
    "effective_share": "what the weights leave of the sample size",
}


def _coverage_lines(coverage: Mapping[str, Any]) -> list[str]:
    """How the kept rows stand for all, beside as many drawn at random."""
    rows = [[name, f"{coverage['kept'][name]:.4g}", f"{coverage['random'][name]:.4g}", about] for name, about in COVERAGE.items()]
    return [*columns(rows, ["by vectors", "kept", "random", f"on {coverage['probe']:,} rows, {coverage['clusters']} clusters"]).split("\n")]
