"""`curate.select`: what it refuses, in which order, and what it reports."""

import datasets
import numpy as np
import pytest

import curate
from curate.errors import ColumnError, DamagedStoreError, UsageError


@pytest.fixture
def data():
    return curate.load("sample:digits", limit=60)


@pytest.fixture
def scores(data, tmp_path):
    return curate.score(data, ["random", "other=random"], out=tmp_path / "scores")


def test_a_score_that_was_changed_on_disk_is_named_before_anything_is_chosen_by_it(data, scores):
    shard = scores.path / "random" / "part-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:-9] + b"x" * 9)

    with pytest.raises(DamagedStoreError, match=r'random.part-00000\.arrow" is damaged'):
        curate.select(data, scores.path, sampler="top", by="random", budget=5)
    with pytest.raises(DamagedStoreError, match="damaged"):
        curate.select(data, scores.path, where="random > 0.5")

    assert len(curate.select(data, scores.path, sampler="top", by="other", budget=5)) == 5


@pytest.mark.parametrize("by", ["rndom", "rank(rndom)", "column:lable", "image"])
def test_a_name_that_cannot_be_ranked_by_is_said_before_the_end_to_keep_is_asked_for(data, scores, by):
    with pytest.raises(ColumnError, match=r"rndom|lable|image"):
        curate.select(data, scores, sampler="top", by=by, budget=5)


@pytest.mark.parametrize(("sampler", "by", "message"), [("random", "other", '"random" reads no column'), ("top", None, '"top" ranks rows')])
def test_a_sampler_and_a_score_that_do_not_go_together_are_named(data, scores, sampler, by, message):
    with pytest.raises(UsageError, match=message):
        curate.select(data, scores if by else None, sampler=sampler, by=by, budget=5)


def test_a_filter_is_compared_with_a_random_pick_among_all_rows(data):
    half = curate.select(data, where="label < 5")

    expected = len(half) / len(data)
    assert half.report["candidates"] == 60 and half.report["overlap_expected"] == round(expected, 6)
    assert 0 < half.report["overlap_with_random"] < 1
    assert np.all(data.labels[half.rows] < 5)


@pytest.mark.parametrize(("keep", "kept"), [("low", (0, 25)), ("middle", (12, 37)), ("high", (25, 50))])
def test_a_band_of_perplexity_is_cut_within_each_source(keep, kept):
    rng = np.random.default_rng(0)
    table = {"source": ["wiki", "code"] * 50, "perplexity": rng.permutation(100) + np.array([0, 1000] * 50), "text": ["some text"] * 100}
    data = curate.load(datasets.Dataset.from_dict(table), input="text", label="source")

    chosen = curate.select(data, sampler="top", by="column:perplexity", keep=keep, budget=0.5, per_class=True).rows

    for source in (0, 1):
        rank = np.argsort(np.argsort(table["perplexity"][source::2]))
        assert sorted(rank[chosen[chosen % 2 == source] // 2]) == list(range(*kept))


def test_a_class_in_place_of_a_sampler_is_told_what_is_expected():
    with pytest.raises(UsageError, match=r"KCenter is a class; an instance is expected, KCenter\(\)"):
        curate.select(np.ones((9, 2), np.float32), sampler=curate.samplers.KCenter, budget=3)
