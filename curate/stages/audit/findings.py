"""What an audit found: a mask a kind of problem, and the facts around it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.label_issues import LabelIssues, SetIssues

Mask = NDArray[np.bool_]

KINDS: Final[Mapping[str, str]] = {
    "empty": "Empty or broken",
    "odd": "Odd",
    "exact_duplicate": "Exact copies of an earlier row",
    "near_duplicate": "Nearly copies of an earlier row",
    "outlier": "Far from everything",
    "label_issue": "Labels that are probably wrong",
    "leak": "Also in the test set",
    "passage": "Share a passage with the test set",
}
FINDINGS: Final = "findings.parquet"  # a line a row, a column a kind
DROPPED: Final = ("empty", "exact_duplicate", "near_duplicate", "leak")  # what may go without a look; the rest is to be looked at


@dataclass(frozen=True, eq=False)
class Audit:
    """`found` has a mask, (n,), for each kind that could be checked, and `skipped` says why another could not.

    `first` are the rows of a kind to be looked at first. `probabilities` are the linear probe's, (n, classes), and `issues` what it and
    the neighbours say of each label; both None without labels. `set_issues` take their place where a row bears several labels.
    """

    n: int
    found: Mapping[str, Mask]
    skipped: Mapping[str, str]
    first: Mapping[str, NDArray[np.int64]]
    notes: Mapping[str, str]
    facts: Mapping[str, Any]
    commands: Sequence[tuple[str, str]] = ()
    probabilities: NDArray[np.float32] | None = None
    issues: LabelIssues | None = None
    set_issues: SetIssues | None = None

    def counts(self) -> dict[str, int]:
        """Rows by kind of problem; a row may have several."""
        return {kind: int(mask.sum()) for kind, mask in self.found.items()}

    def any_of(self, kinds: Sequence[str]) -> Mask:
        """The rows with one of these problems."""
        wanted = [self.found[kind] for kind in kinds if kind in self.found]
        return np.logical_or.reduce(wanted) if wanted else np.zeros(self.n, np.bool_)

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.n,
            "found": self.counts(),
            "skipped": dict(self.skipped),
            "notes": dict(self.notes),
            **self.facts,
            "next": [{"why": why, "command": command} for why, command in self.commands],
        }
