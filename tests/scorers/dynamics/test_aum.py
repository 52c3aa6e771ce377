"""AUM and its threshold rows."""

import numpy as np
import pytest

from curate.errors import InputError, OptionError
from curate.scorers.dynamics.aum import AUM, flag_by_threshold
from curate.testing import shard_of

NAN = np.nan


def test_the_first_presentation_is_left_out():
    shard = shard_of({"dynamics.m_logit": [[5.0, 1.0, 3.0], [5.0, NAN, 3.0], [NAN, 5.0, 3.0], [5.0, NAN, NAN]]})

    score = AUM().score(shard, None)["score"]

    # (1 + 3) / 2; only 3 was seen later, in two ways; nothing was seen later
    np.testing.assert_array_equal(score, np.float32([2.0, 3.0, 3.0, NAN]))


def test_the_papers_mean_is_over_all_presentations_and_a_batch_of_one_works():
    score = AUM(skip=0).score(shard_of({"dynamics.m_logit": [[1.26, 1.15]]}), None)["score"]

    np.testing.assert_allclose(score, [1.205], rtol=1e-6)


THRESHOLDS = np.arange(1.0, 101.0)


@pytest.mark.parametrize(("area", "flagged"), [(98.5, True), (99.0, False), (99.5, False), (NAN, False)])
def test_a_row_is_flagged_if_more_than_one_in_a_hundred_threshold_rows_surpass_it(area: float, flagged: bool):
    aum, is_threshold = np.append(THRESHOLDS, area), np.append(np.ones(100, bool), False)

    found = flag_by_threshold(aum, is_threshold)

    assert found.tolist() == [False] * 100 + [flagged]


def test_flags_agree_with_the_fraction_written_out():
    rng = np.random.default_rng(4)
    aum, is_threshold = np.round(rng.normal(size=400), 1), rng.random(400) < 0.3
    threshold = aum[is_threshold]

    naive = [not extra and (threshold > area).mean() > 0.05 for area, extra in zip(aum, is_threshold, strict=True)]

    assert flag_by_threshold(aum, is_threshold, 0.05).tolist() == naive


def test_flags_without_a_threshold_row_are_refused():
    with pytest.raises(InputError, match="no threshold row"):
        flag_by_threshold(np.ones(3), np.zeros(3, bool))


@pytest.mark.parametrize("pieces", [1, 4])
def test_the_scorer_flags_as_the_function_does_whatever_the_shards(pieces: int):
    rng = np.random.default_rng(5)
    margin, label = rng.normal(size=(300, 4)), rng.integers(0, 4, 300)
    parts = np.array_split(np.arange(300), pieces)
    shards = [shard_of({"dynamics.m_logit": margin[part], "label": label[part]}, rows=part) for part in parts]
    scorer, state = AUM(threshold_class=3), None
    for _ in range(scorer.passes):
        state = scorer.merge([scorer.fit(shard, state) for shard in shards])

    found = [scorer.score(shard, state) for shard in shards]

    area = np.concatenate([part["score"] for part in found])
    flagged = np.concatenate([part["flagged"] for part in found])
    assert flagged.any() and not flagged.all()
    np.testing.assert_array_equal(flagged, flag_by_threshold(area, label == 3))


def test_a_threshold_class_that_no_row_bears_is_an_error():
    scorer, state = AUM(threshold_class=9, skip=0), None
    shard = shard_of({"dynamics.m_logit": [[1.0]], "label": [0]})
    for _ in range(scorer.passes):
        state = scorer.merge([scorer.fit(shard, state)])

    with pytest.raises(OptionError, match="threshold_class 9 is the label of no row"):
        scorer.score(shard, state)
