"""`curate audit`: everything that can be checked without training a network, one page, and the commands that follow."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.data import Dataset
from curate.embeddings import Embeddings
from curate.errors import ColumnError, InputError, OtherJobError
from curate.index.graph import WIDTH, Graph, shared_graph
from curate.index.linear_probe import out_of_fold_sets
from curate.index.vectors import typical_distance
from curate.label_issues import SetIssues, set_issues, write_issues, write_set_issues
from curate.loading import load
from curate.progress import Progress, Silent
from curate.scores import Scores, describe_dataset
from curate.stages import embedding, reporting, scoring, shards
from curate.stages.audit import labels as label_checks
from curate.stages.audit import leaks
from curate.stages.audit.findings import DROPPED, FINDINGS, Audit, Mask
from curate.stages.audit.following import next_steps
from curate.stages.audit.labels import LabelCheck
from curate.stages.audit.oddities import odd_rows, robust_z
from curate.store import Store, differences, writing

ISSUES, PAGE, SUMMARY = "label_issues.csv", "report.html", "audit.json"
TABLE: Final = "."
SHAPLEY: Final = f"knn_shapley:truncate={WIDTH}"  # as many neighbours as the graph has for the other checks
OUTLYING: Final = 3.0  # robust deviations of the logarithm of the mean distance to the neighbours
LOOKED_AT: Final = 100_000  # rows by which a column is judged to be a label
TEXTS: Final = ("text", "text_pair", "chat")


def audit(
    data: Any,
    *,
    out: str | Path,
    test: Any = None,
    encoder: str | None = None,
    seed: int = 0,
    device: str = "auto",
    source: str = "DATA",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Audit:
    """Checks `data` (whatever `curate.load` takes) and writes what it found into the folder `out`.

    Empty, broken and odd rows; exact and near copies; outliers by the distance of their neighbours; wrong labels, where a linear probe
    that never saw the row agrees with its neighbours; the balance of classes; rows that `test` (else the source's own test split) holds
    too. One embedding and one graph of neighbours serve all and stay in `out/embeddings`, scores in `out/scores`; `findings.parquet` has a
    line a row for `curate select --scores`, `label_issues.csv` ranks the doubted labels for a person to decide upon, `report.html` shows
    the rows, `audit.json` the numbers. The same call goes on where it was interrupted. `source` is how the commands that follow name the
    data. Costs n²·d for the neighbours, up to 100,000 rows.
    """
    progress = progress or Silent()
    data = load(data)
    against = load(test, input=list(data.inputs)) if test is not None else data.test
    job = {"encoder": encoder, "seed": seed, "test": against.fingerprint if against is not None else None}
    with writing(out, overwrite=overwrite) as folder:
        store = _open(folder, data, job)
        checks = _Checks(data, against, folder, encoder, seed, device, progress)
        found = checks.run(source)
        _write(store, data, found, checks.scores, progress)
    return found


def _open(folder: Path, data: Dataset, job: dict[str, Any]) -> Store:
    if not (folder / "manifest.json").is_file():
        return Store.create(folder, "audit", dataset=describe_dataset(data), job=job, settled={})
    store = Store.open(folder)
    if store.kind != "audit" or store.dataset["fingerprint"] != data.fingerprint:
        held = "an audit of another dataset" if store.kind == "audit" else f"{store.kind}, not an audit"
        raise OtherJobError(f'"{folder}" holds {held}. Use another --out, or --overwrite.')
    if store.dataset != describe_dataset(data):
        raise OtherJobError(
            f'"{folder}" holds an audit with other columns ({differences(store.dataset, describe_dataset(data))}). Use another --out.'
        )
    if store.job != job:
        raise OtherJobError(f'"{folder}" holds another audit ({differences(store.job, job)}). Use another --out, or --overwrite.')
    return store


@dataclass
class _Checks:
    """The checks in their order, and what they share."""

    data: Dataset
    test: Dataset | None
    folder: Path
    encoder: str | None
    seed: int
    device: str
    progress: Progress

    def run(self, source: str) -> Audit:
        self.found: dict[str, Mask] = {}
        self.first: dict[str, NDArray[np.int64]] = {}
        self.notes: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.facts: dict[str, Any] = {}
        self.labels = _labels(self.data, self.skipped)
        self._embed()
        self._score()
        self._rows()
        self._copies()
        self._outliers()
        checked, of_sets = self._label_issues(), self._set_issues()
        self._balance()
        self._leaks()
        made = Audit(len(self.data), self.found, self.skipped, self.first, self.notes, self.facts)
        self.facts["left"] = int((~made.any_of(DROPPED)).sum())
        if checked is not None:
            made = replace(made, probabilities=checked.probabilities, issues=checked.issues)
        if of_sets is not None:
            made = replace(made, set_issues=of_sets)
        return replace(made, commands=next_steps(made, source, self.folder))

    def _embed(self) -> None:
        self.embeddings: Embeddings = embedding.embed(
            self.data,
            out=self.folder / "embeddings",
            encoder=self.encoder,
            seed=self.seed,
            device=self.device,
            max_failures=1.0,
            progress=self.progress,
        )
        self.matrix = self.embeddings.matrix
        self.graph: Graph | None = None
        placed = int(np.isfinite(self.matrix).all(axis=1).sum())
        if placed > label_checks.NEIGHBOURS:
            with self.progress.task("neighbours", len(self.data)) as bar:
                self.graph = shared_graph(self.embeddings)
                bar.advance(len(self.data))
        else:
            self.skipped["outlier"] = (
                f"rows with a vector: {placed}; more than {label_checks.NEIGHBOURS} are needed to say who lies far from whom"
            )
            self.skipped.setdefault("label_issue", self.skipped["outlier"].replace("who lies far from whom", "which labels are odd"))

    def _score(self) -> None:
        """Scores that later commands may use, in a store of their own."""
        asked = ["exact_duplicates"]
        if self.data.modality in TEXTS:
            self.ngram = leaks.ngram_for(self.data)
            asked.append(leaks.minhash_spec(self.ngram))
        plain = scoring.score(self.data, asked, out=self.folder / "scores", max_failures=1.0, progress=self.progress)
        if self.graph is not None:
            asked = ["typicality:k=10", *(["knn_disagreement", SHAPLEY] if self.labels is not None else [])]
            plain = scoring.score(
                self.data, asked, embeddings=self.embeddings, out=self.folder / "scores", max_failures=1.0, progress=self.progress
            )
        self.scores: Scores = plain

    def _rows(self) -> None:
        failed = self.embeddings.failed
        self.found["empty"] = ~np.isfinite(self.matrix).all(axis=1)
        if failed:
            self.notes["empty"] = ", ".join(f"{count:,} {why.replace('_', ' ')}" for why, count in sorted(failed.items()))
        with self.progress.task("odd rows", len(self.data)) as bar:
            odd = odd_rows(self.data)
            bar.advance(len(self.data))
        self._mark("odd", [row for row in odd if not self.found["empty"][row]])
        if self.found["odd"].any():
            reasons = [why for row, why in odd.items() if self.found["odd"][row]]
            self.notes["odd"] = ", ".join(
                f"{reasons.count(why):,} {why}" for why in sorted(set(reasons), key=reasons.count, reverse=True)[:6]
            )

    def _mark(self, kind: str, rows: Sequence[int] | NDArray[np.int64]) -> None:
        self.found[kind] = np.zeros(len(self.data), np.bool_)
        self.found[kind][np.asarray(rows, np.int64)] = True

    def _copies(self) -> None:
        copy = self.scores["exact_duplicates.is_duplicate"].astype(bool)
        self.found["exact_duplicate"] = copy
        self._note_conflicts(self.scores["exact_duplicates.component"])
        if self.data.modality in TEXTS:
            near, group = self.scores["minhash.is_duplicate"].astype(bool), self.scores["minhash.component"]
            self.notes["near_duplicate"] = (
                f"{leaks.ALIKE:.0%} of their {'words' if self.ngram == 1 else f'{self.ngram}-word runs'} are shared"
            )
        elif self.graph is not None:
            near, group = self._near_by_distance()
        else:
            return
        self.found["near_duplicate"] = near & ~copy
        rows = np.flatnonzero(self.found["near_duplicate"])
        self.first["near_duplicate"] = np.stack([group[rows], rows], axis=1).ravel()  # each behind the row that it copies

    def _near_by_distance(self) -> tuple[Mask, NDArray[np.int64]]:
        from curate.index.components import components

        assert self.graph is not None, "asked for only with a graph"
        self.typical = typical_distance(np.ascontiguousarray(self.matrix[~self.found["empty"]], np.float32))
        self.same = leaks.same_place(self.graph.distance[:, 0], self.typical, self.matrix.shape[1])
        row, place = np.nonzero(self.graph.distance <= self.same)
        group = components([(row.astype(np.int64), self.graph.rows[row, place].astype(np.int64))], len(self.data))
        self.notes["near_duplicate"] = f"within {self.same / self.typical if self.typical else 0:.2g} of the typical distance"
        return group != np.arange(len(group)), group

    def _note_conflicts(self, group: NDArray[np.int64]) -> None:
        """Copies that bear different labels: one of them is wrong."""
        if self.labels is None:
            return
        differs = (self.labels != self.labels[group]) & (self.labels >= 0) & (self.labels[group] >= 0)
        if differs.any():
            self.facts["conflicting_copies"] = int(differs.sum())
            self.notes["exact_duplicate"] = f"{int(differs.sum()):,} bear another label than the row they copy"
            self.first["exact_duplicate"] = np.stack([group[differs], np.flatnonzero(differs)], axis=1).ravel()

    def _outliers(self) -> None:
        if self.graph is None:
            return
        distance = self.scores["typicality.distance"].astype(np.float64)
        known = np.flatnonzero(np.isfinite(distance) & (distance > 0))
        z = robust_z(np.log(distance[known]))  # of distances as they are the upper tail is long without any outlier
        self._mark("outlier", known[z > OUTLYING])
        self.first["outlier"] = known[np.argsort(-z, kind="stable")]

    def _label_issues(self) -> LabelCheck | None:
        if self.labels is None or self.graph is None:
            return None
        classes, known = len(self.data.label_names), int((self.labels[~self.found["empty"]] >= 0).sum())
        if known < label_checks.FEWEST or classes < 2 or classes > known // 5:
            few = f"{known:,} labelled rows in {classes:,} classes are too few to learn from"
            self.skipped["label_issue"] = few if classes > 1 else "all labels are the same, so none can be told to be another"
            return None
        with self.progress.task("linear probe", len(self.data)) as bar:
            checked = label_checks.check_labels(self.matrix, self.labels, classes, self.graph, self.seed, self.scores["knn_shapley"])
            bar.advance(len(self.data))
        self.found["label_issue"] = checked.is_issue
        order = checked.issues.order
        self.first["label_issue"] = order[np.argsort(~checked.is_issue[order], kind="stable")]  # what is called an issue comes first
        self.facts["doubted_labels"] = len(checked.issues.rows)
        self.facts["probe_accuracy"] = round(checked.accuracy, 4)
        largest = float(np.bincount(self.labels[self.labels >= 0]).max() / max(1, (self.labels >= 0).sum()))
        self.facts["largest_class"] = round(largest, 4)
        weak = "" if checked.accuracy > 0.85 else "; such vectors tell the classes apart only in part, so look before you drop"
        self.notes["label_issue"] = (
            f"a linear probe on {self.embeddings.store.job['encoder']} vectors gives {checked.accuracy:.0%} of the labels{weak}"
        )
        return checked

    def _set_issues(self) -> SetIssues | None:
        """Where a row bears several labels: a probe a class, and confident learning class by class."""
        if not self.data.has_label_sets or "label_issue" in self.skipped:
            return None
        sets = self.data.label_sets
        known = int((sets.known & ~self.found["empty"]).sum())
        if known < label_checks.FEWEST:
            self.skipped["label_issue"] = f"{known:,} labelled rows are too few to learn from"
            return None
        with self.progress.task("linear probes", len(self.data)) as bar:
            issues = set_issues(sets, out_of_fold_sets(self.matrix, sets.member, sets.known, self.seed))
            bar.advance(len(self.data))
        self.found["label_issue"], self.first["label_issue"] = issues.is_plain, issues.order
        self.facts |= {"doubted_labels": len(issues.rows), "classes": dict(zip(sets.names, sets.member.sum(axis=0).tolist(), strict=True))}
        self.notes["label_issue"] = (
            f"of {len(issues.rows):,} by confident learning in each of {len(sets.names)} classes, those that lack a class of which a "
            f"linear probe on {self.embeddings.store.job['encoder']} vectors is sure"
        )
        return issues

    def _balance(self) -> None:
        if self.labels is None:
            return
        names = self.data.label_names
        count = np.bincount(self.labels[self.labels >= 0], minlength=len(names))
        self.facts["classes"] = {name: int(n) for name, n in zip(names, count, strict=True)}
        self.facts["unlabelled"] = int((self.labels < 0).sum())

    def _leaks(self) -> None:
        if self.test is None:
            self.skipped["leak"] = "no test set: name one with --test DATA"
            return
        if self.test.modality != self.data.modality:
            raise InputError(
                f'"{self.test.source}" is {self.test.modality} data, "{self.data.source}" is {self.data.modality} data. '
                "Name a test set of the same kind with --test."
            )
        with self.progress.task("leaks", len(self.data)) as bar:
            ours, theirs = leaks.shared_content(*(shards.content_hashes(one, 0, len(one)) for one in (self.data, self.test)))
            exact = int(ours.sum())
            if self.data.modality in TEXTS:
                more, others = leaks.near_texts(self.data, self.test, self.ngram)
                ours, theirs = ours | more, theirs | others
            elif self.graph is not None:
                there = embedding.encode_like(self.embeddings, self.test, self.encoder, self.device)
                more, others = leaks.near_vectors(self.matrix, there, self.same)
                ours, theirs = ours | more, theirs | others
            bar.advance(len(self.data))
        self.found["leak"] = ours
        self.facts["leaked_test_rows"] = int(theirs.sum())
        if self.data.modality in TEXTS:
            self._passages()
        self.notes["leak"] = f"{exact:,} word for word; {int(theirs.sum()):,} of the {len(self.test):,} test rows are known from training"

    def _passages(self) -> None:
        """Rows that hold a run of words of the test set though they are no copy of any of its rows."""
        try:
            self.scores = scoring.score(
                self.data, ["contamination"], target=self.test, out=self.folder / "scores", max_failures=1.0, progress=Silent()
            )
        except InputError as error:  # its texts are too short for a shared run to mean anything
            self.skipped["passage"] = str(error).partition(": ")[2]
            return
        hits, longest = self.scores["contamination.hits"], self.scores["contamination.longest"]
        self.found["passage"] = (hits > 0) & ~self.found["leak"]
        self.first["passage"] = np.argsort(-longest, kind="stable")
        about = self.scores.about("contamination")
        facts = about["result"]["facts"]
        self.facts["test_rows_touched"] = facts["target_rows_touched"]
        self.notes["passage"] = (
            f"a run of {about['options']['n']} words or more; {facts['target_rows_touched']:,} test rows are in these rows in part, "
            f"{facts['target_rows_at_80_percent']:,} to 80 % or more"
        )


def _labels(data: Dataset, skipped: dict[str, str]) -> NDArray[np.int64] | None:
    if data.label is None:
        skipped["label_issue"] = "no label column: name one with --label COLUMN" + _maybe(data)
        return None
    try:
        return data.labels if not data.has_label_sets or not data.label_sets.names else None
    except ColumnError as error:
        skipped["label_issue"] = str(error)
        return None


def _maybe(data: Dataset) -> str:
    """Which columns might be labels: words or whole numbers, few of them."""
    fit = []
    for name in data.schema:
        if name in data.inputs or name == data.id:
            continue
        column = data.column(name)
        if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type) or pa.types.is_string(column.type):
            values = len(column.slice(0, LOOKED_AT).unique())
            if 2 <= values <= min(100, len(data) // 5):
                fit.append(f'"{name}" has {values} values')
    return f" ({', '.join(fit[:3])})" if fit else ""


def _write(store: Store, data: Dataset, found: Audit, scores: Scores, progress: Progress) -> None:
    columns: dict[str, Any] = {"row": np.arange(found.n)} | {kind: mask.astype(np.int8) for kind, mask in found.found.items()}
    store.describe(TABLE, {})
    if (issues := found.issues) is not None:
        columns |= {"suspicion": pa.array(issues.suspicion, from_pandas=True), "votes": issues.votes.astype(np.int8)}
        store.add_file(TABLE, ISSUES, lambda path: write_issues(path, data, issues))
    if (of_sets := found.set_issues) is not None:
        columns["suspicion"] = pa.array(of_sets.suspicion, from_pandas=True)
        store.add_file(TABLE, ISSUES, lambda path: write_set_issues(path, data, of_sets))
    store.add_file(TABLE, FINDINGS, lambda path: pq.write_table(pa.table(columns), path))
    store.add_file(
        TABLE, SUMMARY, lambda path: path.write_text(json.dumps(found.as_json(), indent=1, ensure_ascii=False), encoding="utf-8")
    )
    store.add_file(
        TABLE, PAGE, lambda path: path.write_text(reporting.audit_page(found, scores, data, store.path.name, progress), encoding="utf-8")
    )
    store.conclude(TABLE, {"report": found.as_json()})
