"""rs2: a fresh random subset in every epoch."""

import numpy as np
import pytest

from curate.samplers import RS2


def test_one_order_is_walked_and_a_new_one_begun_when_it_ends():
    sampler = RS2(5, 5, share=0.4)

    walked = [list(sampler) for _ in range(5)]

    # 10 rows are two orders of five: epochs take places 0-1, 2-3, 4 and 0', 1'-2', 3'-4'
    assert {len(rows) for rows in walked} == {2}
    together = [row for rows in walked for row in rows]
    assert sorted(together[:5]) == sorted(together[5:]) == [0, 1, 2, 3, 4]
    assert together[:5] != together[5:]


def test_every_row_comes_once_in_as_many_epochs_as_the_share_needs():
    sampler = RS2(1000, 10, share=0.1)

    assert sorted(row for _ in range(10) for row in sampler) == list(range(1000))
    assert sampler.saved == pytest.approx(0.9)


def test_with_replacement_epochs_are_drawn_from_all_rows():
    sampler = RS2(1000, 10, share=0.1, replacement=True)

    epochs = [set(sampler) for _ in range(10)]

    assert all(len(rows) == 100 for rows in epochs)  # within an epoch each row once
    covered = len(set.union(*epochs)) / 1000
    assert covered == pytest.approx(1 - 0.9**10, abs=0.05)


def test_each_row_is_as_likely_as_any_other():
    counts = np.bincount([row for seed in range(400) for row in RS2(10, 1, share=0.3, seed=seed)], minlength=10)

    np.testing.assert_allclose(counts / 400, 0.3, atol=0.1)  # four standard errors
