"""moderate: the rows nearest to the median distance from their class's centre."""

import numpy as np
import pytest

from curate.errors import ColumnError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.cover.moderate import Moderate, nearest_to_median, to_centres


def test_six_distances_by_hand():
    # the median is 2.5; rows 3 and 4 lie .5 off, rows 1 and 2 1.5: the lower one
    assert nearest_to_median(np.array([5.0, 1, 4, 2, 3, 0]), 3).tolist() == [3, 4, 1]


@pytest.mark.parametrize("centre", ["median", "mean"])
def test_it_agrees_with_a_loop(centre):
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 3, 40)
    middle = {c: getattr(np, centre)(x[label == c].astype(np.float64), axis=0) for c in range(3)}
    far = np.array([np.linalg.norm(row - middle[c]) for row, c in zip(x, label.tolist(), strict=True)])

    np.testing.assert_allclose(to_centres(x, label, centre), far, rtol=1e-6)
    picked = Moderate(centre=centre).select(ArrayPool({"embedding": x, "label": label}), 10, KeyedRandom(0, "moderate"))[0]
    assert set(picked.tolist()) == set(np.argsort(np.abs(far - np.median(far)), kind="stable")[:10].tolist())


def test_a_row_without_a_label_is_refused():
    pool = ArrayPool({"embedding": np.ones((3, 2)), "label": np.array([0, -1, 0])})

    with pytest.raises(ColumnError, match="1 of 3 rows have no label"):
        Moderate().select(pool, 1, KeyedRandom(0, "moderate"))
