"""Data maps: the three coordinates and the regions."""

import numpy as np
import pytest

from curate.scorers.dynamics.datamap import DataMap
from curate.testing import shard_of

NAN = np.nan


def scored(p: np.ndarray, correct: np.ndarray | None = None, **options) -> dict[str, np.ndarray]:
    p = np.asarray(p)
    right = p >= 0.5 if correct is None else correct
    with np.errstate(invalid="ignore"):
        columns = {"dynamics.loss": -np.log(p), "dynamics.correct": np.where(np.isnan(p), NAN, right)}
    scorer, shard, state = DataMap(**options).settle(p.shape[1]), shard_of(columns), None
    for _ in range(scorer.passes):
        state = scorer.merge([scorer.fit(shard, state)])
    return dict(scorer.score(shard, state))


def test_the_coordinates_of_three_presentations():
    found = scored([[0.2, 0.6, 0.9]])

    assert found["score"] == found["confidence"] == pytest.approx(0.566667, abs=1e-6)
    assert found["variability"] == pytest.approx(0.286744, abs=1e-6)  # population; the sample one is .351188
    assert found["correctness"] == 2
    assert found["threshold_closeness"] == pytest.approx(0.566667 * 0.433333, abs=1e-6)


def test_the_confidence_interval_widens_the_variability():
    assert scored([[0.2, 0.6, 0.9]], include_ci=True)["variability"] == pytest.approx(0.292579, abs=1e-6)


def test_one_presentation_has_no_variability_and_no_interval():
    assert scored([[0.5]], include_ci=True)["variability"] == 0


def test_burn_out_reads_the_first_presentations_of_each_row():
    found = scored([[0.2, 0.6, 0.9], [NAN, 0.2, 0.6]], burn_out=2)

    np.testing.assert_allclose(found["confidence"], [0.4, 0.4], rtol=1e-6)
    assert found["correctness"].tolist() == [1, 1]


def test_regions_are_the_most_variable_third_and_the_rest_by_the_likelier_side():
    found = scored([[0.9, 0.9], [0.1, 0.9], [0.1, 0.1], [0.95, 0.9], [0.2, 0.8], [0.05, 0.1], [NAN, NAN]])

    assert found["region"].tolist() == ["easy", "ambiguous", "hard", "easy", "ambiguous", "hard", ""]


def test_ties_at_the_border_stay_out_of_the_ambiguous_region():
    found = scored(np.full((6, 3), 0.75))

    assert found["region"].tolist() == ["easy"] * 6


def test_a_row_never_presented_has_no_coordinates():
    found = scored([[NAN, NAN], [0.5, 0.5]])

    assert all(np.isnan(found[name][0]) for name in found if name != "region")
