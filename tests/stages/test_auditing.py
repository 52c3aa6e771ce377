"""curate audit: planted copies, junk, flips and leaks come out; good rows stay."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import curate
from curate.cli import cli
from curate.errors import ColumnError, InputError, OtherJobError
from curate.index.linear_probe import out_of_fold
from curate.stages import auditing
from curate.stages.audit import leaks
from curate.stages.audit.oddities import odd_rows, robust_z

FLIPPED = list(range(0, 400, 20))


@pytest.fixture(scope="module")
def planted():
    """400 requests in four intents, every twentieth under a wrong one; then copies, near copies, junk, and rows of the test set."""
    sample = curate.load("sample:snips")
    names = sample.label_names
    rows = np.concatenate([np.flatnonzero(sample.labels == code)[:150] for code in (0, 1, 2, 5)])
    rows = rows.reshape(4, 150).T.ravel()
    texts, labels = sample.select(rows).texts(0, 600), [names[code] for code in sample.labels[rows]]
    test = pa.table({"text": texts[400:440], "intent": labels[400:440]})
    said = [names[[0, 1, 2, 5][(row + 1) % 4]] if row in FLIPPED else label for row, label in enumerate(labels[:400])]
    extra = [
        texts[3],
        texts[9],
        f"{texts[41]} please",
        texts[400],
        "",
        "   ",
        "%%%% #### !!!! &&&& ****",
        "zzzzzzzzzzzzzzzz",
        "cafÃ© Ã©tÃ© \ufffd",
    ]
    table = pa.table({"text": [*texts[:400], *extra], "intent": [*said, labels[3], labels[9], labels[41], labels[400], *[labels[0]] * 5]})
    return table, test


def ones(mask) -> list[int]:
    return np.flatnonzero(mask).tolist()


def test_what_was_planted_is_found(planted, tmp_path):
    table, test = planted

    found = curate.audit(curate.load(table, label="intent"), test=curate.load(test), out=tmp_path / "a")

    assert ones(found.found["empty"]) == [404, 405]
    assert {400, 401} <= set(ones(found.found["exact_duplicate"]))
    assert 402 in ones(found.found["near_duplicate"])
    assert 403 in ones(found.found["leak"]) and found.facts["leaked_test_rows"] >= 1
    assert {406, 407, 408} <= set(ones(found.found["odd"])) and found.found["odd"].sum() <= 8
    issues = set(ones(found.found["label_issue"]))
    assert len(issues & set(FLIPPED)) >= 14 and len(issues - set(FLIPPED)) <= 8
    assert set(found.first["label_issue"][:10].tolist()) <= set(FLIPPED) | issues


def test_the_commands_that_it_prints_run_and_keep_what_they_say(planted, tmp_path, monkeypatch):
    table, test = planted
    monkeypatch.chdir(tmp_path)
    pq.write_table(table, "train.parquet")
    pq.write_table(test, "test.parquet")

    call = ["audit", "train.parquet", "--label", "intent", "--test", "test.parquet", "--out", "audit"]
    first = CliRunner().invoke(cli, [*call, "--json", "--quiet"], catch_exceptions=False)

    about = json.loads(first.stdout)
    why, command = about["next"][0]["why"], about["next"][0]["command"]
    import shlex

    chosen = CliRunner().invoke(cli, [*shlex.split(command)[1:], "--json"], catch_exceptions=False)
    assert f"keep {json.loads(chosen.stdout)['report']['kept']:,} of 409 rows" in why
    for step in about["next"]:
        _, name, *words = shlex.split(step["command"])
        cli.get_command(None, name).make_context(name, words)  # every option is there
    assert {"curate score", "curate report"} <= {" ".join(step["command"].split()[:2]) for step in about["next"]}
    page = (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    assert "What was found" in page and "Labels that are probably wrong" in page and "Exact copies" in page
    again = CliRunner().invoke(cli, call, catch_exceptions=False)
    assert "  empty                    2   0.49 %  2 empty text" in again.output
    verified = CliRunner().invoke(cli, ["verify", "audit"], catch_exceptions=False)
    assert verified.exit_code == 0, verified.output
    assert CliRunner().invoke(cli, ["show", "audit"], catch_exceptions=False).output == again.output


def test_another_audit_in_the_folder_is_refused(planted, tmp_path):
    table, test = planted
    data = curate.load(table.slice(0, 100), label="intent")
    auditing.audit(data, out=tmp_path / "a")

    with pytest.raises(OtherJobError, match="holds another audit"):
        auditing.audit(data, test=curate.load(test), out=tmp_path / "a")
    with pytest.raises(OtherJobError, match="of another dataset"):
        auditing.audit(curate.load(table.slice(0, 99), label="intent"), out=tmp_path / "a")


def test_what_cannot_be_checked_is_said(tmp_path):
    few = auditing.audit(curate.load(pa.table({"text": ["one row", "", "and another"]})), out=tmp_path / "few")
    assert "label" in few.skipped["label_issue"] and "vector" in few.skipped["outlier"] and "--test" in few.skipped["leak"]
    assert few.counts() == {"empty": 1, "odd": 0, "exact_duplicate": 0, "near_duplicate": 0}

    with pytest.raises((InputError, ColumnError)):
        auditing.audit(curate.load(pa.table({"text": ["a"] * 3})), test=(np.zeros((2, 8, 8), np.uint8), [0, 1]), out=tmp_path / "b")


def test_images_are_checked_too(tmp_path):
    data = curate.load("sample:digits", limit=300)
    pixels = np.stack([np.asarray(image) for image in data.images(0, 300)])
    pixels = np.concatenate([pixels, pixels[5:6], np.zeros_like(pixels[:1])])
    labels = np.concatenate([data.labels, data.labels[5:6], [3]])

    found = auditing.audit((pixels, labels), test=(pixels[10:12], labels[10:12]), out=tmp_path / "a")

    assert 300 in ones(found.found["exact_duplicate"]) and 301 in ones(found.found["odd"])
    assert ones(found.found["leak"]) == [10, 11] and found.facts["leaked_test_rows"] == 2


def test_the_probe_never_saw_the_row():
    """A label of its own, in noise: out of fold nobody can know it."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(600, 40)).astype(np.float32), rng.integers(0, 2, 600)

    p = out_of_fold(x, y, 2)

    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    assert abs((p.argmax(axis=1) == y).mean() - 0.5) < 0.07


def test_the_probe_is_the_linear_discriminant_of_the_other_folds():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    from curate.rng import KeyedRandom

    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 400)
    x = (rng.normal(size=(400, 5)) + np.eye(5)[y]).astype(np.float32)
    fold = (KeyedRandom(0, "linear probe").uniform(np.arange(400)) * 5).astype(int)

    peer = LinearDiscriminantAnalysis(solver="lsqr").fit(x[fold != 2], y[fold != 2]).predict_proba(x[fold == 2])

    np.testing.assert_allclose(out_of_fold(x, y, 3)[fold == 2], peer, atol=0.02)  # we add 1 % of the mean variance


def test_oddities_of_texts():
    good = [
        f"the {noun} was seen near the {place} on {day}"
        for noun in ("cat", "dog", "fox")
        for place in ("river", "house")
        for day in ("Monday", "Friday")
    ]
    data = curate.load(pa.table({"text": [*good * 5, "<div>hello</div> there you are", "kxqzv wqxzk vvkqz xzqkw qqzxk", None]}))

    assert odd_rows(data) == {60: "markup", 61: "letters unlike the rest"}


def test_images_of_noise_are_odd_and_pictures_are_not():
    rng = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(28), np.arange(28))
    picture = (127 + 120 * np.sin(across / 3) * np.cos(down / 4)).astype(np.uint8)
    grainy = np.clip(picture + 20 * rng.normal(size=picture.shape), 0, 255).astype(np.uint8)
    images = np.stack([picture, grainy, rng.integers(0, 256, (28, 28)).astype(np.uint8), np.full((28, 28), 9, np.uint8)])

    assert odd_rows(curate.load((images, np.zeros(4, np.int64)))) == {2: "noise", 3: "one colour"}


@pytest.mark.parametrize(("words", "ngram"), [(8, 1), (20, 1), (40, 3), (200, 5)])
def test_a_changed_word_leaves_a_text_nearly_the_same(words, ngram):
    text = [f"w{i}" for i in range(words)]
    data = curate.load(pa.table({"text": [" ".join(text)] * 3}))
    runs = [{tuple(one[i : i + ngram]) for i in range(words - ngram + 1)} for one in (text, [*text[:4], *text[5:]])]

    assert leaks.ngram_for(data) == ngram and len(runs[0] & runs[1]) / len(runs[0] | runs[1]) > leaks.ALIKE


def test_vectors_are_checked_against_a_test_set_too(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)

    found = auditing.audit((x, np.arange(60) % 2), test=(np.stack([x[7], x[3] + 9]), np.array([1, 1])), out=tmp_path / "a")

    assert ones(found.found["leak"]) == [7]


def test_robust_deviations_of_equal_values_are_zero():
    np.testing.assert_array_equal(robust_z(np.array([2.0, 2, 2, 9])), np.zeros(4))
    np.testing.assert_allclose(robust_z(np.array([1.0, 2, 3, 4, 100]))[-1], 97 / 1.4826)


def test_a_passage_of_the_test_set_is_found_and_has_a_section(tmp_path):
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(500)]
    pages = [" ".join(rng.choice(words, 60)) for _ in range(60)]
    test = [" ".join(rng.choice(words, 40)) for _ in range(20)]
    passage = " ".join(test[5].split()[10:30])
    table = pa.table({"text": [*pages[:30], f"{pages[30]} {passage} {pages[31]}", *pages[32:], test[7]]})

    found = auditing.audit(curate.load(table), test=curate.load(pa.table({"text": test})), out=tmp_path / "a")

    assert ones(found.found["passage"]) == [30] and found.first["passage"][0] in (30, 59)
    assert ones(found.found["leak"]) == [59] and found.facts["test_rows_touched"] == 2
    page = (tmp_path / "a" / "report.html").read_text()
    assert "Contamination" in page and "an evaluation set of 20 rows" in page


def test_a_test_set_of_short_texts_shares_no_passage(tmp_path):
    table = pa.table({"text": [f"say {i} again" for i in range(40)]})

    found = auditing.audit(curate.load(table), test=curate.load(pa.table({"text": ["go home", "stay"]})), out=tmp_path / "a")

    assert "passage" not in found.found and "8 words" in found.skipped["passage"]


def audited(tmp_path, table, **options):
    pq.write_table(pa.table(table), tmp_path / "data.parquet")
    return auditing.audit(curate.load(tmp_path / "data.parquet", **options), out=tmp_path / "a", source="data.parquet")


HEADLINES = [
    f"{who} {does} the {what} in spring number {i}"
    for i, (who, does, what) in enumerate([("she", "paints", "old house"), ("he", "sells", "red car"), ("a dog", "eats", "long bone")] * 20)
]


def test_a_set_with_nothing_to_leave_out_is_told_so_and_what_may_follow(tmp_path):
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice([f"word{i}" for i in range(400)], 12)) for _ in range(60)]

    found = audited(tmp_path, {"text": words})

    assert not found.any_of(["empty", "exact_duplicate", "near_duplicate"]).any()
    why, command = found.commands[-1]
    assert "nothing has to go" in why and "--sampler facility_location --budget 50%" in command


@pytest.mark.parametrize("rows", [1, 2])
def test_a_row_or_two_are_audited_without_a_warning_and_what_needs_more_is_said(tmp_path, rows):
    found = audited(tmp_path, {"text": HEADLINES[:rows], "label": [0, 1][:rows]})

    assert found.skipped["outlier"].startswith(f"rows with a vector: {rows}; ") and "label_issue" in found.skipped


def test_where_every_row_must_go_no_command_is_printed(tmp_path):
    pq.write_table(pa.table({"text": HEADLINES}), tmp_path / "data.parquet")
    arguments = ["audit", str(tmp_path / "data.parquet"), "--test", str(tmp_path / "data.parquet"), "--out", str(tmp_path / "a")]

    shown = CliRunner().invoke(cli, arguments, catch_exceptions=False).output

    assert "60 of the 60 test rows" in shown and "Nothing would be left to train on." in shown and "curate select" not in shown


def test_columns_that_may_be_labels_are_named(tmp_path):
    found = audited(tmp_path, {"text": HEADLINES, "is_old": [i % 3 for i in range(60)], "key": [f"k{i}" for i in range(60)]})

    assert found.skipped["label_issue"].endswith('name one with --label COLUMN ("is_old" has 3 values)')


def test_rows_of_two_numbers_that_lie_close_by_chance_are_no_copies_and_copies_are_found(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    x[:10] = x[200:210] + 1e-6

    found = audited(tmp_path, {"a": x[:, 0], "b": x[:, 1], "label": np.arange(400) % 2}, label="label")

    copies = set(np.flatnonzero(found.found["near_duplicate"]).tolist())
    assert set(range(200, 210)) <= copies and len(copies) <= 13  # one in a thousand lies so close by chance
    assert found.found["outlier"].mean() < 0.05
