"""Dyn-Unc: spread within windows."""

import numpy as np
import pytest

from curate.scorers.dynamics.dyn_unc import DynUnc
from curate.testing import shard_of

NAN = np.nan


def scored(p: list[list[float]], **options) -> np.ndarray:
    scorer = DynUnc(**options).settle(np.shape(p)[1])
    return scorer.score_rows(shard_of({"dynamics.loss": -np.log(p)}))["score"]


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("fixed", (0.351188 + 0.152753) / 2), ("code", 10 * 0.351188)],
)
def test_windows_are_averaged_and_the_code_scales_and_drops_the_last(variant: str, expected: float):
    assert scored([[0.2, 0.6, 0.9, 0.7]], window=3, variant=variant) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("variant", ["fixed", "code"])
def test_windows_advance_only_when_the_row_was_seen(variant: str):
    score = scored([[0.2, NAN, 0.6, 0.9, NAN, 0.7], [0.2, 0.6, 0.9, 0.7, NAN, NAN]], window=3, variant=variant)

    assert score[0] == score[1] == scored([[0.2, 0.6, 0.9, 0.7]], window=3, variant=variant)


def test_a_row_with_fewer_presentations_than_a_window_has_no_score():
    score = scored([[0.2, 0.6, NAN, NAN], [NAN] * 4, [0.5] * 4], window=3)

    np.testing.assert_array_equal(score, np.float32([NAN, NAN, 0]))
