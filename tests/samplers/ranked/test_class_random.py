"""class_random: random within every class."""

import numpy as np
import pytest

from curate.errors import ColumnError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.ranked.class_random import ClassRandom

RNG = KeyedRandom(0, "class_random")
LABELS = np.repeat([4, 0, 9], [60, 30, 10])


@pytest.mark.parametrize(
    ("balance", "k", "counts"),
    [("proportional", 20, {0: 6, 4: 12, 9: 2}), ("equal", 60, {0: 25, 4: 25, 9: 10})],
)
def test_classes_keep_their_share_or_get_the_same(balance, k, counts):
    index, _ = ClassRandom(balance=balance).select(ArrayPool({"label": LABELS}), k, RNG)

    codes, found = np.unique(LABELS[index], return_counts=True)
    assert dict(zip(codes.tolist(), found.tolist(), strict=True)) == counts


def test_within_a_class_luck_decides():
    index, _ = ClassRandom().select(ArrayPool({"label": np.zeros(9, int)}), 4, RNG)

    assert index.tolist() == np.argsort(RNG.uniform(np.arange(9)))[:4].tolist()


def test_labels_that_are_no_codes_are_refused():
    with pytest.raises(ColumnError, match="class codes"):
        ClassRandom().select(ArrayPool({"label": np.array(["a", "b"])}), 1, RNG)
