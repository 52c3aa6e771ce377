"""`--target DATA`: a set that scorers compare rows with."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner

import curate
from curate.cli import cli
from curate.errors import ColumnError, OptionError, OtherJobError, UsageError
from curate.progress import Silent
from curate.scores import Scores
from curate.testing import check_scorer


class Longer:
    """By how many characters a text is longer than the mean text of the target, over the mean text of the rows."""

    requires = ("text", "target.text")
    hard_sign, keep, passes, combine, version = 0, "high", 1, "mean", 1
    calls: list[int] = []

    def settle(self, epochs):
        return self

    def fit_target(self, shard):
        return {"sum": np.array([sum(map(len, shard["target.text"])), len(shard)])}

    def merge_target(self, states):
        return {"sum": np.sum([state["sum"] for state in states], axis=0)}

    def fit(self, shard, state):
        self.calls.append(len(shard))
        assert "target.sum" in state
        return {"sum": np.array([sum(map(len, shard["text"])), len(shard)])}

    def merge(self, states):
        return {"sum": np.sum([state["sum"] for state in states], axis=0)}

    def conclude(self, state):
        return {"target_rows": int(state["target.sum"][1])}

    def score(self, shard, state):
        lengths = np.array([len(text) for text in shard["text"]])
        means = [state[name][0] / state[name][1] for name in ("target.sum", "sum")]
        return {"score": ((lengths - means[0]) / means[1]).astype(np.float32)}


class Shared(Longer):
    """Whether a text stands in the target."""

    passes = 0

    def fit_target(self, shard):
        return {"texts": np.array(list(shard["target.text"]))}

    def merge_target(self, states):
        return {"texts": np.concatenate([state["texts"] for state in states])}

    def score(self, shard, state):
        self.calls.append(len(shard))
        return {"score": np.isin(shard["text"].astype(str), state["target.texts"]).astype(np.float32)}

    def conclude(self, state):
        return {}


def texts(*cells):
    return curate.load(pa.table({"text": list(cells)}))


ROWS = ("a", "bb", "cccc", "d")


@pytest.mark.parametrize("scorer", [Longer, Shared])
def test_a_scorer_of_a_target_passes_the_kit(scorer):
    check_scorer(scorer)


def test_the_target_is_in_every_state_and_facts_are_kept(tmp_path):
    scores = curate.score(texts(*ROWS), [Longer()], target=texts("aaa", "a"), out=tmp_path / "s", shard_rows=2)

    # the target's mean is 2, the rows' own is 2
    assert scores["longer"].tolist() == [-0.5, 0, 1, -0.5]
    assert scores.about("longer")["result"]["facts"] == {"target_rows": 2}
    assert scores.about("longer")["target"]["rows"] == 2


def test_another_target_needs_another_name(tmp_path):
    curate.score(texts(*ROWS), [Longer()], target=texts("aaa"), out=tmp_path / "s")

    with pytest.raises(OtherJobError, match="target"):
        curate.score(texts(*ROWS), [Longer()], target=texts("bbb"), out=tmp_path / "s")


def test_a_damaged_shard_is_made_again_to_the_same_bytes(tmp_path):
    curate.score(texts(*ROWS), [Longer()], target=texts("aaa"), out=tmp_path / "s", shard_rows=2)
    whole = {p: p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file() and p.name not in ("log.jsonl", ".lock")}
    (tmp_path / "s/longer/part-00001.arrow").unlink()

    curate.score(texts(*ROWS), [Longer()], target=texts("aaa"), out=tmp_path / "s", shard_rows=2)

    assert all(p.read_bytes() == content for p, content in whole.items())


def test_parts_come_to_the_same_bytes(tmp_path):
    arguments = {"scorers": [Longer()], "target": texts("aaa"), "shard_rows": 1}
    curate.score(texts(*ROWS), out=tmp_path / "whole", **arguments)
    for part in ("1/2", "2/2", None):
        curate.score(texts(*ROWS), out=tmp_path / "parts", shard=part, **arguments)

    for path in (tmp_path / "whole").rglob("*.*"):
        if path.is_file() and path.name not in ("log.jsonl", ".lock"):
            assert (tmp_path / "parts" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes(), path.name


def test_scores_of_unchanged_rows_are_taken_over_only_where_the_target_is_the_same(tmp_path):
    curate.score(texts(*ROWS), [Shared()], target=texts("a"), out=tmp_path / "old")
    Shared.calls.clear()

    curate.score(texts("bb", "e"), [Shared()], target=texts("a"), from_store=tmp_path / "old", out=tmp_path / "new")
    curate.score(texts("bb", "e"), [Shared()], target=texts("e"), from_store=tmp_path / "old", out=tmp_path / "other")

    assert Shared.calls == [1, 2] and Scores.open(tmp_path / "other")["shared"].tolist() == [0, 1]


def test_what_cannot_be_is_said_before_any_work(tmp_path):
    with pytest.raises(UsageError, match="--target DATA"):
        curate.score(texts(*ROWS), [Longer()], out=tmp_path / "s")
    with pytest.raises(UsageError, match="no use here"):
        curate.score(texts(*ROWS), ["random"], target=texts("a"), out=tmp_path / "s")
    with pytest.raises(ColumnError, match="--target-input"):
        curate.score(texts(*ROWS), [Longer()], target=curate.load((np.eye(3), np.arange(3))), out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_the_command_takes_the_target_its_column_and_its_split(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": cell}) + "\n" for cell in ROWS))
    (tmp_path / "goal.jsonl").write_text('{"a": "bb", "b": "x y z"}\n')
    command = ["score", str(tmp_path / "rows.jsonl"), "--scorer", f"mine={__file__}:Longer", "--out", str(tmp_path / "s"), "--quiet"]

    refused = CliRunner().invoke(cli, [*command, "--target-input", "a"])
    done = CliRunner().invoke(cli, [*command, "--target", str(tmp_path / "goal.jsonl"), "--target-input", "a", "--target-split", "train"])

    assert refused.exit_code == 2 and "--target DATA" in refused.stderr
    assert done.exit_code == 0, done.stderr
    assert "mine: target rows 1" in done.stdout


@pytest.fixture
def embedded_texts(tmp_path):
    """Rows, a target of two tasks, and the rows' vectors."""
    for name, lines in (("rows", [f"row {i} of cats and dogs" for i in range(40)]), ("goal", ["cats", "dogs", "a row"])):
        table = {"text": lines} | ({"task": ["pets", "pets", "wild"]} if name == "goal" else {})
        pa.parquet.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    embedded = curate.embed(tmp_path / "rows.parquet", encoder="tfidf", out=tmp_path / "embeddings")
    return tmp_path, embedded


def test_a_target_of_texts_is_embedded_as_the_rows_were(embedded_texts):
    folder = embedded_texts[0]

    result = CliRunner().invoke(
        cli,
        f"score {folder}/rows.parquet --scorer rds:tasks=true --embeddings {folder}/embeddings --target {folder}/goal.parquet "
        f"--target-label task --out {folder}/scores".split(),
    )

    assert result.exit_code == 0, result.output
    scores = Scores.open(folder / "scores")
    assert scores["rds.similarity"].shape == (40, 2)
    assert scores.about("rds")["result"]["facts"] == {"target_rows": 3, "queries": 2}


def test_vectors_of_the_target_from_another_space_are_refused(embedded_texts):
    folder, embedded = embedded_texts
    curate.embed(folder / "goal.parquet", encoder="tfidf", out=folder / "theirs")
    curate.embed(folder / "goal.parquet", encoder="static", out=folder / "other")
    goal = curate.load(folder / "goal.parquet", label="task")

    for name, words in (("theirs", "a space of its own"), ("other", "Embed both with one encoder")):
        with pytest.raises(OptionError, match=words):
            curate.score(
                folder / "rows.parquet", ["rds"], embeddings=embedded, target=goal, target_embeddings=folder / name, out=folder / "x"
            )
    with pytest.raises(UsageError, match="--target-embeddings goes with"):
        curate.score(folder / "rows.parquet", ["dsir"], target=goal, target_embeddings=folder / "theirs", out=folder / "x")


def test_tasks_need_a_label_of_the_target():
    with pytest.raises(ColumnError, match="--target-label"):
        curate.score(np.ones((4, 2), np.float32), ["rds:tasks=true"], target=np.ones((2, 2), np.float32), out="unused")


@pytest.mark.parametrize("spec", ["dsir", "quality:sample=20,buckets=512", "contamination:n=3,shortest=2", "line_filters:reference=bigram"])
def test_states_that_are_merged_as_they_come_give_the_same_scores(spec, tmp_path, monkeypatch):
    rows = pa.table({"text": [f"w{i % 7} w{i % 5} w{i} end" for i in range(60)]})
    target = None if spec.startswith("line_filters") else pa.table({"text": [f"w{i % 3} end of w{i}" for i in range(20)]})

    at_once = curate.score(rows, [spec], target=target, shard_rows=7, out=tmp_path / "at-once")
    monkeypatch.setattr("curate.stages.shards.EARLY", 2)
    early = curate.score(rows, [spec], target=target, shard_rows=7, out=tmp_path / "early")

    name = spec.partition(":")[0]
    np.testing.assert_array_equal(early[name], at_once[name])
    assert early.about(name)["result"]["facts"] == at_once.about(name)["result"]["facts"]


def test_rows_that_are_also_in_the_target_are_called_a_leak_and_the_way_out_works(tmp_path):
    words = "one two three four five six seven eight nine ten"
    rows = pa.table({"text": [words, "the cat sat on the mat and looked out at the rain", "dsir has no word for it"]})
    target = pa.table({"text": [words, "something else altogether"]})
    said = []

    class Told(Silent):
        def note(self, text):
            said.append(text)

    scores = curate.score(rows, ["dsir", "contamination"], target=target, progress=Told(), out=tmp_path / "s")
    kept = curate.select(rows, scores, sampler="top", by="dsir", where="contamination.hits == 0", budget=2).rows

    assert sum(text.startswith("Leak: 1 of the 3 rows") for text in said) == 1
    assert sorted(kept.tolist()) == [1, 2]
