"""Synthetic signals and pool columns, as a run and a dataset leave them: what the conformance kit gives to methods."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.errors import UnknownNameError, did_you_mean
from curate.protocols import Array
from curate.rng import KeyedRandom

SIGNALS: Final = ("loss", "m_logit", "m_prob", "entropy", "el2n", "el1", "kappa", "correct")
CLASSES: Final = 4
_DIMENSION: Final = 8


def signals_of(requires: Sequence[str], epochs: int, n: int) -> dict[str, Array]:
    """The synthetic signals of those names, as a run of `epochs` over `n` rows leaves them; row 0 was never seen.

    >>> signals_of(["eval.el2n@3"], epochs=8, n=5)["eval.el2n@3"].shape
    (5,)
    """
    training, evaluation = _run("dynamics", epochs, n), _run("eval", epochs, n)
    known: dict[str, Array] = {
        **{f"dynamics.{name}": values for name, values in training.items()},
        **{f"eval.{name}": values for name, values in evaluation.items()},
        "probs.final": evaluation["probs"][:, -1].astype(np.float32),
        "probs.oos": evaluation["probs"][:, 0].astype(np.float32),
        **{name: _swept(name, n) for name in requires if name.startswith(("swept.", "target.swept."))},
        "target.label": _labels(n)[::-1].copy(),
        "label": _labels(n),
        "label_sets": (_uniform("label_sets", n, CLASSES) < 0.4).astype(np.int8),
        "content": (np.arange(n) // 2).astype(np.uint64),
        "embedding": _normal("embedding", n, _DIMENSION).astype(np.float32),
        "question": np.array([f"what does row {row} say?" for row in range(n)]),
        "answer": np.array([f"row {row} says {'that ' * (row % 4)}this" for row in range(n)]),
        "text": np.array([f"row {row} says {'this and ' * (row % 5)}that" for row in range(n)]),
        "target.embedding": _normal("target.embedding", n, _DIMENSION).astype(np.float32),
        "target.question": np.array([f"what is in row {row}?" for row in range(n)]),
        "target.answer": np.array([f"it has {'this and ' * (row % 4)}that" for row in range(n)]),
        "target.content": (2 * n + np.arange(n) // 3).astype(np.uint64),
        "target.text": np.array([f"it is row {row} that says {'and this ' * (row % 3)}again" for row in range(n)]),
    }
    return {name: _named(name, known, epochs) for name in requires}


def pool_column(name: str, n: int) -> Array:
    """A column of a pool of `n` rows, such as `score`, whose values are a tenth apart, so that there are ties."""
    if name == "label":
        return _labels(n)
    if name == "score":
        return np.round(_uniform(name, n, 1)[:, 0], 1)
    if name == "embedding":
        return _normal(name, n, _DIMENSION).astype(np.float32)
    if name.count(".") == 1 and all(part.isidentifier() for part in name.split(".")):
        return _uniform(name, n, 1)[:, 0]
    raise UnknownNameError(f'The kit has no pool column "{name}". It knows score, label, embedding and SCORER.COLUMN.')


def _named(name: str, known: Mapping[str, Array], epochs: int) -> Array:
    base, at, epoch = name.partition("@")
    if base.startswith("neighbours") and epoch.isdecimal():
        return _neighbours(base, int(epoch), len(known["label"]), known["label"])
    if base not in known or base.endswith(".probs"):
        raise UnknownNameError(
            f'The kit has no synthetic signal "{name}".{did_you_mean(base, known)} It knows dynamics.X and eval.X with X of '
            f"{', '.join(SIGNALS)}, and probs.final, probs.oos, swept.X, label, label_sets, content, embedding, text, question, answer, "
            "and of these behind the label those of the target, target.X, and target.swept.X."
        )
    if not at:
        return known[base]
    if not epoch.isdecimal() or not 1 <= int(epoch) <= epochs:
        raise UnknownNameError(f'Signal "{name}" names an epoch that a run of {epochs} has not; epochs count from 1.')
    return known[base][:, int(epoch) - 1].copy()


def _neighbours(name: str, k: int, n: int, labels: Array) -> Array:
    """Made-up neighbours, (n, k): the rows that follow, further and further away; row 0 has none."""
    rows = (np.arange(n)[:, None] + np.arange(1, min(k, n - 1) + 1)) % n
    rows[0] = -1
    if name == "neighbours.distance":
        return np.where(rows >= 0, np.cumsum(_uniform(name, *rows.shape), axis=1), np.nan).astype(np.float32)
    return rows if name == "neighbours" else np.where(rows >= 0, labels[rows], -1)


def _run(kind: str, epochs: int, n: int) -> dict[str, Array]:
    """A made-up run: logits that drift towards the label, and every scalar that the recorder takes of them, (n, epochs)."""
    labels = np.arange(n), _labels(n)
    logits = _normal(kind, n, epochs * CLASSES).reshape(n, epochs, CLASSES)
    logits[labels[0], :, labels[1]] += np.linspace(0, 2, epochs)
    seen = np.ones((n, epochs), np.bool_) if kind == "eval" else _attendance(epochs, n)
    seen[0] = False
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)  # (n, epochs, classes)
    scalars = {**_of_label(logits, p, labels), "kappa": _kappa(p, seen)}
    masked = {name: np.where(seen, values, np.nan).astype(np.float32) for name, values in scalars.items()}
    return {**masked, "probs": np.where(seen[..., None], p, np.nan)}


def _attendance(epochs: int, n: int) -> NDArray[np.bool_]:
    """Which epochs each row was presented in, (n, epochs): all but none to a quarter of them."""
    missed = _uniform("missed", n, 1) * (epochs // 4 + 1)  # (n, 1)
    order = _uniform("order", n, epochs).argsort(axis=1).argsort(axis=1)
    seen: NDArray[np.bool_] = order >= np.floor(missed)
    return seen


def _of_label(logits: Array, p: Array, labels: tuple[Array, Array]) -> dict[str, Array]:
    here = (labels[0], slice(None), labels[1])
    onehot = np.zeros_like(p)
    onehot[here] = 1
    return {
        "loss": -np.log(p[here]),
        "m_logit": logits[here] - np.where(onehot == 1, -np.inf, logits).max(axis=2),
        "m_prob": p[here] - np.where(onehot == 1, -np.inf, p).max(axis=2),
        "entropy": -(p * np.log(p)).sum(axis=2),
        "el2n": np.linalg.norm(p - onehot, axis=2),
        "el1": np.abs(p - onehot).sum(axis=2),
        "correct": (p.argmax(axis=2) == labels[1][:, None]).astype(np.float64),
    }


def _kappa(p: Array, seen: NDArray[np.bool_]) -> Array:
    """The change since the row was last seen; NaN at its first presentation."""
    kappa = np.full(seen.shape, np.nan)
    last = np.full((len(p), p.shape[2]), np.nan)
    for epoch in range(seen.shape[1]):
        now = np.log(p[:, epoch] + 1e-8)
        kappa[:, epoch] = np.abs(p[:, epoch] * (now - last)).sum(axis=1)
        last = np.where(seen[:, epoch, None], now, last)
    return kappa


def _swept(name: str, n: int) -> Array:
    """What a sweep might have found: a number above 0 a row, none for row 0."""
    values = _uniform(name, n, 1)[:, 0].astype(np.float32)
    values[0] = np.nan
    return values


def _labels(n: int) -> NDArray[np.int64]:
    return (_uniform("label", n, 1)[:, 0] * CLASSES).astype(np.int64)


def _uniform(name: str, n: int, width: int) -> NDArray[np.float64]:
    return KeyedRandom(0, "testing", name).uniform(np.arange(n * width)).reshape(n, width)


def _normal(name: str, n: int, width: int) -> NDArray[np.float64]:
    """Close to normal: a logistic number, scaled to variance 1."""
    u = _uniform(name, n, width)
    scaled: NDArray[np.float64] = np.log(u / (1 - u)) * 3**0.5 / np.pi
    return scaled
