"""top: the wanted end of the score."""

import numpy as np
import pytest

from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.ranked.top import Top

RNG = KeyedRandom(0, "top")


@pytest.mark.parametrize(("keep", "rows"), [("high", [3, 1, 2]), ("low", [0, 4, 1]), ("middle", [1, 2, 4])])
def test_keep_names_the_end_and_ties_go_to_the_lower_row(keep, rows):
    # ranks 0 2 3 4 1: rows 1 and 2 tie, row 1 is the median, then rows 2 and 4 are equally near
    pool = ArrayPool({"score": np.float32([-1, 0.5, 0.5, 2, 0])}, keep=keep)

    assert Top().select(pool, 3, RNG)[0].tolist() == rows


def test_the_middle_is_that_of_moderate_selection():
    ordered = ArrayPool({"score": np.arange(10.0)}, keep="middle")
    shuffled = ArrayPool({"score": np.array([5.0, 1, 4, 2, 3, 0])}, keep="middle")

    assert sorted(Top().select(ordered, 4, RNG)[0]) == [3, 4, 5, 6]
    assert sorted(Top().select(shuffled, 3, RNG)[0]) == [1, 3, 4]


def test_the_signs_of_zero_are_a_tie():
    assert Top().select(ArrayPool({"score": np.array([-0.0, 0.0])}), 1, RNG)[0].tolist() == [0]
