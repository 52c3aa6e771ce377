"""Exact and near-duplicates through a store, and out of a selection."""

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.errors import ColumnError, OptionError
from curate.testing import check_scorer

WORDS = np.array([f"word{i}" for i in range(3000)])


@pytest.fixture(scope="module")
def data():
    """60 texts; 60 … 63 are rows 5, 5, 9 and 30 with two words changed; 64 is row 7 spaced otherwise; two are empty, two too short."""
    texts = [" ".join(np.random.default_rng(i).choice(WORDS, 80)) for i in range(60)]
    for of in (5, 5, 9, 30):
        words = texts[of].split()
        words[len(texts) % 40 + 3] = words[-1] = f"other{len(texts)}"
        texts.append(" ".join(words))
    texts += [texts[7].replace(" ", "  ") + "\n", "", "", "too short", "too short"]
    return curate.load(pa.table({"text": texts, "label": [i % 2 for i in range(len(texts))]}))


def test_copies_are_found_with_the_lowest_row_kept(data, tmp_path):
    scores = curate.score(data, ["exact_duplicates", "minhash"], out=tmp_path / "s", max_failures=0.1)

    assert np.flatnonzero(scores["exact_duplicates.is_duplicate"]).tolist() == [64, 68]
    assert np.flatnonzero(scores["minhash.is_duplicate"]).tolist() == [60, 61, 62, 63, 64]
    assert scores["minhash.component"][[5, 9, 30, 7, 60, 61, 62, 63, 64]].tolist() == [5, 9, 30, 7, 5, 5, 9, 30, 7]
    assert scores["minhash"][5] == 3 and scores["minhash"][0] == 1 and scores["exact_duplicates"][7] == 2


def test_a_filter_leaves_them_out(data, tmp_path):
    scores = curate.score(data, ["exact_duplicates", "minhash"], out=tmp_path / "s", max_failures=0.1)

    kept = curate.select(data, scores, where="not minhash.is_duplicate and not exact_duplicates.is_duplicate")

    assert sorted(set(range(69)) - set(kept.rows.tolist())) == [60, 61, 62, 63, 64, 68]


@pytest.mark.parametrize("spec", ["minhash", "minhash:threshold=0.8", "minhash:ngram=2,bands=20,rows=5", "exact_duplicates"])
def test_neither_shards_nor_workers_nor_seeds_change_anything(data, tmp_path, spec):
    name = spec.partition(":")[0]
    one = curate.score(data, [spec], out=tmp_path / "one", max_failures=0.1)
    many = curate.score(data, [spec], out=tmp_path / "many", max_failures=0.1, shard_rows=5, seeds=2)

    for column in ("score", "component", "is_duplicate"):
        np.testing.assert_array_equal(many[f"{name}.{column}"], one[f"{name}.{column}"])
    assert many[f"{name}.component"].dtype == np.int64


def test_a_threshold_asks_for_more_likeness(data, tmp_path):
    strict = curate.score(data, ["minhash:threshold=0.99"], out=tmp_path / "s", max_failures=0.1)

    assert np.flatnonzero(strict["minhash.is_duplicate"]).tolist() == [64]


def test_images_are_compared_by_content(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (12, 8, 8), dtype=np.uint8)
    pixels[11] = pixels[3]

    scores = curate.score((pixels, np.arange(12) % 2), ["exact_duplicates"], out=tmp_path / "s")

    assert np.flatnonzero(scores["exact_duplicates.is_duplicate"]).tolist() == [11]
    with pytest.raises(ColumnError, match="reads text"):
        curate.score((pixels, np.arange(12) % 2), ["minhash"], out=tmp_path / "t")


@pytest.mark.parametrize("bad", ["bands=0", "ngram=0", "threshold=1.5", "rows=2000"])
def test_options_that_mean_nothing_are_refused(data, tmp_path, bad):
    with pytest.raises(OptionError, match=f"minhash: {bad.partition('=')[0]}"):
        curate.score(data, [f"minhash:{bad}"], out=tmp_path / "s")


@pytest.mark.parametrize("spec", ["minhash:ngram=2", "exact_duplicates"])
def test_the_contract_is_kept(spec):
    check_scorer(spec)
