"""infobatch: part of the rows with a low loss is left out, and the others of them count more."""

import numpy as np
import pytest
import torch

from curate.samplers import InfoBatch


def second_epoch(losses, **options):
    """The rows and weights of an epoch after one in which these losses were seen."""
    sampler = InfoBatch(len(losses), 10, **options)
    sampler.update(np.arange(len(losses)), torch.tensor(losses))
    sampler.set_epoch(1)
    rows = list(sampler)
    return rows, sampler.weight(rows).numpy()


def test_the_weights_add_up_to_the_number_of_rows():
    # mean .75: three rows are below it, round(.5 · 3) = 2 of them stay and weigh 1.5 each
    rows, weights = second_epoch([0.1, 0.2, 0.3, 2.4])

    assert len(rows) == 3
    assert 3 in rows
    assert weights.sum() == pytest.approx(4)
    assert sorted(weights.tolist()) == pytest.approx([1, 1.5, 1.5])


def test_the_official_code_falls_short():
    # int(.5 · 3) = 1 row stays, with weight 1 / .5
    rows, weights = second_epoch([0.1, 0.2, 0.3, 2.4], variant="code")

    assert sorted(weights.tolist()) == [1, 2]
    assert weights.sum() == 3
    assert len(rows) == 2


def test_only_rows_below_the_mean_are_dropped():
    # mean .8: rows 0, 1, 2
    for seed in range(20):
        rows, _ = second_epoch([0.1, 0.2, 0.3, 1.0, 2.4], seed=seed)

        assert {3, 4} < set(rows)
        assert len(rows) == 4


def test_the_weighted_sum_of_losses_is_that_of_all_rows_on_average():
    losses = np.random.default_rng(0).gamma(0.7, size=60).astype(np.float32)
    other = np.random.default_rng(1).normal(5, 2, size=60)  # any other number of the rows, their gradient say
    sampler = InfoBatch(60, 3000)
    sampler.update(np.arange(60), torch.from_numpy(losses))

    totals = []
    for epoch in range(1, 2001):
        sampler.set_epoch(epoch)
        rows = list(sampler)
        totals.append(float((other[rows] * sampler.weight(rows).numpy()).sum()))

    assert np.mean(totals) == pytest.approx(other.sum(), rel=0.004)  # more than four standard errors


@pytest.mark.parametrize("variant", ["fixed", "code"])
def test_the_first_epoch_and_the_last_ones_are_whole(variant):
    sampler = InfoBatch(50, 16, variant=variant)  # ⌊.875 · 16⌋ = 14
    losses = torch.from_numpy(np.random.default_rng(0).gamma(1.0, size=50))
    sizes = []
    for _ in range(16):
        rows = list(sampler)
        sampler.update(rows, losses[rows])
        sizes.append(len(rows))

    assert sizes[0] == sizes[14] == sizes[15] == 50
    assert max(sizes[1:14]) < 50
    assert set(sampler.weight(np.arange(50)).tolist()) == {1.0}


def test_equal_losses_drop_nobody():
    # float32 numbers all equal can lie below their own float64 mean by a rounding
    rows, weights = second_epoch([0.1] * 1001)

    assert len(rows) == 1001
    assert set(weights.tolist()) == {1.0}


def test_a_row_without_a_loss_stays():
    sampler = InfoBatch(6, 10)
    sampler.update([0, 1, 2, 3], torch.tensor([0.1, 0.1, 0.1, 5.0]))
    sampler.set_epoch(1)

    assert {3, 4, 5} < set(sampler)
