"""Exact and near-duplicates through a store, and out of a selection."""

import itertools
import json
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.errors import ColumnError, InputError, MissingExtraError, OptionError, OtherJobError
from curate.stages.showing import describe
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


class Matrix:
    def __init__(self, rows):
        self.rows = rows

    def to_rows(self):
        return self.rows


class RMinHash:
    """rensa's one function that we call, naively."""

    @staticmethod
    def digest_matrix_from_flat_token_hashes(hashes, bounds, count, seed):
        spread = [np.uint64(2 * j + 1) for j in range(count)]
        rows = [[int((hashes[a:b] * odd >> np.uint64(32)).min()) for odd in spread] for a, b in itertools.pairwise(bounds)]
        return Matrix(rows)


@pytest.fixture
def install(monkeypatch):
    """Says which rensa is installed, None for none."""

    def version(given):
        monkeypatch.setattr("curate.scorers.duplicates.minhash.rensa_version", lambda: given)
        monkeypatch.setitem(sys.modules, "rensa", SimpleNamespace(RMinHash=RMinHash))

    return version


def made_by(store):
    return json.loads((store / "manifest.json").read_text())["tables"]["minhash"]["about"]["options"].get("backend")


def test_rensa_makes_the_signatures_where_it_is_installed_and_is_recorded(data, tmp_path, install):
    install("0.5.0")
    scores = curate.score(data, ["minhash"], out=tmp_path / "s", max_failures=0.1)
    curate.score(data, ["minhash:backend=numpy"], out=tmp_path / "t", max_failures=0.1)

    assert np.flatnonzero(scores["minhash.is_duplicate"]).tolist() == [60, 61, 62, 63, 64]
    assert (made_by(tmp_path / "s"), made_by(tmp_path / "t")) == ("rensa 0.5.0", None)


def test_a_store_that_rensa_began_is_not_gone_on_with_without_it(data, tmp_path, install):
    install("0.5.0")
    curate.score(data, ["minhash"], out=tmp_path / "s", max_failures=0.1, shard="1/2", shard_rows=9)

    install(None)
    with pytest.raises(MissingExtraError, match=r"of this store are rensa's, which is not installed here.*curatekit\[minhash\]"):
        curate.score(data, ["minhash"], out=tmp_path / "s", max_failures=0.1, shard="2/2", shard_rows=9)
    with pytest.raises(OtherJobError, match=r"made otherwise \(.*backend"):
        curate.score(data, ["minhash:backend=numpy"], out=tmp_path / "s", max_failures=0.1)
    install("0.6.1")
    with pytest.raises(OtherJobError, match=r"rensa 0\.5\.0"):
        curate.score(data, ["minhash"], out=tmp_path / "s", max_failures=0.1)


def test_a_store_stopped_before_its_first_shard_says_so_and_keeps_what_was_decided(data, tmp_path, install, monkeypatch):
    install("0.5.0")
    monkeypatch.setattr("curate.stages.score_job.Job._score_all", lambda *_: None)
    scores = curate.score(data, ["minhash"], out=tmp_path / "s")

    assert made_by(tmp_path / "s") == "rensa 0.5.0" and describe(tmp_path / "s")["scores"][0]["rows"] == 0
    with pytest.raises(InputError, match=r"stopped before anything of .minhash. was written"):
        scores["minhash"]


def test_a_store_that_numpy_began_is_gone_on_with_by_numpy(data, tmp_path, install):
    install(None)
    curate.score(data, ["minhash"], out=tmp_path / "s", max_failures=0.1, shard="1/2", shard_rows=9)

    install("0.5.0")
    curate.score(data, ["minhash"], out=tmp_path / "s", max_failures=0.1)

    assert made_by(tmp_path / "s") is None


def test_rensa_that_is_asked_for_and_missing_is_named(data, tmp_path, install):
    install(None)

    with pytest.raises(MissingExtraError, match=r"that were asked for are rensa's"):
        curate.score(data, ["minhash:backend=rensa"], out=tmp_path / "s")
