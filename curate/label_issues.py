"""A ranked list of labels that are probably wrong: what several methods say of each, and what all of them say together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray

from curate.data import Dataset
from curate.label_errors import Prune, find_label_errors, find_multilabel_errors, label_quality, multilabel_quality
from curate.labels import LabelSets
from curate.protocols import Array
from curate.topk import average_ranks

DOUBTED: Final = 0.1  # probability of a label, at most, that is plainly wrong

Mask = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Vote:
    """One method's word: `hardness`, (n,), high where it doubts the label, NaN without an opinion; `doubts`, (n,), its own verdict.

    `doubts` is None for a method that orders labels and has no border of its own.
    """

    name: str
    hardness: Float64
    doubts: Mask | None = None


@dataclass(frozen=True, eq=False)
class LabelIssues:
    """`suspicion`, (n,) 0 … 1 with 1 the likeliest error, NaN without an opinion; `votes`, how many of the `judges` doubt the label.

    `names` are all methods, `doubts` the verdicts of those with one, (n,) each. `suggested` is the class to take instead, (n,), None
    where no probabilities are known.
    """

    suspicion: Float64
    votes: Int64
    names: tuple[str, ...]
    doubts: dict[str, Mask]
    suggested: Int64 | None = None

    @property
    def judges(self) -> int:
        return len(self.doubts)

    @property
    def order(self) -> Int64:
        """The rows with an opinion, likeliest error first."""
        return _likeliest_first(self.suspicion)

    @property
    def rows(self) -> Int64:
        """The rows that half of the judges or more doubt, likeliest error first; none where no method has a verdict."""
        order = self.order
        doubted: Int64 = order[2 * self.votes[order] >= self.judges]
        return doubted if self.judges else order[:0]


def consensus(votes: Sequence[Vote], suggested: Int64 | None = None) -> LabelIssues:
    """Joins the votes: suspicion is the mean of two shares, the mean rank of the row's hardness and that of the judges who doubt it.

    A method without an opinion on a row is left out of that row's ranks.

    >>> found = consensus([Vote("a", np.array([0.0, 1.0]), np.array([False, True])), Vote("b", np.array([2.0, 3.0]))])
    >>> found.suspicion.tolist(), found.rows.tolist()
    ([0.0, 1.0], [1])
    """
    ranks = np.stack([average_ranks(vote.hardness) for vote in votes])  # (votes, n)
    known = ~np.isnan(ranks)
    rank = np.where(known, ranks, 0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    doubts = {vote.name: vote.doubts for vote in votes if vote.doubts is not None}
    count = np.zeros(len(rank), np.int64)
    for verdict in doubts.values():
        count += verdict
    share = count / len(doubts) if doubts else rank
    return LabelIssues((rank + share) / 2, count, tuple(vote.name for vote in votes), doubts, suggested)


def votes_of_probabilities(probs: Array, labels: Int64, prune: Prune = "noise_rate") -> list[Vote]:
    """Two votes of out-of-fold probabilities, (n, classes), NaN where unknown: confident learning, and the prediction alone."""
    n = len(labels)
    known = np.flatnonzero((labels >= 0) & np.isfinite(probs[:, 0]))
    p, given = probs[known], labels[known]

    def spread(values: Float64) -> Float64:
        whole = np.full(n, np.nan)
        whole[known] = values
        return whole

    confident, differs = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    if len(known):
        confident[known], differs[known] = find_label_errors(p, given, prune), p.argmax(axis=1) != given
    return [
        Vote("confident", spread(1 - label_quality(p, given, "normalized_margin")), confident),
        Vote("out_of_fold", spread(1 - label_quality(p, given)), differs),
    ]


def likeliest_other(probs: Array, labels: Int64) -> Int64:
    """The likeliest class other than the given one, (n,)."""
    rest = np.nan_to_num(probs.astype(np.float32, copy=True), nan=-1.0)
    known = np.flatnonzero(labels >= 0)
    rest[known, labels[known]] = -1.0
    return np.asarray(rest.argmax(axis=1), np.int64)


@dataclass(frozen=True, eq=False)
class SetIssues:
    """Of rows with several labels: `wrong`, (n, classes), the classes borne or lacked by mistake; `quality`, (n,), low where the set is
    probably wrong, NaN without an opinion; and `is_plain`, (n,), where a class is lacked whose probability is 0.9 or more: that a
    rare class is improbable says little against it.
    """

    sets: LabelSets
    wrong: Mask
    quality: Float64
    is_plain: Mask

    @property
    def suspicion(self) -> Float64:
        """1 - `quality` and what is plain together, (n,) 0 … 1: what is plain comes before all that is not."""
        return (1 - self.quality + self.is_plain) / 2

    @property
    def is_issue(self) -> Mask:
        return np.asarray(self.wrong.any(axis=1))

    @property
    def order(self) -> Int64:
        """The rows with an opinion, likeliest error first."""
        return _likeliest_first(self.suspicion)

    @property
    def rows(self) -> Int64:
        """The issues, likeliest error first."""
        order = self.order
        return order[self.is_issue[order]]

    def in_words(self, rows: Int64) -> dict[str, list[str]]:
        """Of these rows the `given` and `suggested` sets, and what to `remove` and `add`, each as "a; b"."""
        given, wrong, names = self.sets.member[rows], self.wrong[rows], np.array(self.sets.names, object)
        sets = {"given": given, "suggested": given ^ wrong, "remove": given & wrong, "add": ~given & wrong}
        return {name: ["; ".join(names[one]) for one in member] for name, member in sets.items()}


def set_issues(sets: LabelSets, probs: Array) -> SetIssues:
    """Confident learning a class, from the out-of-fold probabilities that a row bears it, (n, classes), NaN where unknown."""
    known = np.flatnonzero(sets.known & np.isfinite(probs[:, 0]))
    wrong, quality = np.zeros(probs.shape, np.bool_), np.full(len(probs), np.nan)
    if len(known):
        wrong[known] = find_multilabel_errors(probs[known], sets.member[known])
        quality[known] = multilabel_quality(probs[known], sets.member[known])
    plain = np.asarray((wrong & ~sets.member & (probs > 1 - DOUBTED)).any(axis=1))
    return SetIssues(sets, wrong, quality, plain)


def write_set_issues(path: Path, data: Dataset, issues: SetIssues) -> None:
    """Writes the rows whose set of labels is probably wrong as a csv, likeliest error first.

    Columns: row, given, suggested (the sets, "a; b"), remove and add (what differs), suspicion, quality, and the user's id.
    """
    rows = issues.rows
    columns = {
        "row": rows,
        **{name: pa.array(words, pa.string()) for name, words in issues.in_words(rows).items()},
        "suspicion": np.round(issues.suspicion[rows], 4),
        "quality": np.round(issues.quality[rows], 4),
        **_ids(data, rows),
    }
    pc.write_csv(pa.table(columns), path)


def write_issues(path: Path, data: Dataset, issues: LabelIssues) -> int:
    """Writes the rows that half of the judges doubt as a csv, likeliest error first, and returns how many they are.

    Columns: row, given, suggested, decision (empty: write fix, drop or keep, and `curate export --decisions` applies it), suspicion, votes,
    judges, a 0 or 1 a judge, and the user's id.
    """
    rows, names = issues.rows, np.array(data.label_names, object)
    suggested = names[issues.suggested[rows]] if issues.suggested is not None else np.full(len(rows), "", object)
    columns = {
        "row": rows,
        "given": pa.array(names[data.labels[rows]], pa.string()),
        "suggested": pa.array(suggested, pa.string()),
        "decision": pa.nulls(len(rows), pa.string()),
        "suspicion": np.round(issues.suspicion[rows], 4),
        "votes": issues.votes[rows],
        "judges": np.full(len(rows), issues.judges),
        **{name: doubts[rows].astype(np.int8) for name, doubts in issues.doubts.items()},
        **_ids(data, rows),
    }
    pc.write_csv(pa.table(columns), path)
    return len(rows)


def _ids(data: Dataset, rows: Int64) -> dict[str, pa.ChunkedArray]:
    return {"id": data.column(data.id).take(pa.array(rows))} if data.id else {}


def _likeliest_first(suspicion: Float64) -> Int64:
    """The rows whose suspicion is known, highest first, ties to the lower row."""
    order: Int64 = np.argsort(-suspicion, kind="stable")
    return order[~np.isnan(suspicion[order])]
