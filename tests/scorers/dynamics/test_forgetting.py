"""Forgetting events."""

from itertools import pairwise

import numpy as np
import pytest

from curate.scorers.dynamics.forgetting import NEVER_LEARNED, Forgetting
from curate.testing import shard_of

NAN = np.nan


def scored(history: list[list[float]], **options: str) -> dict[str, np.ndarray]:
    return dict(Forgetting(**options).score_rows(shard_of({"dynamics.correct": history})))


def test_events_are_falls_from_right_to_wrong():
    found = scored([[0, 1, 1, 0, 1, 0], [1] * 6, [0] * 6, [1, 1, 0, 1, 1, 1]])

    assert found["score"].tolist() == [2, 0, 6, 1]
    assert found["never_learned"].tolist() == [False, False, True, False]
    np.testing.assert_array_equal(found["first_learned"], [1, 0, NAN, 0])
    assert found["presentations_to_learn"].tolist() == [6, 0, 6, 3]


@pytest.mark.parametrize(("convention", "expected"), [("toneva", 3), ("inf", NEVER_LEARNED), ("zero", 0)])
def test_a_row_never_right_scores_by_convention(convention: str, expected: float):
    found = scored([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], convention=convention)

    assert found["score"].tolist() == [expected, 1]
    assert found["never_learned"].tolist() == [True, False]


def test_infinity_stays_finite_when_seeds_are_added():
    assert np.isfinite(np.float32(1000) * NEVER_LEARNED) and NEVER_LEARNED == int(NEVER_LEARNED)


def test_epochs_in_which_a_row_was_not_seen_are_no_events():
    found = scored([[1, NAN, 1, NAN], [NAN, 1, NAN, 0], [0, NAN, 0, NAN], [NAN] * 4])

    np.testing.assert_array_equal(found["score"], np.float32([0, 1, 2, NAN]))
    np.testing.assert_array_equal(found["first_learned"], [0, 0, NAN, NAN])
    np.testing.assert_array_equal(found["presentations_to_learn"], [0, 2, 2, NAN])
    assert found["never_learned"].tolist() == [False, False, True, False]


def test_half_of_the_visits_of_an_epoch_make_it_right():
    assert scored([[0.5, 0.25, 0.75, 0.0]])["score"] == 2


def test_events_agree_with_a_loop():
    rng = np.random.default_rng(6)
    history = np.where(rng.random((80, 15)) < 0.2, NAN, rng.random((80, 15)) < 0.6)

    naive = []
    for row in history:
        seen = row[~np.isnan(row)].tolist()
        naive.append(sum(a == 1 and b == 0 for a, b in pairwise(seen)) if 1 in seen else len(seen))

    assert scored(history.tolist())["score"].tolist() == naive
