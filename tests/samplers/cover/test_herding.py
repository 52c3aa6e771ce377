"""herding: each pick pulls the mean of the picked rows towards the mean of all."""

import numpy as np
import pytest

from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.cover.herding import Herding, herd, match_mean

TOY = np.array([[1, 0], [0, 1], [-1, 0], [0.2, 0.2]], np.float32)


def test_the_two_rules_of_the_papers():
    assert herd(TOY, 2).tolist() == [1, 0]  # w = (.05, .3), then (.1, -.4)
    assert match_mean(TOY, 2).tolist() == [3, 1]


@pytest.mark.parametrize("seed", range(3))
def test_both_agree_with_a_loop(seed):
    x = np.random.default_rng(seed).normal(size=(40, 3)).astype(np.float32)
    mean, w, welling, total, icarl = x.mean(axis=0), x.mean(axis=0).copy(), [], np.zeros(3), []
    for i in range(1, 11):
        free = [row for row in range(40) if row not in welling]
        welling.append(max(free, key=lambda row: float(x[row] @ w)))
        w += mean - x[welling[-1]]
        free = [row for row in range(40) if row not in icarl]
        icarl.append(min(free, key=lambda row: float(((mean - (total + x[row]) / i) ** 2).sum())))
        total += x[icarl[-1]]

    assert herd(x, 10).tolist() == welling
    assert match_mean(x, 10).tolist() == icarl


def test_the_mean_of_few_rows_is_nearer_than_that_of_random_ones():
    x = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
    picked, _ = Herding(rule="mean", metric="euclidean").select(ArrayPool({"embedding": x}), 20, KeyedRandom(0, "herding"))
    gaps = [np.linalg.norm(x[np.random.default_rng(s).choice(500, 20, False)].mean(axis=0) - x.mean(axis=0)) for s in range(20)]

    assert np.linalg.norm(x[picked].mean(axis=0) - x.mean(axis=0)) < min(gaps) / 2
