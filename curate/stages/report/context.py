"""What a section of the report is given, and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.comparison import Comparison
from curate.data import Dataset
from curate.label_issues import LabelIssues, Vote, consensus, likeliest_other, votes_of_probabilities
from curate.scores import Scores
from curate.selection import Selection
from curate.stages.audit.findings import Audit
from curate.stages.report.cells import Cells
from curate.synthetic import Synthetic

if TYPE_CHECKING:
    from curate.signals.runs import Run

# The scores that find wrong labels, the best first, and the hardness above which each doubts a label; None: it orders them only.
NOISE_SCORES: Final[Mapping[str, float | None]] = {
    "confident": None,  # has a verdict of its own
    "aum": 0.0,  # another class has the larger logit
    "datamap": -0.5,  # the mean probability is below a half
    "loss": float(np.log(2)),  # the same
    "el2n": None,
    "margin_sum": 0.0,
    "forgetting": None,
    "knn_disagreement": 0.5,  # most neighbours bear another label
    "knn_shapley": 0.0,  # the row harms its neighbours
}
CLASSES_SHOWN: Final = 20


@dataclass(frozen=True)
class Section:
    """A part of the page: `template`, a file in templates/, is rendered with `values`; `data` goes to the page's script.

    A template escapes whatever it prints, and the script sets text, never markup: nothing that a section hands over is trusted.
    """

    title: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    data: Any = None


@dataclass(frozen=True, eq=False)
class Context:
    """What the report is about. A section function takes it and gives a `Section`, or None where it has nothing to say.

    `cells.show(rows)` puts those rows' content on the page, once however many sections show it. `data` is None where the source was
    not named: then there are row numbers and labels, and no images or texts.
    """

    scores: Scores | None
    selection: Selection | None
    comparison: Comparison | None
    data: Dataset | None
    runs: "tuple[Run, ...]"
    cells: Cells
    audit: Audit | None = None
    distilled: Synthetic | None = None

    @cached_property
    def labels(self) -> NDArray[np.int64] | None:
        """Class codes, (n,) int64, below 0 where missing; None without data or without a label column that holds classes."""
        return self.cells.labels

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        return () if self.data is None or self.labels is None else self.data.label_names

    @cached_property
    def probabilities(self) -> NDArray[np.float32] | None:
        """The first run's probabilities, (n, classes): out of fold where a scorer had them made, else those of its final model; an audit's
        are its linear probe's."""
        if self.audit is not None:
            return self.audit.probabilities
        if self.out_of_fold is not None:
            return self.out_of_fold
        for run in self.runs:
            if "probs" in run.store.tables and any(entry.file == "final.arrow" for entry in run.store.files("probs")):
                return run.column("probs.final", 0, int(run.store.dataset["rows"]))
        return None

    @cached_property
    def out_of_fold(self) -> NDArray[np.float32] | None:
        """The first run's out-of-fold probabilities, (n, classes), where a scorer had them made."""
        for run in self.runs:
            if any(entry.file.startswith("oos-") for entry in (run.store.files("probs") if "probs" in run.store.tables else ())):
                return run.column("probs.oos", 0, int(run.store.dataset["rows"]))
        return None

    @cached_property
    def issues(self) -> LabelIssues | None:
        """What the scores that find wrong labels say together, an audit's the checks of its own; None without labels or such a score."""
        if self.audit is not None:
            return self.audit.issues
        if self.scores is None or self.labels is None:
            return None
        votes = votes_of_scores(self.scores)
        if votes and self.out_of_fold is not None:
            votes.append(votes_of_probabilities(self.out_of_fold, self.labels)[-1])
        suggested = None if self.probabilities is None else likeliest_other(self.probabilities, self.labels)
        return consensus([_among(vote, self.labels >= 0) for vote in votes], suggested) if votes else None


def votes_of_scores(scores: Scores) -> list[Vote]:
    """A vote for each score that finds wrong labels, in the order of `NOISE_SCORES`."""
    votes = []
    for method, border in NOISE_SCORES.items():
        for name in (name for name in scores.names if scores.about(name)["method"] == method):
            hardness = scores[name].astype(np.float64) * scores.hard_sign(name)
            if method == "confident":
                doubts: NDArray[np.bool_] | None = scores[f"{name}.is_issue"].astype(np.bool_)
            else:
                doubts = None if border is None else hardness > border
            votes.append(Vote(name, hardness, doubts))
    return votes


def _among(vote: Vote, known: NDArray[np.bool_]) -> Vote:
    """The vote on the rows that bear a label."""
    return Vote(vote.name, np.where(known, vote.hardness, np.nan), None if vote.doubts is None else vote.doubts & known)


def hard_rank(scores: Scores, name: str) -> NDArray[np.float64]:
    """Each row's rank of hardness by one score, (n,) 0 … 1 with 1 hardest; ties share, rows without a score lie in the middle."""
    from scipy.stats import rankdata

    values = scores[name].astype(np.float64) * (scores.hard_sign(name) or 1)
    known = ~np.isnan(values)
    rank = np.full(len(values), 0.5)
    if known.sum() > 1:
        rank[known] = (rankdata(values[known]) - 1) / (known.sum() - 1)
    return rank
