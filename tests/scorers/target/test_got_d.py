"""got_d: dual potentials against the plain Sinkhorn, and what they choose."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import logsumexp

from curate.errors import InputError, OptionError
from curate.index.vectors import unit
from curate.scorers.target.got_d import GOTD, calibrated, step
from curate.testing import check_scorer, shard_of


def scored(scorer, rows, goal, cuts=()):
    """Columns, and the facts."""
    told = scorer.merge_target([scorer.fit_target(shard_of({"target.embedding": goal}))])
    target = state = {f"target.{key}": value for key, value in told.items()}
    bounds = [0, *cuts, len(rows)]
    shards = [shard_of({"embedding": rows[a:b]}, rows=np.arange(a, b)) for a, b in pairwise(bounds)]
    for _ in range(scorer.passes):
        state = scorer.merge([scorer.fit(shard, state) for shard in shards]) | target
        if scorer.is_done(state):
            break
    parts = [scorer.score(shard, state) for shard in shards]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, scorer.conclude(state)


def naive(rows, goal, epsilon, steps=400, a=None):
    """Sinkhorn in logarithms on the whole matrix: the rows' potentials, and the value of the dual."""
    cost = ((rows[:, None] - goal[None]) ** 2).sum(axis=2)
    epsilon = epsilon * cost.mean()
    log_a = np.full(len(rows), -np.log(len(rows))) if a is None else np.log(a)
    g = np.zeros(len(goal))
    for _ in range(steps):
        f = -epsilon * logsumexp((g - cost) / epsilon - np.log(len(goal)), axis=1)
        g = -epsilon * logsumexp((f[:, None] - cost) / epsilon + log_a[:, None], axis=0)
    return f, float(np.exp(log_a) @ f + g.mean())


def mixture(rng, n, share):
    """Cats at one place and dogs at another, this share of them cats."""
    is_cat = rng.random(n) < share
    centres = np.eye(8)[[0, 1]]
    return (centres[1 - is_cat.astype(int)] + 0.15 * rng.normal(size=(n, 8))).astype(np.float32), is_cat


def test_the_worked_example():
    assert calibrated(np.array([2.0, 1.0, 0.0]), 1.0, 3).tolist() == [1.5, 0, -1.5]


@pytest.mark.parametrize("epsilon", [0.01, 1, 100])
def test_with_a_single_target_row_potentials_are_costs(epsilon):
    found, _ = scored(GOTD(epsilon=epsilon, metric="euclidean"), np.float32([[0], [0], [0], [1]]), np.float32([[1]]))

    # f = c + const = [1, 1, 1, 0] + const; less the mean of the others: 1 - 2/3, and 0 - 1
    np.testing.assert_allclose(found["score"], [1 / 3, 1 / 3, 1 / 3, -1], atol=1e-5)


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_it_is_the_plain_sinkhorn(epsilon, metric):
    rng = np.random.default_rng(0)
    rows, goal = rng.normal(size=(30, 5)).astype(np.float32), (rng.normal(size=(12, 5)) + 0.5).astype(np.float32)

    found, facts = scored(GOTD(epsilon=epsilon, metric=metric, iterations=2000), rows, goal)

    expected, distance = naive(*(unit(one) if metric == "cosine" else one for one in (rows, goal)), epsilon)
    np.testing.assert_allclose(found["score"], calibrated(expected, expected.mean(), 30), atol=2e-2 * expected.std())
    assert facts["settled"] == "yes" and facts["distance"] == pytest.approx(distance, rel=1e-2, abs=1e-3)


def test_it_is_what_pot_finds():
    ot = pytest.importorskip("ot")
    rng = np.random.default_rng(0)
    rows, goal = rng.normal(size=(60, 5)).astype(np.float32), rng.normal(size=(25, 5)).astype(np.float32)

    found, _ = scored(GOTD(epsilon=0.1, metric="euclidean", iterations=2000), rows, goal)

    cost = ot.dist(rows, goal)
    _, log = ot.sinkhorn([], [], cost, 0.1 * cost.mean(), method="sinkhorn_log", log=True, numItermax=10_000, stopThr=1e-12)
    expected = 0.1 * cost.mean() * log["log_u"]
    np.testing.assert_allclose(found["score"], calibrated(expected, expected.mean(), 60), atol=2e-2 * expected.std())


@pytest.mark.parametrize("cuts", [(7,), (1, 2, 40), (0, 30)])
def test_how_rows_were_cut_changes_nothing_but_rounding(cuts):
    rng = np.random.default_rng(0)
    rows, goal = rng.normal(size=(60, 5)).astype(np.float32), rng.normal(size=(25, 5)).astype(np.float32)

    whole, cut = (scored(GOTD(), rows, goal, c)[0]["potential"] for c in ((), cuts))

    np.testing.assert_allclose(cut, whole, atol=1e-5)


def test_a_target_row_that_nothing_reaches_is_summed_in_logarithms():
    rows, goal = np.float32([[0.0], [0.1]]), np.float32([[0.0], [30.0]])

    f, log_sum = step(rows, goal, np.zeros(2), epsilon=1.0)

    expected = -logsumexp(-((rows - goal.T) ** 2) - np.log(2), axis=1)
    np.testing.assert_allclose(f, expected, rtol=1e-5)
    np.testing.assert_allclose(log_sum, logsumexp(expected[:, None] - (rows - goal.T) ** 2, axis=0), rtol=1e-5)


def test_what_the_rows_lack_is_chosen():
    """The paper's example: rows of cats, few dogs; a target of both. Matching would choose half and half."""
    rng = np.random.default_rng(0)
    (rows, is_cat), (goal, _) = mixture(rng, 400, 0.9), mixture(rng, 100, 0.5)

    found, _ = scored(GOTD(), rows, goal)

    assert not is_cat[np.argsort(found["score"])[:30]].any()


def test_adding_the_selection_brings_the_rows_nearer_than_others_do():
    rng = np.random.default_rng(0)
    (rows, _), (goal, _) = mixture(rng, 300, 0.85), mixture(rng, 60, 0.5)
    rows, goal = unit(rows), unit(goal)
    far = ((rows[:, None] - goal[None]) ** 2).sum(axis=2)
    picks = {
        "got_d": np.argsort(scored(GOTD(), rows, goal)[0]["score"])[:30],
        "random": rng.choice(300, 30, replace=False),
        "nearest": np.argsort(far.min(axis=1))[:30],
    }

    after = {}
    for name, chosen in picks.items():
        weight = np.ones(300)
        weight[chosen] += 3  # trained on three times more
        after[name] = naive(rows, goal, 0.05, steps=100, a=weight / weight.sum())[1]

    assert after["got_d"] < min(after["random"], after["nearest"])


def test_steps_that_run_out_are_told():
    rng = np.random.default_rng(0)
    _, facts = scored(GOTD(iterations=2), rng.normal(size=(20, 3)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32))

    assert facts["iterations"] == 2 and facts["settled"] == "no"


def test_rows_that_are_all_one_have_no_direction():
    found, facts = scored(GOTD(), np.ones((3, 2), np.float32), np.ones((2, 2), np.float32))

    assert np.abs(found["score"]).max() < 1e-6 and abs(facts["distance"]) < 1e-6


def test_a_row_without_a_vector_has_no_score():
    found, _ = scored(GOTD(), np.float32([[1, 0], [np.nan, np.nan], [0, 1]]), np.float32([[1, 1], [np.nan, 1]]))

    assert np.isnan(found["score"]).tolist() == [False, True, False] and found["status"].tolist() == ["", "no_vector", ""]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="no row of the target"):
        scored(GOTD(), np.ones((1, 1), np.float32), np.float32([[np.nan]]))
    with pytest.raises(InputError, match="2 numbers, the target of 1"):
        scored(GOTD(), np.ones((1, 2), np.float32), np.ones((1, 1), np.float32))
    for options in ({"epsilon": 0}, {"epsilon": float("nan")}, {"iterations": 0}):
        with pytest.raises(OptionError, match=next(iter(options))):
            GOTD(**options)


@pytest.mark.parametrize("spec", ["got_d", "got_d:metric=euclidean,epsilon=0.5,iterations=7"])
def test_it_keeps_the_contract(spec):
    check_scorer(spec)
