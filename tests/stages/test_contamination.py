"""A planted leak goes from the score to the card, the report and the rows that are kept."""

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.cards import _leak
from curate.stages import exporting, reporting
from curate.stages.contamination import decrease, found


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """2,000 texts, 5 % of which hold a row of an evaluation set somewhere; and their scores."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(2000)])
    goal = [" ".join(rng.choice(words, 30)) for _ in range(100)]
    texts, leaked = [], np.zeros(2000, bool)
    leaked[rng.choice(2000, 100, replace=False)] = True
    for i in range(2000):
        text = " ".join(rng.choice(words, rng.integers(20, 120)))
        texts.append(f"{text[: len(text) // 2]}; {goal[i % 100].upper()}, {text[len(text) // 2 :]}" if leaked[i] else text)
    data = curate.load(pa.table({"text": texts}))
    folder = tmp_path_factory.mktemp("planted")
    scores = curate.score(data, ["contamination", "lexical"], target=pa.table({"text": goal}), out=folder / "scores")
    return data, scores, leaked


def test_what_was_planted_is_found_and_no_clean_text_is_accused(planted):
    _, scores, leaked = planted

    hits = scores["contamination.hits"] > 0

    assert hits[leaked].mean() >= 0.95 and not hits[~leaked].any()
    (record,) = found(scores, np.flatnonzero(leaked)[:7])
    assert record["rows"] == 100 and record["kept"] == 7 and record["kept_longest"] >= 30 and record["against_rows"] == 100


def test_the_card_says_what_was_kept_of_it(planted, tmp_path):
    data, scores, _ = planted

    clean = curate.select(data, scores, where="contamination.hits == 0", out=tmp_path / "clean")
    some = curate.select(data, scores, sampler="random", budget=1000, out=tmp_path / "some")

    assert "100 rows of the source share a run of 13 words" in (tmp_path / "clean" / "README.md").read_text()
    assert "; 0 of them are kept." in (tmp_path / "clean" / "README.md").read_text()
    kept = some.report["contamination"][0]["kept"]
    assert 20 < kept < 80 and f"{kept} of them are kept, with runs of up to" in (tmp_path / "some" / "README.md").read_text()
    assert clean.report["contamination"][0]["kept"] == 0


def test_a_card_of_texts_says_where_nobody_looked(planted, tmp_path):
    data, scores, _ = planted
    curate.select(data, sampler="random", budget=10, out=tmp_path / "some")

    assert "Not checked against any evaluation set" in (tmp_path / "some" / "README.md").read_text()
    exporting.export(tmp_path / "some", out=tmp_path / "out", scores=scores)
    assert "of them are kept" in (tmp_path / "out" / "README.md").read_text()


def test_the_report_shows_the_worst(planted, tmp_path):
    data, scores, _ = planted
    kept = curate.select(data, scores, sampler="random", budget=1000)

    page = reporting.report(scores.path, tmp_path / "r.html", data=data, selection=kept).read_text()

    assert "Contamination" in page and "100 rows share a run of 13 words" in page and "Of the rows kept" in page


def test_of_leakage_the_statistic_is_told():
    told = {"score": "leakage", "method": "leakage", "model": "a_b", "accuracy": 0.6, "rows": 12, "kept": 3}

    assert decrease(np.array([0.5, 0.7, np.nan]), np.array([0.3, 0.3])) == 50
    assert decrease(np.zeros(2), np.ones(2)) == 0
    line = _leak({**told, "reference_accuracy": 0.3, "decrease": 50.0})
    assert r"a\_b" in line and "60.0% of places, 30.0% of the reference (a decrease of 50.0 %); 12 rows" in line
