"""What a section of the report is given, and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.comparison import Comparison
from curate.data import Dataset
from curate.scores import Scores
from curate.selection import Selection
from curate.stages.audit.findings import Audit
from curate.stages.report.cells import Cells
from curate.synthetic import Synthetic

if TYPE_CHECKING:
    from curate.signals.runs import Run

NOISE_SCORES: Final = ("aum", "datamap", "loss", "el2n", "margin_sum", "forgetting")  # the best finders of wrong labels first
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
        for run in self.runs:
            if any(entry.file.startswith("oos-") for entry in (run.store.files("probs") if "probs" in run.store.tables else ())):
                return run.column("probs.oos", 0, int(run.store.dataset["rows"]))
            if "probs" in run.store.tables and any(entry.file == "final.arrow" for entry in run.store.files("probs")):
                return run.column("probs.final", 0, int(run.store.dataset["rows"]))
        return None

    @cached_property
    def suspicion(self) -> tuple[NDArray[np.float64], tuple[str, ...]] | None:
        """The mean rank by the scores that find wrong labels, (n,) 0 … 1 with 1 the likeliest, NaN without a score; and their names."""
        if self.audit is not None:
            return None if self.audit.suspicion is None else (self.audit.suspicion, ("the linear probe", "the neighbours"))
        if self.scores is None:
            return None
        methods = {name: self.scores.about(name)["method"] for name in self.scores.names}
        used = tuple(name for wanted in NOISE_SCORES for name, method in methods.items() if method == wanted)
        if not used:
            return None
        ranks = np.mean([hard_rank(self.scores, name) for name in used], axis=0)
        unknown = np.all([np.isnan(self.scores[name]) for name in used], axis=0)
        return np.where(unknown, np.nan, ranks), used


def hard_rank(scores: Scores, name: str) -> NDArray[np.float64]:
    """Each row's rank of hardness by one score, (n,) 0 … 1 with 1 hardest; ties share, rows without a score lie in the middle."""
    from scipy.stats import rankdata

    values = scores[name].astype(np.float64) * (scores.hard_sign(name) or 1)
    known = ~np.isnan(values)
    rank = np.full(len(values), 0.5)
    if known.sum() > 1:
        rank[known] = (rankdata(values[known]) - 1) / (known.sum() - 1)
    return rank
