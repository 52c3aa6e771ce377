"""Coverage: published measures on toy rows, and what any selection is told beside a random one."""

import numpy as np
import pytest

from curate.index.coverage import entropy, measures, prdc, radii, report
from curate.index.vectors import unit
from curate.rng import KeyedRandom

RNG = KeyedRandom(0, "coverage")


def test_four_reals_and_three_fakes_by_hand():
    # balls of radius 1: .1 and .2 lie in those of 0 and 1, 10 in none; fakes' balls reach .1, .1 and 9.8
    found = prdc(np.float32([[0], [1], [2], [3]]), np.float32([[0.1], [0.2], [10]]), 1)

    assert found == pytest.approx({"precision": 2 / 3, "recall": 3 / 4, "density": 4 / 3, "coverage": 1 / 2})


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_loops_over_pairs(seed):
    rng = np.random.default_rng(seed)
    real, fake, k = rng.normal(size=(60, 4)), rng.normal(size=(50, 4)) * 0.7, 5
    gaps = np.linalg.norm(real[:, None] - fake[None], axis=2)
    ball = [np.sort(np.linalg.norm(real - row, axis=1))[k] for row in real]
    fake_ball = [np.sort(np.linalg.norm(fake - row, axis=1))[k] for row in fake]

    expected = {
        "precision": np.mean([any(gaps[i, j] < ball[i] for i in range(60)) for j in range(50)]),
        "recall": np.mean([any(gaps[i, j] < fake_ball[j] for j in range(50)) for i in range(60)]),
        "density": sum(gaps[i, j] < ball[i] for i in range(60) for j in range(50)) / k / 50,
        "coverage": np.mean([any(gaps[i, j] < ball[i] for j in range(50)) for i in range(60)]),
    }
    assert prdc(real.astype(np.float32), fake.astype(np.float32), k) == pytest.approx(expected)


def test_it_agrees_with_prdc():
    peer = pytest.importorskip("prdc")
    real, fake = np.random.default_rng(0).normal(size=(2, 400, 8)).astype(np.float32)

    assert prdc(real, fake, 5) == pytest.approx(peer.compute_prdc(real, fake, nearest_k=5))


def test_equal_laws_give_density_1_and_the_expected_coverage_and_one_outlier_moves_neither():
    n, k, pairs = 1000, 5, 10
    rng = np.random.default_rng(0)
    found, with_outlier = [], []
    for _ in range(pairs):
        real, fake = rng.normal(size=(2, n, 16)).astype(np.float32)
        found.append(prdc(real, fake, k))
        real[0] = 1e3
        with_outlier.append(prdc(real, fake, k))

    density, coverage = (np.mean([one[name] for one in found]) for name in ("density", "coverage"))
    assert density == pytest.approx(1, abs=0.05)
    assert coverage == pytest.approx(1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)]), abs=0.01)  # .968984
    for name, value in (("density", density), ("coverage", coverage)):
        assert np.mean([one[name] for one in with_outlier]) == pytest.approx(value, rel=0.02)


def test_equal_rows_are_not_their_own_neighbours():
    np.testing.assert_allclose(radii(np.float32([[0], [0], [3]]), 1), [0, 0, 9])


def test_a_histogram_is_even_or_not():
    assert [entropy(np.array(counts)) for counts in ([5, 5], [7, 0], [3])] == [1, 0, 1]


def test_rows_about_one_place_cover_less_than_random_ones():
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(20, 16)).astype(np.float32))
    x = (centres[np.arange(2000) % 20] + 0.05 * rng.normal(size=(2000, 16))).astype(np.float32)
    crowd = np.flatnonzero(np.arange(2000) % 20 == 3)

    found = report(x, crowd, np.arange(2000), np.ones(len(crowd)), RNG)

    kept, random = found["kept"], found["random"]
    assert kept["coverage"] < 0.1 < random["coverage"] and kept["radius"] > 2 * random["radius"]
    assert kept["clusters"] < 0.5 < random["clusters"] and kept["spread"] < random["spread"]
    assert kept["effective_share"] == 1


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_few_and_equal_rows_are_measured(rows):
    found = report(np.ones((rows, 3)), np.array([0]), np.arange(rows), np.ones(1), RNG)

    assert found["kept"]["coverage"] == 1 and found["kept"]["radius"] == pytest.approx(0, abs=1e-3)


def test_near_equal_rows_are_found_and_weights_counted():
    x = unit(np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32))
    x[1] = x[0] * 3

    assert measures(x, unit(x[:10]), x[:4])["near_equal"] == pytest.approx(0.2)
    assert report(x, np.arange(2), np.arange(40), np.array([1.0, 3]), RNG)["kept"]["effective_share"] == pytest.approx(0.8)  # 16 / (2 · 10)
