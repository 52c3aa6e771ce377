"""offset: hard, but not hardest."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.ranked.offset import Offset

RNG = KeyedRandom(0, "offset")
SCORE = np.arange(10.0)


@pytest.mark.parametrize(("hard_sign", "rows"), [(1, [7, 6, 5]), (-1, [2, 3, 4])])
def test_the_hardest_fifth_goes_and_the_next_hardest_stay(hard_sign, rows):
    pool = ArrayPool({"score": SCORE}, hard_sign=hard_sign)

    assert Offset(drop=0.2).select(pool, 3, RNG)[0].tolist() == rows


def test_the_share_to_drop_is_floored_as_written():
    pool = ArrayPool({"score": np.arange(100.0)})

    assert Offset(drop=0.29).select(pool, 1, RNG)[0].tolist() == [70]


def test_a_score_without_a_hard_end_is_refused():
    with pytest.raises(OptionError, match="says nothing about hardness"):
        Offset().select(ArrayPool({"score": SCORE}, hard_sign=0), 1, RNG)


def test_dropping_more_than_the_budget_leaves_is_refused():
    with pytest.raises(OptionError, match=r"drop=0\.5 leaves 5 of 10 rows, but the budget is 6"):
        Offset(drop=0.5).select(ArrayPool({"score": SCORE}), 6, RNG)


@pytest.mark.parametrize("drop", [-0.1, 1.0, float("nan")])
def test_a_share_outside_its_range_is_refused(drop):
    with pytest.raises(OptionError, match=f"got {drop}"):
        Offset(drop=drop)
