"""d2: scores passed over the graph of neighbours, and taken back by each pick."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.index.neighbours import nearest_by_distance
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.cover.d2 import D2, passed_forward, pick

LINE, SCORE = np.float32([[0], [1], [3]]), np.array([1.0, 2, 1])


def test_three_rows_by_hand():
    near, far = nearest_by_distance(LINE, 1)

    value = passed_forward(SCORE, near, far)

    # 1 + 2/e, 2 + 1/e, 1 + 2/e²
    np.testing.assert_allclose(value, [1.735759, 2.367879, 1.270671], atol=1e-6)
    # with gamma 1 row 0 falls to 1.735759 - 2.367879/e = .864665, below row 2, which is no neighbour of 1
    assert pick(value, near, far, 3, 1.0).tolist() == [1, 2, 0]


def naive(x, score, k, neighbours, gamma):
    gaps = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))
    near = [sorted((j for j in range(len(x)) if j != i), key=lambda j, i=i: gaps[i, j])[:neighbours] for i in range(len(x))]
    value = [score[i] + sum(np.exp(-gaps[i, j]) * score[j] for j in near[i]) for i in range(len(x))]
    picked = []
    while len(picked) < k:
        row = max((i for i in range(len(x)) if i not in picked), key=lambda i: value[i])
        if value[row] <= 0:
            break
        picked.append(row)
        for j in near[row]:
            value[j] -= np.exp(-gamma * gaps[row, j]) * value[row]
    return picked


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_it_agrees_with_a_loop(seed, gamma):
    rng = np.random.default_rng(seed)
    x, score = rng.normal(size=(60, 3)), rng.uniform(size=60)
    pool = ArrayPool({"embedding": x, "score": score})

    picked = D2(gamma=gamma, metric="euclidean").select(pool, 25, KeyedRandom(0, "d2"))[0].tolist()

    expected = naive(x, score, 25, 5, gamma)
    assert picked[: len(expected)] == expected and len(set(picked)) == 25


def test_keep_low_turns_the_score_round_and_nothing_is_negative():
    x = np.float32([[0], [100], [200]])
    pool = ArrayPool({"embedding": x, "score": np.array([3.0, 1.0, 2.0])}, keep="low")

    picked = D2(neighbours=1, metric="euclidean").select(pool, 2, KeyedRandom(0, "d2"))[0]

    assert picked.tolist() == [1, 2]  # lifted to 0, 2, 1


@pytest.mark.parametrize(("options", "message"), [({"neighbours": 0}, "neighbours must be 1"), ({"gamma": -1.0}, "gamma must be 0")])
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        D2(**options)
