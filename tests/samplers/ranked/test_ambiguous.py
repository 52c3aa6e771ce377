"""ambiguous: the most variable rows, and easy ones where few are kept."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.ranked.ambiguous import Ambiguous

RNG = KeyedRandom(0, "ambiguous")


def pool_of(variability, confidence):
    return ArrayPool({"datamap.variability": np.array(variability), "datamap.confidence": np.array(confidence)})


def test_variability_first_then_confidence_among_the_rest():
    pool = pool_of([0.4, 0.1, 0.3, 0.0, 0.2], [0.5, 0.9, 0.8, 0.7, 0.9])

    # three most variable: 0, 2, 4; of rows 1 and 3 the surer one is 1 (row 4 is as sure, but taken)
    assert Ambiguous(easy_mix=0.25).select(pool, 4, RNG)[0].tolist() == [0, 2, 4, 1]


@pytest.mark.parametrize(("k", "n_easy"), [(25, 0), (24, 7), (10, 3)], ids=["a quarter", "just below", "a tenth"])
def test_the_mix_follows_the_budget_unless_given(k, n_easy):
    pool = pool_of(np.linspace(1, 0, 100), np.linspace(0, 1, 100))

    index = Ambiguous().select(pool, k, RNG)[0]

    assert (index > 50).sum() == n_easy


@pytest.mark.parametrize("mix", [-0.1, 1.1])
def test_a_mix_that_is_no_share_is_refused(mix):
    with pytest.raises(OptionError, match=f"got {mix}"):
        Ambiguous(easy_mix=mix)
