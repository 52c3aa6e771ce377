"""`curate bench`: plants hard rows of known kinds, scores them over shared runs, and says which scorer finds which kind."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.data import Dataset
from curate.errors import ColumnError, OptionError, OtherJobError, UsageError
from curate.kinds import open_kind
from curate.loading import load
from curate.plugins import options_of
from curate.progress import Progress, Silent
from curate.scores import Scores, describe_dataset
from curate.selection import HERE
from curate.stages import asking, running, scoring
from curate.stages.asking import Asked
from curate.stages.embedding import embed
from curate.stages.hardness import Planted, kinds_for, plant, share_of
from curate.stages.running import RunOptions
from curate.store import Store, differences, writing

RESULTS: Final = "results"
PICTURE, TABLE = "bench.png", "bench.md"
ORACLE, RANDOM = "oracle", "random"
METRICS: Final = ("auroc", "auprc", "auprc_above_chance", "precision_at_p", "recall_at_p", "recall_at_2p")
CONTROLS: Final = ("duplicates",)
SCHEMA: Final = pa.schema(
    {
        "scorer": pa.string(),
        "hardness": pa.string(),
        "seed": pa.int64(),
        "rows": pa.int64(),
        "share": pa.float64(),
        **dict.fromkeys(METRICS, pa.float64()),
        "unscored": pa.int64(),
        "stability": pa.float64(),
    }
)


class Bench:
    """A bench's store, opened: `table` has a line a scorer, kind and seed; `summary()` their means."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def open(cls, path: str | Path) -> "Bench":
        """InputError where the folder holds no bench."""
        return cls(open_kind(path, "bench"))

    @property
    def path(self) -> Path:
        return self.store.path

    @property
    def table(self) -> pa.Table:
        return self.store.read(RESULTS) if self.store.files(RESULTS) else SCHEMA.empty_table()

    def summary(self) -> dict[str, Any]:
        """Means over the seeds as plain JSON values: `means[scorer][hardness]` has the metrics, AUROC's deviation and the stability."""
        found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
        for line in self.table.to_pylist():
            found.setdefault(line["scorer"], {}).setdefault(line["hardness"], []).append(line)
        means = {scorer: {kind: _mean(lines) for kind, lines in by_kind.items()} for scorer, by_kind in found.items()}
        return {"hardness": self.store.job["hardness"], "seeds": self.store.job["seeds"], "means": means}


def bench(
    data: Any,
    scorers: Sequence[str],
    *,
    out: str | Path,
    hardness: Sequence[str] = (),
    seed: int = 0,
    seeds: int = 3,
    encoder: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Bench:
    """Which scorer finds which planted hardness in `data`: AUROC, AUPRC, precision and recall, and how stable each is over seeds.

    `hardness` are names of `curate.stages.hardness.KINDS`, each with a share if wanted ("uniform:p=0.3"); by default all that can be
    planted in this kind of data. For each a copy is changed once, from `seed`, and `seeds` runs are trained on it, which all scorers
    share; they see nothing but the copy. Hardness is the score times the scorer's `hard_sign` (where that is 0, against the end that it
    keeps). Positive is hard throughout. `random` always takes part, and an oracle, which must read 1. `options` are those of the run.
    For scorers that read embeddings each copy is embedded by `encoder`, by default the one of the modality.

    Cost: kinds x seeds training runs. The score stores lie in the folder under the kinds' names. The same call after a kill goes on
    where it stopped. OptionError and ColumnError before any training; OtherJobError where `out` holds another job.
    """
    progress = progress or Silent()
    data = load(data)
    kinds = _kinds(hardness, data)
    if seeds < 1:
        raise OptionError(f"seeds must be 1 or more, got {seeds}; 3 or more are advised.")
    running.require_labels(data, "bench")
    names = list(dict.fromkeys([*([scorers] if isinstance(scorers, str) else scorers), RANDOM]))
    if len(names) < 2:
        raise UsageError("No scorer is asked for besides random. Name one or more: --scorer aum --scorer el2n.")
    asked = asking.ask(names)
    vectors = _encoder(asked, data, encoder, device)
    job = {
        "scorers": {one.name: {"method": one.plugin.method, "options": dict(options_of(one.scorer))} for one in asked},
        "hardness": kinds,
        "seeds": [seed + i for i in range(seeds)],
        "run": {name: value for name, value in RunOptions.of(options).given().items()} | {"model": _model(options.get("model"), data)},
        **({"encoder": vectors} if vectors else {}),
    }
    with writing(out, overwrite=overwrite) as folder:
        store = _opened(folder, data, json.loads(json.dumps(job)))
        for fault in store.drop_damaged():
            progress.note(f'File "{fault.file}" is damaged ({fault.problem}); it is made again.')
        done = {entry.file for entry in store.files(RESULTS)}
        left = {kind: share for kind, share in kinds.items() if f"{kind}.arrow" not in done}
        started = time.perf_counter()
        for i, (kind, share) in enumerate(left.items()):
            planted = plant(data, kind, share or None, seed=seed)
            progress.note(_announced(kind, planted, len(kinds) - len(left) + i, len(kinds), i, time.perf_counter() - started))
            if vectors:
                placed = folder / "embeddings" / kind
                options["embeddings"] = embed(planted.data, out=placed, encoder=encoder, seed=seed, device=device, progress=progress)
            scores = scoring.score(
                planted.data, names, out=folder / kind, seed=seed, seeds=seeds, device=device, progress=progress, **options
            )
            lines = _lines(scores, planted, kind, store.job["seeds"])
            store.add_shard(RESULTS, f"{kind}.arrow", pa.Table.from_pylist(lines, SCHEMA))
        if not store.files(HERE):
            made = Bench(store)
            store.add_file(HERE, TABLE, lambda path: path.write_text(markdown(made.summary()), encoding="utf-8"))
            store.add_file(HERE, PICTURE, lambda path: draw(made.summary(), path))
    return Bench(store)


def _kinds(asked: Sequence[str], data: Dataset) -> dict[str, float]:
    """Name to share, in the order asked."""
    if data.label is None:
        raise ColumnError(f'"{data.source}" has no label column, and hardness is planted in labelled rows. Name one with --label COLUMN.')
    found: dict[str, float] = {}
    for one in asked or kinds_for(data):
        name, _, option = one.partition(":")
        key, _, value = option.partition("=")
        if option and key != "p":
            raise OptionError(f'Hardness "{one}": the one option is p, the share, as in {name}:p=0.2.')
        try:
            share = float(value) if option else None
        except ValueError:
            raise OptionError(f'Hardness "{one}": p takes a share such as 0.2.') from None
        if name in found:
            raise UsageError(f'Hardness "{name}" is asked for twice. A bench with another share needs another --out.')
        found[name] = share_of(name, data, share)
    return found


def _announced(kind: str, planted: Planted, number: int, kinds: int, done: int, seconds: float) -> str:
    """Which kind comes now and, once one is done, how long the rest will take."""
    rest = f" About {max(1, round(seconds / done * (kinds - number) / 60))} min left." if done else ""
    return f"{number + 1} of {kinds}, {kind}: {int(planted.is_hard.sum()):,} of {len(planted.is_hard):,} rows are planted.{rest}"


def _model(spec: str | None, data: Dataset) -> str | None:
    """What a manifest calls the model: no path, and a file by its content."""
    from curate.signals.proxies import find

    return None if spec is None else find(spec, data).name


def _encoder(asked: Sequence[Asked], data: Dataset, encoder: str | None, device: str) -> str | None:
    """The name of the encoder of the copies, None where no scorer asks for vectors; UsageError where one asks for what no copy has."""
    from curate.signals.encoders import default_encoder, find_encoder

    if target := [one.name for one in asked if one.reads_target]:
        raise UsageError(f'Scorer "{target[0]}" compares rows with a target set, and the changed copies have none. Leave it out.')
    if any(one.reads_embeddings for one in asked):
        return str(find_encoder(encoder or default_encoder(data), data, None, device).name)
    if encoder is not None:
        names = ", ".join(one.name for one in asked)
        raise UsageError(f"None of the scorers ({names}) reads where rows lie, so --encoder has no use here. Leave it out.")
    return None


def _opened(folder: Path, data: Dataset, job: Mapping[str, Any]) -> Store:
    if (folder / "manifest.json").is_file():
        store = Store.open(folder)
        described = json.loads(json.dumps(describe_dataset(data)))
        if store.kind != "bench" or store.dataset != described or store.job != job:
            said = differences(store.job, job) if store.kind == "bench" and store.dataset == described else "of other data or kind"
            raise OtherJobError(f'"{folder}" holds another job ({said}). Use another --out, or --overwrite.')
    else:
        store = Store.create(folder, "bench", dataset=describe_dataset(data), job=job, settled={})
    for table in (RESULTS, HERE):
        store.describe(table, {})
    return store


def _lines(scores: Scores, planted: Planted, kind: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    share = float(planted.is_hard.mean())
    shared = {"hardness": kind, "rows": len(planted.is_hard), "share": share}
    lines = []
    for name in scores.names:
        sign = scores.hard_sign(name) or (-1 if scores.keep(name) == "high" else 1)
        for seed in seeds:
            found = sign * scores[f"{name}.score_seed{seed}" if len(seeds) > 1 else name].astype(np.float64)
            known = ~np.isnan(found)
            about = {"scorer": name, "seed": seed, "unscored": int((~known).sum()), "stability": _stability(scores, name)}
            lines.append({**shared, **about, **rates(found[known], planted.is_hard[known])})
    truth = planted.is_hard.astype(np.float64)
    lines += [
        {**shared, "scorer": ORACLE, "seed": seed, "unscored": 0, "stability": 1.0, **rates(truth, planted.is_hard)} for seed in seeds
    ]
    return lines


def _stability(scores: Scores, name: str) -> float | None:
    """Mean pairwise Spearman correlation over the seeds, which the score store knows; None for one seed."""
    found = scores.about(name).get("result", {}).get("stability")
    return None if found is None else float(found)


def rates(hardness: NDArray[np.float64], is_hard: NDArray[np.bool_]) -> dict[str, float | None]:
    """AUROC, AUPRC (average precision), and precision and recall among the hardest p and 2p of the rows, p being the share of hard ones.

    Ties count half in the AUROC, and at a cut as many of the tied rows as there is room, by chance. None where all rows are alike.
    `auprc_above_chance` is (AP - p) / (1 - p): 0 for a guess, 1 for a perfect score.

    >>> rates(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]))["auroc"]
    0.75
    """
    n, hard = len(is_hard), int(is_hard.sum())
    if hard in (0, n):
        return dict.fromkeys(METRICS)
    from sklearn.metrics import average_precision_score, roc_auc_score

    p = hard / n
    precision = float(average_precision_score(is_hard, hardness))
    hits, twice = (_expected_hits(hardness, is_hard, k) for k in (hard, min(2 * hard, n)))
    values = (float(roc_auc_score(is_hard, hardness)), precision, (precision - p) / (1 - p), hits / hard, hits / hard, twice / hard)
    return dict(zip(METRICS, values, strict=True))


def _expected_hits(hardness: NDArray[np.float64], is_hard: NDArray[np.bool_], k: int) -> float:
    cut = np.partition(hardness, len(hardness) - k)[len(hardness) - k]
    above, tied = hardness > cut, hardness == cut
    return float(is_hard[above].sum() + is_hard[tied].mean() * (k - above.sum()))


def _mean(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = {name: [line[name] for line in lines if line[name] is not None] for name in (*METRICS, "stability")}
    means = {name: float(np.mean(values)) if values else None for name, values in found.items()}
    return means | {"auroc_deviation": float(np.std(found["auroc"], ddof=1)) if len(found["auroc"]) > 1 else None}


def markdown(summary: Mapping[str, Any]) -> str:
    """Two tables, AUROC and AUPRC above chance, scorers by kinds, the best of each kind in bold; and how stable each scorer is."""
    kinds, means = list(summary["hardness"]), summary["means"]
    text = [f"# Which scorer finds which planted hardness\n\nMeans of {len(summary['seeds'])} seeds. A control must stay below AUROC 0.5."]
    for metric, title in (("auroc", "AUROC"), ("auprc_above_chance", "AUPRC above chance (0: a guess, 1: perfect)")):
        best = {kind: max(_value(means[s][kind], metric) for s in means if s != ORACLE) for kind in kinds}
        head = [f"\n## {title}\n", "| scorer | " + " | ".join(map(_titled, kinds)) + " | stability |", "| --- " * (len(kinds) + 2) + "|"]
        text += [*head, *(_markdown_line(scorer, means[scorer], kinds, metric, best) for scorer in _ranked(summary, metric))]
    return "\n".join(text) + "\n"


def _markdown_line(scorer: str, means: Mapping[str, Any], kinds: Sequence[str], metric: str, best: Mapping[str, float]) -> str:
    cells = []
    for kind in kinds:
        value = _value(means[kind], metric)
        marked = value == best[kind] and kind not in CONTROLS and scorer != ORACLE
        cells.append(f"**{value:.3f}**" if marked else f"{value:.3f}")
    known = [means[kind]["stability"] for kind in kinds if means[kind]["stability"] is not None]
    return f"| `{scorer}` | {' | '.join(cells)} | {np.mean(known):.2f} |" if known else f"| `{scorer}` | {' | '.join(cells)} | |"


def _titled(kind: str) -> str:
    return f"{kind} (control)" if kind in CONTROLS else kind


def _ranked(summary: Mapping[str, Any], metric: str) -> list[str]:
    """Scorers by their mean over the kinds that are no control, best first, the oracle on top."""
    kinds = [kind for kind in summary["hardness"] if kind not in CONTROLS] or list(summary["hardness"])
    means = summary["means"]
    return sorted(means, key=lambda s: (s != ORACLE, -np.mean([_value(means[s][kind], metric) for kind in kinds])))


def _value(means: Mapping[str, Any], metric: str) -> float:
    return float("nan") if means[metric] is None else float(means[metric])


def draw(summary: Mapping[str, Any], target: Path) -> None:
    """AUROC as a heat map: blue finds the kind, red puts it among the easy rows, white knows nothing of it."""
    from matplotlib.figure import Figure

    kinds, scorers = sorted(summary["hardness"], key=lambda kind: kind in CONTROLS), _ranked(summary, "auroc")
    values = np.array([[_value(summary["means"][scorer][kind], "auroc") for kind in kinds] for scorer in scorers])
    figure = Figure(figsize=(1.8 + 0.85 * len(kinds), 1.6 + 0.34 * len(scorers)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="RdBu", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if abs(value - 0.5) > 0.35 else "black")
    axes.set_xticks(range(len(kinds)), [_titled(kind) for kind in kinds], rotation=35, ha="right", fontsize=9)
    axes.set_yticks(range(len(scorers)), scorers, fontsize=9)
    if controls := [place for place, kind in enumerate(kinds) if kind in CONTROLS]:
        axes.axvline(min(controls) - 0.5, color="black", linewidth=1.5)
    title = f"AUROC of planted hardness, mean of {len(summary['seeds'])} seeds"
    axes.set_title(f"{title}\nblue finds it, red puts it among the easy rows; a control is right below 0.5", loc="left", fontsize=10)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(target, format="png", dpi=150)
