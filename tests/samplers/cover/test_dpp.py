"""dpp: the largest determinant, greedily."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.cover.dpp import DPP, Matrix, greedy_map

TOY = np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]])


def test_three_rows_by_hand():
    # what is left: 1, 1, 1; then .19 and .99; then .177778
    assert greedy_map(Matrix(TOY), 3).tolist() == [0, 2, 1]
    assert np.linalg.det(TOY[np.ix_([0, 2], [0, 2])]) == pytest.approx(0.99)


def naive(kernel, k, window):
    picked = []
    while len(picked) < k:
        held = picked[-window:] if window else picked
        gain = [-np.inf if i in picked else np.linalg.slogdet(kernel[np.ix_([*held, i], [*held, i])])[1] for i in range(len(kernel))]
        picked.append(int(np.argmax(gain)))
    return picked


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("window", [None, 1, 3])
def test_it_agrees_with_determinants(seed, window):
    x = np.random.default_rng(seed).normal(size=(30, 40))
    kernel = x @ x.T

    assert greedy_map(Matrix(kernel), 12, window).tolist() == naive(kernel, 12, window)


def test_a_linear_kernel_ends_at_its_rank_and_the_rest_is_random():
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)

    # Of rows of one length all are as good for a start, up to rounding; so these keep theirs.
    picked = DPP(kernel="linear", metric="euclidean").select(ArrayPool({"embedding": x}), 9, KeyedRandom(0, "dpp"))[0]

    told_apart = greedy_map(Matrix(x.astype(np.float64) @ x.T), 9)
    assert len(told_apart) == 4 and picked[:4].tolist() == told_apart.tolist()
    assert len(set(picked.tolist())) == 9


def test_rows_that_are_alike_are_not_picked_together():
    x = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)

    picked = DPP().select(ArrayPool({"embedding": x}), 4, KeyedRandom(0, "dpp"))[0]

    assert {row // 5 for row in picked.tolist()} == {0, 1, 2, 3}


def test_quality_decides_among_alike():
    x, score = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0), np.tile([0.1, 0.9, 0.5, 0.2], 3)
    pool = ArrayPool({"embedding": x, "score": score})

    assert set(DPP(alpha=1.0).select(pool, 3, KeyedRandom(0, "dpp"))[0].tolist()) == {1, 5, 9}


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_submodlib(seed):
    submodlib = pytest.importorskip("submodlib")
    x = np.random.default_rng(seed).normal(size=(60, 20))
    kernel = x @ x.T / 20 + np.eye(60)

    theirs = submodlib.LogDeterminantFunction(n=60, mode="dense", lambdaVal=0, sijs=kernel).maximize(
        budget=10, optimizer="NaiveGreedy", show_progress=False
    )

    assert greedy_map(Matrix(kernel), 10).tolist() == [row for row, _ in theirs]


@pytest.mark.parametrize(
    ("options", "message"), [({"width": 0.0}, "width must be"), ({"alpha": -1.0}, "alpha must be"), ({"window": 0}, "window must be")]
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        DPP(**options)
