"""Exact quantiles from counts that merge."""

import numpy as np
import pytest

from curate.quantile import Quantile

NAN = np.nan


def over_shards(quantile: Quantile, shards: list[np.ndarray]) -> np.float32:
    state = None
    for _ in range(2):
        state = quantile.merge([quantile.fit(shard, state) for shard in shards])
    return quantile.value(state)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.51, 3), (0.25, 1), (0.001, 1), (1.0, 4)])
def test_the_quantile_is_the_smallest_number_that_the_share_does_not_exceed(share: float, expected: float):
    values = np.float32([4, 2, 1, 3])

    assert Quantile(share).of(values) == expected
    assert over_shards(Quantile(share), [values]) == expected


def test_a_share_that_binary_cannot_write_means_what_it_says():
    assert Quantile(0.29).of(np.arange(1, 101, dtype=np.float32)) == 29


@pytest.mark.parametrize("share", [0.01, 1 / 3, 0.5, 0.99])
@pytest.mark.parametrize("pieces", [1, 3, 40])
def test_counts_over_any_cut_agree_with_sorting(share: float, pieces: int):
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(size=300), [0.0, -0.0, NAN, 1e-40, -1e30], np.full(50, 0.25)]).astype(np.float32)

    found = over_shards(Quantile(share), np.array_split(values, pieces))

    assert found == Quantile(share).of(values)


def test_missing_numbers_do_not_count():
    assert over_shards(Quantile(0.5), [np.float32([NAN, 1]), np.float32([NAN]), np.float32([3, 2])]) == 2


@pytest.mark.parametrize("values", [np.float32([]), np.float32([NAN, NAN])], ids=["empty", "all missing"])
def test_the_quantile_of_nothing_is_missing(values: np.ndarray):
    assert np.isnan(over_shards(Quantile(0.5), [values]))
    assert np.isnan(Quantile(0.5).of(values))
