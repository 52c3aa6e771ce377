"""Data-IQ: aleatoric uncertainty and its groups."""

import numpy as np

from curate.scorers.dynamics.data_iq import DataIQ
from curate.testing import shard_of

NAN = np.nan


def scored(p: np.ndarray, pieces: int = 1, **options) -> dict[str, np.ndarray]:
    parts = np.array_split(-np.log(p), pieces)
    shards = [shard_of({"dynamics.loss": part}) for part in parts]
    scorer, state = DataIQ(**options), None
    for _ in range(scorer.passes):
        state = scorer.merge([scorer.fit(shard, state) for shard in shards])
    found = [scorer.score(shard, state) for shard in shards]
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def test_the_uncertainty_of_three_presentations():
    found = scored(np.array([[0.2, 0.6, 0.9]]))

    np.testing.assert_allclose(found["score"], [0.163333], atol=1e-6)
    np.testing.assert_allclose(found["confidence"], [0.566667], atol=1e-6)


def test_uncertainty_and_variance_make_up_the_spread_of_a_coin():
    p = np.random.default_rng(7).random((50, 9))

    found = scored(p)

    mean = p.mean(axis=1)
    np.testing.assert_allclose(found["score"] + p.var(axis=1), mean * (1 - mean), rtol=1e-6)


def test_groups_agree_with_the_whole_column_however_it_is_cut():
    p = np.random.default_rng(8).beta(0.5, 0.5, size=(201, 4)) ** np.random.default_rng(9).random((201, 1))
    score, confidence = (p * (1 - p)).mean(axis=1).astype(np.float32), p.mean(axis=1)
    certain = score <= np.percentile(score, 50)
    expected = np.where(certain & (confidence >= 0.75), "easy", np.where(certain & (confidence <= 0.25), "hard", "ambiguous"))

    for pieces in (1, 7, 201):
        np.testing.assert_array_equal(scored(p, pieces)["group"], expected)
    assert set(expected) == {"easy", "hard", "ambiguous"}


def test_a_row_never_presented_is_in_no_group():
    found = scored(np.array([[NAN, NAN], [0.9, 0.9]]))

    assert np.isnan(found["score"][0]) and found["group"].tolist() == ["", "easy"]
