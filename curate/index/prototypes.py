"""Prototypes of classes, and how far rows lie from theirs: the arithmetic that sampler and scorer share."""

from typing import Literal

import numpy as np

from curate.errors import ColumnError
from curate.index.vectors import BLOCK, Placed, Vectors, squared_norms
from curate.protocols import Array

Kind = Literal["self", "supervised"]


def class_means(vectors: Vectors | Placed, labels: Array) -> Vectors:
    """The mean of every class, (classes, d), summed in float64; a class without rows lies at 0.

    >>> class_means(np.float32([[0, 0], [2, 0], [5, 5]]), np.array([0, 0, 1])).tolist()
    [[1.0, 0.0], [5.0, 5.0]]
    """
    sums, sizes = class_sums(vectors, labels)
    return means_of(sums, sizes)


def class_sums(vectors: Vectors | Placed, labels: Array) -> tuple[Array, Array]:
    """Σ of the vectors of every class, (classes, d) float64, and how many there are, (classes,); rows without a label count nowhere."""
    classes = int(labels.max(initial=-1)) + 1
    sums = np.zeros((classes, vectors.shape[1]))
    for code in range(classes):
        sums[code] = vectors[labels == code].sum(axis=0, dtype=np.float64)
    return sums, np.bincount(labels[labels >= 0], minlength=classes)


def means_of(sums: Array, sizes: Array) -> Vectors:
    found: Vectors = (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
    return found


def distances_to_own(vectors: Vectors | Placed, labels: Array, means: Vectors) -> Vectors:
    """Each row's Euclidean distance from the mean of its class, (n,) float32; ColumnError where a row has no label."""
    if (labels < 0).any():
        raise ColumnError(
            f"{np.count_nonzero(labels < 0)} of {len(labels)} rows have no label, and so no prototype. "
            'Leave them out: --where "not is_null(LABEL)", with the name of the label column.'
        )
    far = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), BLOCK):
        far[start : start + BLOCK] = np.sqrt(squared_norms(vectors[start : start + BLOCK] - means[labels[start : start + BLOCK]]))
    return far
