"""The count sketch: its kernels are the published ones, its counts merge, and its estimate is near the exact sum."""

import numpy as np
import pytest

from curate.index.sketch import Sketch, collision_probability, exact_density


def circle(n=400, seed=0):
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("kernel", "width", "distance", "expected"),
    [
        ("l2", 1.0, 0.5, 0.609548),
        ("l2", 1.0, 2**-0.5, 0.486065),
        ("l2", 1.0, 1.0, 0.368746),
        ("l2", 1.0, 2**0.5, 0.270903),
        ("l2", 0.25, 1.0, 0.099219),
        ("l2", 4.0, 1.0, 0.800532),
        ("l1", 1.0, 1.0, 0.279364),
        ("l2", 1.0, 0.0, 1.0),
    ],
)
def test_the_collision_probability_of_one_hash(kernel, width, distance, expected):
    assert collision_probability(np.array([distance]), width, kernel)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("angle", "expected"), [(np.pi / 6, 0.482253), (np.pi / 3, 0.197531), (np.pi / 2, 0.0625)])
def test_four_signs_collide_with_the_fourth_power(angle, expected):
    sketch = Sketch(d=2, repeats=1, concat=4, bins=16, width=1.0, kernel="angular")

    assert sketch.collision(np.array([angle]))[0] == pytest.approx(expected, abs=1e-6)


def test_the_kernel_sum_is_within_five_errors_of_the_exact_one():
    sketch = Sketch(d=2, repeats=1000, concat=1, bins=64, width=1.0)
    vectors = circle()

    estimate, exact = sketch.density(vectors, sketch.count(vectors)), exact_density(sketch, vectors)

    assert np.sqrt(np.mean((estimate / exact - 1) ** 2)) < 5 * 0.014  # relative error of 1000 repeats


@pytest.mark.parametrize("kernel", ["l2", "l1", "angular"])
def test_concatenated_hashes_rank_rows_as_the_exact_sum_does(kernel):
    from scipy.stats import spearmanr

    rng = np.random.default_rng(1)
    vectors = (rng.normal(size=(1500, 8)) * rng.choice([0.3, 1.0, 2.0], size=(1500, 1)) + 1).astype(np.float32)
    sketch = Sketch(d=8, repeats=256, concat=3, bins=1 << 14, width=6.0 if kernel == "l1" else 2.0, kernel=kernel)

    estimate, exact = sketch.density(vectors, sketch.count(vectors)), exact_density(sketch, vectors)

    assert spearmanr(estimate, exact).statistic >= 0.9


@pytest.mark.parametrize("shards", [1, 3, 17])
def test_counts_of_ragged_shards_add_up_and_subtract_to_nothing(shards):
    sketch, vectors = Sketch(d=2, repeats=8, concat=2, bins=64, width=0.5), circle(100)
    ends = np.sort(np.r_[1, 1, np.random.default_rng(0).integers(0, 100, 20)])[: shards - 1]  # one row, none, any

    parts = [sketch.count(part) for part in np.split(vectors, ends)]

    whole = sketch.count(vectors)
    assert np.array_equal(sum(parts, sketch.empty()), whole) and (whole.sum(axis=1) == 100).all()
    assert not (whole - sum(parts)).any()


def test_64_bins_answer_as_many_do_for_single_hashes():
    vectors = circle()
    few, many = (Sketch(d=2, repeats=50, concat=1, bins=bins, width=1.0) for bins in (64, 1 << 14))

    assert np.array_equal(few.density(vectors, few.count(vectors)), many.density(vectors, many.count(vectors)))
