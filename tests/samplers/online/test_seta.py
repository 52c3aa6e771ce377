"""seta: a window that slides from easy to hard groups of losses."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from curate.samplers import SeTa
from curate.samplers.online.seta import group_edges


def windows(epochs, **options):
    """The groups (losses 0, 0.1 … within group 0, 100, 100.1 … within group 1, …) that each epoch presents."""
    losses = torch.tensor([100.0 * group + 0.1 * i for group in range(10) for i in range(4)])
    sampler = SeTa(40, epochs, **options)
    found = []
    for _ in range(epochs):
        rows = list(sampler)
        sampler.update(rows, losses[rows])
        found.append(sorted({row // 4 for row in rows}))
    return found


def test_the_window_slides_from_easy_to_hard_and_over_again():
    found = windows(16)

    assert found[0] == list(range(10))
    assert found[1:6] == [[1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [3, 4, 5, 6, 7], [4, 5, 6, 7, 8], [5, 6, 7, 8, 9]]
    assert found[6] == [0, 1, 2, 3, 4]
    assert found[14] == found[15] == list(range(10))  # ⌊.875 · 16⌋ = 14: the rest of the run sees everything


@pytest.mark.parametrize(("groups", "window", "width"), [(10, 0.5, 5), (5, 0.9, 4), (5, 0.6, 3)])
def test_the_width_is_rounded_as_in_the_official_code(groups, window, width):
    assert SeTa(100, 10, groups=groups, window=window).width == width


def test_a_share_is_dropped_in_every_epoch():
    sampler = SeTa(40, 16, share=0.25)

    assert len(list(sampler)) == 30
    sampler.update(range(40), torch.arange(40.0))
    sampler.set_epoch(15)
    assert len(list(sampler)) == 30


@pytest.mark.parametrize("seed", range(5))
def test_the_groups_are_the_best_there_are(seed):
    values = np.sort(np.random.default_rng(seed).gamma(0.5, size=14))

    def spread(edges):
        return sum(((values[a:b] - values[a:b].mean()) ** 2).sum() for a, b in pairwise(edges))

    best = min(spread([0, *cuts, 14]) for cuts in combinations(range(1, 14), 3))

    assert spread(group_edges(values, 4)) == pytest.approx(best)


def test_many_losses_are_grouped_nearly_as_well_by_cells():
    values = np.sort(np.concatenate([np.random.default_rng(i).normal(10 * i, 0.5, 3000) for i in range(5)]))

    np.testing.assert_allclose(group_edges(values, 5), np.arange(6) * 3000, atol=3000 * 5 / 1024)


def test_fewer_losses_than_groups_are_cut_into_equal_parts():
    assert group_edges(np.zeros(10), 5).tolist() == [0, 2, 4, 6, 8, 10]
    assert group_edges(np.array([1.0]), 1).tolist() == [0, 1]


def test_a_row_without_a_loss_counts_as_the_hardest():
    sampler = SeTa(10, 20, groups=2, window=0.5)
    sampler.update(range(8), torch.tensor([0.0] * 7 + [1.0]))
    sampler.set_epoch(1)  # the second of two windows of one group

    assert set(sampler) == {7, 8, 9}
