"""Confident learning: which labels are probably wrong, from out-of-sample probabilities.

Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"; official code cleanlab/cleanlab.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError, OptionError
from curate.protocols import Array

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]
Prune = Literal["noise_rate", "class", "both", "off_diagonal", "predicted"]
Quality = Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy"]

# The official code's: a threshold is met from a little below, and none is lower than twice that.
_SLACK = 1e-6
_NOT_MET = 2.0  # no probability reaches the threshold of a class without rows
_SUM_TOLERANCE = 1e-3  # probabilities stored as float16 are off by less


def check_probabilities(probs: Array, labels: Array) -> None:
    """InputError unless `probs`, (n, classes), are probabilities that sum to 1 and `labels`, (n,), are codes of these classes."""
    if probs.ndim != 2 or labels.shape != probs.shape[:1] or not probs.size:
        raise InputError(
            f"Probabilities of shape {probs.shape} and labels of shape {labels.shape}; (n, classes) and (n,) are expected, n > 0."
        )
    total = probs.sum(axis=1, dtype=np.float64)
    wrong = np.flatnonzero(~(np.abs(total - 1) <= _SUM_TOLERANCE) | ~(probs >= 0).all(axis=1))
    if len(wrong):
        raise InputError(
            f"{len(wrong)} rows hold no probabilities, first row {wrong[0]}, which sums to {total[wrong[0]]:.4g}; values from 0 on "
            "that sum to 1 are expected. Apply a softmax to logits, and leave out rows without a prediction."
        )
    outside = np.flatnonzero((labels < 0) | (labels >= probs.shape[1]))
    if len(outside):
        raise InputError(
            f"{len(outside)} labels are outside 0 … {probs.shape[1] - 1}, first {labels[outside[0]]} in row {outside[0]}. "
            "Leave out rows without a label."
        )


def class_thresholds(probs: Array, labels: Array) -> Float64:
    """The mean probability of each class over the rows that bear its label, (classes,); 2, never met, for a class without rows."""
    n_classes = probs.shape[1]
    count = np.bincount(labels, minlength=n_classes)
    total = np.bincount(labels, weights=_own(probs, labels), minlength=n_classes)
    return np.where(count > 0, np.maximum(total / np.maximum(count, 1), 2 * _SLACK), _NOT_MET)


def confident_class(probs: Array, thresholds: Float64) -> Int64:
    """The class that each row is confidently in, (n,): the likeliest where several thresholds are met; -1 where none is."""
    met = probs >= thresholds - _SLACK  # (n, classes)
    count = met.sum(axis=1)
    chosen = np.where(count > 1, probs.argmax(axis=1), met.argmax(axis=1))
    return np.where(count > 0, chosen, -1).astype(np.int64)


def confident_joint(probs: Array, labels: Array) -> Int64:
    """Estimated counts of rows by given label and true label, (classes, classes); each line sums to its label's rows.

    Divided by n it is the joint distribution. The diagonal is at least 1 before the lines are scaled, as in the official code.
    """
    n_classes = probs.shape[1]
    true = confident_class(probs, class_thresholds(probs, labels))
    counted = true >= 0
    joint = np.bincount(labels[counted] * n_classes + true[counted], minlength=n_classes**2).reshape(n_classes, n_classes)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    rows = np.bincount(labels, minlength=n_classes)
    return _round_lines(joint / joint.sum(axis=1, keepdims=True) * rows[:, None])


def label_quality(probs: Array, labels: Array, method: Quality = "self_confidence") -> Float64:
    """How much the probabilities agree with the label, (n,), 0 … 1; low is probably wrong.

    `normalized_margin` is (p_label - largest other + 1) / 2. `confidence_weighted_entropy` is log(1 + q) / q for
    q = entropy / log(classes) / p_label. No adjustment for imbalance.
    """
    own = _own(probs, labels)
    if method == "self_confidence":
        return own
    if method == "normalized_margin":
        others = np.array(probs, np.float64)
        others[np.arange(len(labels)), labels] = -np.inf
        margin: Float64 = (own - others.max(axis=1) + 1) / 2
        return margin
    if method == "confidence_weighted_entropy":
        return _weighted_entropy(np.asarray(probs, np.float64), own)
    raise OptionError(f'Label quality "{method}" is unknown; one of {", ".join(get_args(Quality))} is expected.')


def find_label_errors(probs: Array, labels: Array, prune: Prune = "noise_rate") -> Mask:
    """Whether each label is probably wrong, (n,).

    `noise_rate` takes, for each pair of given and other class, as many rows as the joint has there, by the largest margin;
    `class` takes the rows of each label with the lowest self-confidence; `both` is what these two agree on; `off_diagonal`
    are the rows confidently in another class; `predicted` those predicted as another. A row predicted as labelled is never
    one, and rows tied at a cut are all left, as in the official code.
    """
    if prune not in get_args(Prune):
        raise OptionError(f'prune "{prune}" is unknown; one of {", ".join(get_args(Prune))} is expected.')
    check_probabilities(probs, labels)
    differs: Mask = probs.argmax(axis=1) != labels
    if prune == "predicted":
        return differs
    if prune == "off_diagonal":
        true = confident_class(probs, class_thresholds(probs, labels))
        elsewhere: Mask = (true >= 0) & (true != labels)
        return differs & elsewhere
    joint = _keep_one(confident_joint(probs, labels))
    found = np.ones(len(labels), bool)
    if prune in ("class", "both"):
        found &= _by_class(probs, labels, joint)
    if prune in ("noise_rate", "both"):
        found &= _by_noise_rate(probs, labels, joint)
    return found & differs


def find_multilabel_errors(probs: Array, labels: Array, prune: Prune = "noise_rate") -> Mask:
    """Which classes of each row's set of labels are probably wrong, (n, classes): borne and should not be, or not borne and should be.

    `probs` are the probabilities that the row bears each class, (n, classes), free of one another, and `labels` whether it does. Each class
    is judged alone, as a question of two answers; a row is an issue where any class of it is. Equal to cleanlab's.
    """
    if probs.shape != labels.shape or probs.ndim != 2:
        raise InputError(f"Probabilities of shape {probs.shape} and labels of shape {labels.shape}; both (n, classes) are expected.")
    return np.stack(
        [find_label_errors(_two_sided(p), one.astype(np.int64), prune) for p, one in zip(probs.T, labels.T, strict=True)], axis=1
    )


def multilabel_quality(probs: Array, labels: Array, method: Quality = "self_confidence", *, alpha: float = 0.8) -> Float64:
    """How much the probabilities agree with the whole set of labels, (n,), 0 … 1; low is probably wrong.

    The qualities of the classes, from the best to the worst, in a moving mean that gives each next one the weight `alpha`, so that
    the worst counts most (Thyagarajan et al. 2023, "Identifying Incorrect Annotations in Multi-Label Classification Data").

    >>> multilabel_quality(np.array([[0.1, 0.9, 0.7]]), np.array([[False, True, False]])).round(2).tolist()
    [0.42]
    """
    each = [label_quality(_two_sided(p), one.astype(np.int64), method) for p, one in zip(probs.T, labels.T, strict=True)]
    ordered = -np.sort(-np.stack(each), axis=0)  # (classes, n), best first
    mean: Float64 = ordered[0]
    for quality in ordered[1:]:  # over classes, not rows
        mean = alpha * quality + (1 - alpha) * mean
    return mean


def _two_sided(probs: Array) -> Float64:
    return np.stack([1 - np.asarray(probs, np.float64), probs], axis=1)


def _own(probs: Array, labels: Array) -> Float64:
    return np.asarray(probs[np.arange(len(labels)), labels], np.float64)


def _weighted_entropy(probs: Float64, own: Float64) -> Float64:
    tiny = np.finfo(np.float64).tiny
    entropy = -(probs * np.log(np.maximum(probs, tiny))).sum(axis=1) / np.log(max(probs.shape[1], 2))
    ratio = entropy / np.maximum(own, _SLACK)
    return np.where(ratio > 0, np.log1p(ratio) / np.where(ratio > 0, ratio, 1), 1.0)  # the limit where nothing is uncertain


def _round_lines(values: Float64) -> Int64:
    """Whole numbers near `values` whose lines keep their sums: what rounding lost goes to the largest remainders."""
    whole = np.rint(values).astype(np.int64)
    lost = np.rint(values.sum(axis=1)).astype(np.int64) - whole.sum(axis=1)
    for line in np.flatnonzero(lost):  # over classes, not rows
        order = np.argsort(values[line] - whole[line])[::-1]
        if lost[line] < 0:
            order = order[::-1]
        whole[line, order[: abs(lost[line])]] += np.sign(lost[line])
    return whole


def _keep_one(joint: Int64) -> Int64:
    """The joint with 1 or more right rows in each class, taken evenly from the wrong ones of the label."""
    diagonal = joint.diagonal()
    short = np.maximum(1 - diagonal, 0)
    wrong = np.maximum((joint > 0).sum(axis=1) - 1, 1)
    kept = np.maximum(joint - (short / wrong)[:, None], 0)
    np.fill_diagonal(kept, np.maximum(diagonal, 1))
    return _round_lines(kept)


def _by_class(probs: Array, labels: Array, joint: Int64) -> Mask:
    own, found = _own(probs, labels), np.zeros(len(labels), bool)
    for given in range(len(joint)):
        rows = np.flatnonzero(labels == given)
        n_wrong = len(rows) - int(joint[given, given])
        if len(rows) > 1 and n_wrong > 0:
            found[rows] = own[rows] < np.partition(own[rows], n_wrong)[n_wrong]
    return found


def _by_noise_rate(probs: Array, labels: Array, joint: Int64) -> Mask:
    found = np.zeros(len(labels), bool)
    for given in range(len(joint)):
        rows = np.flatnonzero(labels == given)
        for other in np.flatnonzero(joint[given]):
            n_wrong = int(joint[given, other])
            if other != given and len(rows) > max(1, n_wrong):
                margin = probs[rows, given] - probs[rows, other]
                found[rows] |= margin < np.partition(margin, n_wrong)[n_wrong]
    return found
