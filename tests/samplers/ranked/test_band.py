"""band: ranks around a quantile."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.ranked.band import Band

RNG = KeyedRandom(0, "band")


@pytest.mark.parametrize(("centre", "rows"), [(0.0, [0, 1, 2, 3]), (0.5, [3, 4, 5, 6]), (1.0, [6, 7, 8, 9])])
@pytest.mark.parametrize("keep", ["high", "low"])
def test_the_band_lies_around_its_quantile_whatever_is_kept(centre, rows, keep):
    pool = ArrayPool({"score": np.arange(10.0)}, keep=keep)

    assert sorted(Band(centre=centre).select(pool, 4, RNG)[0]) == rows


@pytest.mark.parametrize("centre", [-0.01, 1.01, float("nan")])
def test_a_centre_that_is_no_quantile_is_refused(centre):
    with pytest.raises(OptionError, match=f"got {centre}"):
        Band(centre=centre)
