"""Several methods judge a label, and the list of doubted ones goes through a person's hands into a selection."""

import csv

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

import curate
from curate.cli import cli
from curate.decisions import COLUMNS, read_decisions
from curate.errors import ColumnError, UsageError
from curate.index.linear_probe import out_of_fold, out_of_fold_sets
from curate.label_issues import Vote, consensus, likeliest_other, votes_of_probabilities, write_issues
from curate.stages.auditing import audit

NAN = np.nan


def a_vote(name, hardness, doubts=None):
    return Vote(name, np.array(hardness, float), None if doubts is None else np.array(doubts, bool))


def test_suspicion_is_the_mean_of_the_mean_rank_and_the_share_of_votes():
    votes = [a_vote("a", [0, 5, 9], [0, 1, 1]), a_vote("b", [3, 1, 2], [0, 0, 1]), a_vote("c", [1, 1, 1])]

    found = consensus(votes)

    # ranks a 0 .5 1, b 1 0 .5, c .5 .5 .5; votes 0, 1, 2 of 2
    np.testing.assert_allclose(found.suspicion, [(0.5 + 0) / 2, (1 / 3 + 0.5) / 2, (2 / 3 + 1) / 2])
    assert found.votes.tolist() == [0, 1, 2] and found.judges == 2
    assert found.rows.tolist() == [2, 1] and found.order.tolist() == [2, 1, 0]


def test_without_an_opinion_a_method_is_left_out_of_the_row():
    found = consensus([a_vote("a", [NAN, 1, NAN, 0], [0, 1, 0, 0]), a_vote("b", [2, 1, NAN, 0], [1, 1, 0, 0])])

    np.testing.assert_allclose(found.suspicion, [(1 + 0.5) / 2, (0.75 + 1) / 2, NAN, 0])
    assert found.order.tolist() == [1, 0, 3]


def test_methods_that_only_order_list_nothing():
    found = consensus([a_vote("el2n", [0.1, 0.9])])

    assert found.order.tolist() == [1, 0] and len(found.rows) == 0


def test_probabilities_cast_two_votes():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8], [0.4, 0.6], [0.85, 0.15], [NAN, NAN]], np.float32)
    labels = np.array([0, 0, 0, 1, 1, 1, 0])

    confident, predicted = votes_of_probabilities(p, labels)

    assert np.flatnonzero(confident.doubts).tolist() == np.flatnonzero(predicted.doubts).tolist() == [2, 5]
    np.testing.assert_allclose(predicted.hardness, [0.1, 0.2, 0.7, 0.2, 0.4, 0.85, NAN], atol=1e-6)
    assert likeliest_other(p, labels)[:6].tolist() == [1, 1, 1, 0, 0, 0]


@pytest.fixture(scope="module")
def flipped():
    """300 digits, of which every fifteenth bears the next digit's label."""
    data = curate.load("sample:digits", limit=300)
    wrong = np.arange(0, 300, 15)
    labels = data.labels.copy()
    labels[wrong] = (labels[wrong] + 1) % 10
    images = np.stack([np.asarray(image) for image in data.images(0, 300)])
    return curate.load((images, labels)), set(wrong.tolist()), data.labels


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_audit_leaves_a_list_that_decisions_can_be_written_into(flipped, tmp_path):
    data, wrong, right = flipped

    found = audit(data, out=tmp_path / "a")

    lines = read(tmp_path / "a" / "label_issues.csv")
    assert tuple(lines[0])[:4] == COLUMNS and len(lines) == found.facts["doubted_labels"]
    top = [int(line["row"]) for line in lines[:15]]
    assert len(set(top) & wrong) >= 13
    assert np.mean([line["suggested"] == data.label_names[right[int(line["row"])]] for line in lines[:15]]) >= 0.8
    assert lines[0]["votes"] == lines[0]["judges"] == "4"
    assert set(np.flatnonzero(found.found["label_issue"]).tolist()) <= {int(line["row"]) for line in lines}
    assert read_decisions(tmp_path / "a" / "label_issues.csv", data).about() | {"digest": ""} == {
        "dropped": 0,
        "fixed": 0,
        "kept": 0,
        "digest": "",
    }


def test_a_filled_list_is_applied_by_export(flipped, tmp_path, monkeypatch):
    data, wrong, _ = flipped
    monkeypatch.chdir(tmp_path)
    data.table.to_parquet("train.parquet")
    scores = curate.score("train.parquet", ["aum", "datamap", "confident"], out="scores", epochs=3)
    call = ["report", "scores", "--data", "train.parquet", "-o", "page.html", "--issues", "issues.csv"]
    made = CliRunner().invoke(cli, call, catch_exceptions=False)
    assert made.exit_code == 0, made.output

    lines = read("issues.csv")
    assert list(lines[0])[4:] == ["suspicion", "votes", "judges", "confident", "aum", "datamap", "out_of_fold"]
    assert len({int(line["row"]) for line in lines[:10]} & wrong) >= 7
    for line in lines:
        line["decision"] = "fix"
    with open("issues.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    curate.select("train.parquet", scores, sampler="top", by="aum", budget=300, out="chosen", rows_only=True)
    call = ["export", "chosen", "--data", "train.parquet", "--decisions", "issues.csv", "--format", "parquet", "--out", "fixed"]
    assert CliRunner().invoke(cli, call, catch_exceptions=False).exit_code == 0
    fixed = curate.load("fixed")
    assert (np.sort(fixed.labels) != np.sort(data.labels)).any() and len(fixed) == 300


def test_a_list_without_a_judge_is_refused(flipped, tmp_path):
    data, _, _ = flipped
    curate.score(data, ["random"], out=tmp_path / "s")

    with pytest.raises(UsageError, match="a score that judges them"):
        curate.report(tmp_path / "s", tmp_path / "p.html", data=data, issues=tmp_path / "i.csv")
    assert not (tmp_path / "p.html").exists()


def test_the_user_s_id_travels_along(tmp_path):
    table = pa.table({"key": ["x", "y", "z"], "text": ["one", "two", "three"], "label": [0, 1, 0]})
    data = curate.load(table, input="text", label="label", id="key")

    n = write_issues(tmp_path / "i.csv", data, consensus([a_vote("a", [0, 2, 1], [0, 1, 1])]))

    assert n == 2
    assert [(line["row"], line["id"], line["given"], line["suggested"]) for line in read(tmp_path / "i.csv")] == [
        ("1", "y", "1", ""),
        ("2", "z", "0", ""),
    ]


def sets_of(cells, kind=None):
    table = pa.table({"text": [f"row {i}" for i in range(len(cells))], "tags": pa.array(cells, kind)})
    return curate.load(table, input="text", label="tags")


def test_lists_of_labels_are_read_as_sets():
    data = sets_of([["b", "a"], [], None, ["a", None]])

    sets = data.label_sets

    assert data.has_label_sets and sets.names == ("a", "b")
    assert sets.member.tolist() == [[True, True], [False, False], [False, False], [True, False]]
    assert sets.known.tolist() == [True, True, False, True]
    with pytest.raises(ColumnError, match=r"several labels a row.*curate audit"):
        data.labels  # noqa: B018
    with pytest.raises(ColumnError, match="empty or missing"):
        sets_of([[], None], pa.list_(pa.string())).label_sets  # noqa: B018
    with pytest.raises(ColumnError, match="looks like an id"):
        sets_of([[f"word {i}"] for i in range(40)]).label_sets  # noqa: B018


def test_the_probe_of_two_answers_is_that_of_two_classes():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    x = (rng.normal(size=(200, 4)) + y[:, None]).astype(np.float32)
    known = rng.random(200) < 0.9

    sets = out_of_fold_sets(x, y[:, None] == 1, known)

    np.testing.assert_allclose(sets[:, 0], out_of_fold(x, np.where(known, y, -1), 2)[:, 1], atol=1e-5)


def test_an_audit_judges_several_labels_a_row(tmp_path):
    """Points in two independent halves, left or right and up or down; ten of them lack the word for where they plainly are."""
    rng = np.random.default_rng(0)
    place = rng.choice([-1.0, 1.0], (400, 2))
    tags = [[word for word, side in zip(("right", "up"), one, strict=True) if side > 0] for one in place]
    lacking = np.flatnonzero((place > 0).all(axis=1))[:10].tolist()
    for row in lacking:
        tags[row].remove("up")
    vectors = (place + rng.normal(0, 0.2, (400, 2))).astype(np.float32)
    table = pa.table({"x": pa.array(vectors.tolist(), pa.list_(pa.float32())), "tags": tags, "id": [f"n{i}" for i in range(400)]})

    found = audit(curate.load(table, input="x", label="tags", id="id"), out=tmp_path / "a")

    assert np.flatnonzero(found.found["label_issue"]).tolist() == lacking
    lines = read(tmp_path / "a" / "label_issues.csv")
    assert sorted(int(line["row"]) for line in lines[:10]) == lacking
    assert [lines[0][name] for name in ("given", "suggested", "remove", "add")] == ["right", "right; up", "", "up"]
    assert "<th>bears</th>" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert lines[0]["id"] == f"n{lines[0]['row']}" and found.facts["classes"]["up"] == (place[:, 1] > 0).sum() - 10
