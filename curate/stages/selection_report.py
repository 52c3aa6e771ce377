"""What a selection says of itself: classes and scores beside all rows, how the kept rows stand for the others, and what to know of them."""

from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from curate.data import Dataset
from curate.index.vectors import finite_rows
from curate.pool import ArrayPool
from curate.protocols import Sampler
from curate.rng import KeyedRandom

QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
LOOKED_AT: Final = 5000  # rows by which vectors are judged to be of no use


def report(
    data: Dataset,
    picked: NDArray[np.int64],
    weights: NDArray[np.float64],
    score: NDArray[Any] | None,
    candidates: int,
    dropped: int,
    seed: int,
) -> dict[str, Any]:
    """Class counts, score quantiles of the kept beside all, and how much a random pick of the same size shares with this one.

    That pick takes every candidate with probability k/candidates, so that only the kept rows' draws need looking at.
    """
    k = len(picked)
    shared = KeyedRandom(seed, "report").uniform(picked) < k / candidates
    found: dict[str, Any] = {
        "kept": k,
        "of": len(data),
        "candidates": candidates,
        "without_score": dropped,
        "overlap_with_random": round(float(shared.mean()), 6),
        "overlap_expected": round(k / candidates, 6),
    }
    if weights.min() != weights.max():
        found["effective_sample_size"] = round(float(weights.sum() ** 2 / (weights**2).sum()), 1)
    if score is not None:
        found["score_quantiles"] = {"at": QUANTILES, "kept": _quantiles(score[picked]), "all": _quantiles(score)}
    if data.label is not None and _has_classes(data):
        found["classes"] = _class_counts(data, picked)
        missing = data.labels < 0
        if missing.any():
            found["unlabelled"] = [int(missing[picked].sum()), int(missing.sum())]
    return cast("dict[str, Any]", _plain(found))


def _quantiles(values: NDArray[Any]) -> list[float]:
    finite = np.isfinite(values) if values.dtype.kind == "f" else None
    known = values if finite is None or finite.all() else values[finite]
    return [float(f"{v:.6g}") for v in np.quantile(known, QUANTILES)] if len(known) else []


def _has_classes(data: Dataset) -> bool:
    """A label column that is no class (a regression target, lists) does not stop a selection; it is just not counted."""
    from curate.errors import ColumnError

    try:
        return bool(len(data.labels))
    except ColumnError:
        return False


def _class_counts(data: Dataset, picked: NDArray[np.int64]) -> dict[str, list[int]]:
    labels = data.labels
    total = np.bincount(labels[labels >= 0], minlength=len(data.label_names))
    mine = labels[picked]
    kept = np.bincount(mine[mine >= 0], minlength=len(data.label_names))
    return {name: [int(kept[code]), int(total[code])] for code, name in enumerate(data.label_names)}


def _plain(value: Any) -> Any:
    """Tuples as lists, so that a report reads back from JSON equal to itself."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def coverage(
    vectors: NDArray[Any], picked: NDArray[np.int64], candidates: NDArray[np.int64], weights: NDArray[np.float64], seed: int
) -> dict[str, Any]:
    """How well the picked rows stand for the candidates; rows without a vector are left out of both."""
    from curate.index.coverage import report as measured

    if vectors.dtype.kind == "f":
        known = finite_rows(vectors)
        placed = known[picked]
        picked, weights, candidates = picked[placed], weights[placed], candidates[known[candidates]]
    if not len(picked):
        return {}
    return measured(vectors, picked, candidates, weights, KeyedRandom(seed, "coverage"))


def remarks(sampler: Sampler, pool: ArrayPool) -> list[str]:
    """What makes vectors say less than they should, where a sampler reads them: all equal, of one number, or zeros."""
    if "embedding" not in sampler.requires:
        return []
    part = pool["embedding"][np.unique(np.linspace(0, len(pool) - 1, LOOKED_AT).astype(np.int64))]
    if len(part) > 1 and (part == part[0]).all():
        return ["all vectors are equal, so where rows lie says nothing: these are as good as any"]
    if getattr(sampler, "metric", "cosine") != "cosine":
        return []
    found, zeros = [], int(np.count_nonzero(~part.any(axis=1)))
    if zeros:
        found.append(f"{zeros / len(part):.1%} of the vectors are zeros, which have no direction: by cosine they are like no other row")
    if part.shape[1] == 1:
        mend = "metric=euclidean compares the numbers" if hasattr(sampler, "metric") else "take vectors of more numbers"
        found.append(f"of vectors of one number cosine sees only the sign: {mend}")
    return found
