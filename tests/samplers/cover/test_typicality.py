"""typicality: from each cluster in turn the row with the nearest neighbours."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.cover.typicality import Typicality, in_turn, typicality


def test_the_middle_of_a_line_is_typical():
    # two of four neighbours: row 1 has 1 and 2, mean 1.5; row 0 has 1 and 3, mean 2
    found = typicality(np.float32([[0], [1], [3], [4]]), np.zeros(4, np.int64), 20)

    np.testing.assert_allclose(found, [1 / 2, 1 / 1.5, 1 / 1.5, 1 / 2], rtol=1e-4)


def test_clusters_take_turns_the_largest_first_and_small_ones_last():
    value, of = np.array([0.1, 0.9, 0.5, 0.2, 0.8, 0.3]), np.array([0, 0, 0, 1, 1, 2])

    assert in_turn(value, of, smallest=2).tolist() == [1, 4, 2, 3, 0, 5]


def test_it_agrees_with_a_loop():
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    of = np.random.default_rng(1).integers(0, 3, 60)
    expected = []
    for row, mine in zip(x, of.tolist(), strict=True):
        rows = x[of == mine]
        gaps = np.sort(np.linalg.norm(rows - row, axis=1))[1:]
        expected.append(1 / (gaps[: min(5, len(rows) // 2)].mean() + 1e-5))

    np.testing.assert_allclose(typicality(x, of, 5), expected, rtol=1e-3)


def test_one_row_each_of_three_clouds():
    middle = np.array([[0, 0], [50, 0], [0, 50]])
    x = np.concatenate([m + np.random.default_rng(0).normal(size=(20, 2)) for m in middle])

    picked = Typicality(metric="euclidean").select(ArrayPool({"embedding": x}), 3, KeyedRandom(0, "typicality"))[0]

    assert {row // 20 for row in picked.tolist()} == {0, 1, 2}
    assert all(np.linalg.norm(x[row] - middle[row // 20]) < 1 for row in picked.tolist())


@pytest.mark.parametrize("name", ["most_clusters", "neighbours", "smallest"])
def test_what_makes_no_sense_is_refused(name):
    with pytest.raises(OptionError, match=name):
        Typicality(**{name: 0})
