"""What a score store knows of evaluation sets: which rows repeat one, and which a model knows by heart; for cards, reports and audits."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.scores import Scores

Facts = dict[str, Any]
Rows = NDArray[np.int64]


def found(scores: Scores | None, picked: Rows | None = None) -> list[Facts]:
    """A record for every finished score of `contamination` or `leakage`; with `picked`, also how it stands with the rows kept."""
    if scores is None:
        return []
    known = [
        name for name in scores.names if scores.about(name)["method"] in MADE and len(scores[name]) == int(scores.store.dataset["rows"])
    ]
    return [{"score": name} | MADE[scores.about(name)["method"]](scores, name, picked) for name in known]


def worst(scores: Scores, name: str, most: int) -> list[int]:
    """The rows to look at first: those with the longest copied run, or best known by heart."""
    bad = _bad(scores, name)
    by = scores[f"{name}.longest" if scores.about(name)["method"] == "contamination" else name]
    rows = np.flatnonzero(bad)
    return [int(row) for row in rows[np.argsort(-by[rows], kind="stable")[:most]]]


def decrease(rows: NDArray[Any], reference: NDArray[Any]) -> float:
    """By how many percent of itself a mean falls (negative: rises) from the rows to the reference, as Xu et al. 2024 compare them.

    >>> decrease(np.array([0.5, 0.7]), np.array([0.3, 0.3]))
    50.0
    """
    own = float(np.nanmean(rows))
    return round(100 * (own - float(np.nanmean(reference))) / own, 4) if own else 0.0


def _copied(scores: Scores, name: str, picked: Rows | None) -> Facts:
    about = scores.about(name)
    longest = scores[f"{name}.longest"]
    facts = about.get("result", {}).get("facts", {})
    told: Facts = {
        "method": "contamination",
        "n": about["options"]["n"],
        "against": about["target"]["fingerprint"],
        "against_rows": about["target"]["rows"],
        "rows": int(np.count_nonzero(_bad(scores, name))),
        "longest": int(longest.max(initial=0)),
    }
    told |= {key: facts[key] for key in ("target_rows_touched", "target_rows_at_80_percent") if key in facts}
    return told | _kept(scores, name, picked) | ({} if picked is None else {"kept_longest": int(longest[picked].max(initial=0))})


def _known(scores: Scores, name: str, picked: Rows | None) -> Facts:
    about = scores.about(name)
    told: Facts = {
        "method": "leakage",
        "model": about["options"]["model"],
        "rows": int(np.count_nonzero(_bad(scores, name))),
        "accuracy": round(float(np.nanmean(scores[name])), 4),
    }
    twins = f"{name}.reference_score"
    if twins in scores and np.isfinite(scores[twins]).any():
        told["reference_accuracy"] = round(float(np.nanmean(scores[twins])), 4)
        told["decrease"] = decrease(scores[name], scores[twins])
        told["perplexity_decrease"] = decrease(scores[f"{name}.perplexity"], scores[f"{name}.reference_perplexity"])
    return told | _kept(scores, name, picked)


def _kept(scores: Scores, name: str, picked: Rows | None) -> Facts:
    return {} if picked is None else {"kept": int(np.count_nonzero(_bad(scores, name)[picked]))}


def _bad(scores: Scores, name: str) -> NDArray[np.bool_]:
    if scores.about(name)["method"] == "contamination":
        return np.asarray(scores[f"{name}.hits"] > 0)
    return np.asarray(scores[f"{name}.is_leaked"]).astype(bool)


MADE: Final[Mapping[str, Callable[[Scores, str, Rows | None], Facts]]] = {"contamination": _copied, "leakage": _known}
