"""`curate bench` plants what it says it plants, and reads every scorer in the right direction."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import curate
from curate.errors import ColumnError, OptionError, OtherJobError, UnknownNameError, UsageError
from curate.stages.benching import Bench, rates
from curate.stages.hardness import KINDS, kinds_for, plant

LABELS = ("uniform", "asymmetric", "adjacent", "instance")
N = 300


@pytest.fixture(scope="module")
def digits():
    return curate.load("sample:digits", limit=N)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    return curate.load((rng.normal(size=(N, 4)).astype(np.float32), rng.integers(0, 3, N)))


def pixels(data):
    return np.stack([np.asarray(image) for image in data.images(0, len(data))]).astype(int)


@pytest.mark.parametrize("kind", LABELS)
def test_exactly_the_share_of_labels_changes_and_nothing_else(kind, digits):
    planted = plant(digits, kind, 0.15)

    changed = planted.data.labels != digits.labels
    np.testing.assert_array_equal(changed, planted.is_hard)
    assert changed.sum() == int(0.15 * N)
    np.testing.assert_array_equal(planted.data.input_hashes, digits.input_hashes)
    assert planted.data.label_names == digits.label_names


def test_adjacent_labels_are_one_step_away(digits):
    planted = plant(digits, "adjacent")

    step = (planted.data.labels - digits.labels)[planted.is_hard] % 10
    assert set(step.tolist()) == {1, 9}


def test_an_instance_flip_goes_to_the_nearest_other_mean(digits):
    planted = plant(digits, "instance")
    flat = pixels(digits).reshape(N, -1)
    row = int(np.flatnonzero(planted.is_hard)[0])

    means = [flat[digits.labels == c].mean(axis=0) if c != digits.labels[row] else np.full(64, np.inf) for c in range(10)]

    assert planted.data.labels[row] == np.argmin([((flat[row] - mean) ** 2).sum() for mean in means])


@pytest.mark.parametrize("kind", ["near_ood", "domain_shift", "far_ood", "zoom", "crop_shift"])
def test_exactly_the_planted_images_change(kind, digits):
    planted = plant(digits, kind, 0.2)

    same = (pixels(planted.data) == pixels(digits)).all(axis=(1, 2))
    assert planted.is_hard.sum() == 60
    assert same[~planted.is_hard].all()
    assert not same[planted.is_hard].any()
    np.testing.assert_array_equal(planted.data.labels, digits.labels)


def test_a_shift_moves_the_image_and_does_not_wrap_it(digits):
    planted = plant(digits, "crop_shift")
    before, after = pixels(digits)[planted.is_hard], pixels(planted.data)[planted.is_hard]

    far = 2  # a third of 8 pixels
    for old, new in zip(before, after, strict=True):
        assert any(
            (
                new[max(0, y) : 8 + min(0, y), max(0, x) : 8 + min(0, x)] == old[max(0, -y) : 8 + min(0, -y), max(0, -x) : 8 + min(0, -x)]
            ).all()
            for y in (-far, far)
            for x in (-far, far)
        )


def test_duplicates_are_copies_of_rows_that_stay(digits):
    planted = plant(digits, "duplicates")

    assert set(planted.data.row_hashes[planted.is_hard]) <= set(digits.row_hashes[~planted.is_hard])


def test_the_long_tail_is_as_long_as_it_says(digits):
    planted = plant(digits, "long_tail")

    counts = np.bincount(planted.data.labels, minlength=10)
    smallest = np.bincount(digits.labels).min()
    assert (counts[0], counts[9]) == (smallest, max(2, round(smallest / 10)))
    np.testing.assert_array_equal(planted.is_hard, planted.data.labels >= 7)


def test_atypical_rows_have_one_number_from_the_ends_of_its_column(vectors):
    planted = plant(vectors, "atypical")
    before, after = vectors.matrix(0, N), planted.data.matrix(0, N)

    ends = np.sort(before, axis=0)[[0, -1]]
    for row in np.flatnonzero(planted.is_hard):
        (moved,) = np.flatnonzero(before[row] != after[row]) if (before[row] != after[row]).any() else (np.argmax(np.abs(before[row])),)
        assert after[row, moved] in ends[:, moved]


def test_the_same_seed_plants_the_same_rows_and_another_others(digits):
    one, again, other = (plant(digits, "uniform", seed=seed) for seed in (1, 1, 2))

    assert one.data.fingerprint == again.data.fingerprint != other.data.fingerprint


def test_the_rates_are_those_of_scikit_learn_and_of_a_count():
    rng = np.random.default_rng(0)
    hardness, is_hard = rng.normal(size=200), rng.random(200) < 0.2

    found = rates(hardness, is_hard)

    k = is_hard.sum()
    assert found["auroc"] == roc_auc_score(is_hard, hardness)
    assert found["auprc"] == average_precision_score(is_hard, hardness)
    assert found["precision_at_p"] == pytest.approx(is_hard[np.argsort(-hardness)[:k]].mean())
    assert found["recall_at_2p"] == pytest.approx(is_hard[np.argsort(-hardness)[: 2 * k]].sum() / k)


def test_a_constant_score_reads_chance():
    is_hard = np.arange(10) < 2

    found = rates(np.zeros(10), is_hard)

    assert (found["auroc"], found["auprc_above_chance"], found["recall_at_p"]) == (0.5, 0.0, pytest.approx(0.2))


def test_a_random_score_reads_a_half_on_five_thousand_rows_and_an_oracle_one():
    data = curate.load((np.zeros((5000, 1), np.float32), np.arange(5000) % 5))
    is_hard = plant(data, "uniform").is_hard
    from curate.rng import KeyedRandom

    found = [rates(KeyedRandom(seed, "random").uniform(np.arange(5000)), is_hard)["auroc"] for seed in range(3)]

    assert abs(np.mean(found) - 0.5) < 0.03
    assert rates(is_hard.astype(float), is_hard)["auroc"] == 1


def test_a_bench_reads_low_and_high_scores_as_hardness_and_goes_on_where_it_was_killed(vectors, tmp_path, monkeypatch):
    from curate.stages import benching

    words = {"hardness": ["uniform:p=0.1", "duplicates"], "seeds": 2, "epochs": 2, "out": tmp_path / "bench"}
    data, labels = vectors.matrix(0, N).copy(), vectors.labels
    data[np.arange(N), labels] += 5  # easy classes
    rows = curate.load((data, labels))
    whole, dies = benching._lines, []

    def killed(*arguments):
        dies.append(1)
        if len(dies) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(benching, "_lines", killed)
    with pytest.raises(KeyboardInterrupt):
        curate.bench(rows, ["aum", "el2n"], **words)
    made = curate.bench(rows, ["aum", "el2n"], **words)

    means = made.summary()["means"]
    assert len(dies) == 3  # the first kind was not done again
    assert means["aum"]["uniform"]["auroc"] > 0.9 and means["el2n"]["uniform"]["auroc"] > 0.9
    assert means["oracle"]["uniform"]["auroc"] == 1
    assert means["aum"]["uniform"]["stability"] is not None
    assert made.table.num_rows == 2 * 2 * 4
    assert "| `oracle` |" in (made.path / "bench.md").read_text()
    assert (made.path / "bench.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OtherJobError):
        curate.bench(rows, ["aum"], **words)
    assert Bench.open(made.path).summary() == made.summary()


def test_scorers_that_read_vectors_get_those_of_each_copy(vectors, tmp_path, caplog):
    data, labels = vectors.matrix(0, N).copy(), vectors.labels
    data[np.arange(N), labels] += 5
    rows = curate.load((data, labels))

    made = curate.bench(rows, ["knn_disagreement"], hardness=["uniform", "near_ood"], seeds=1, out=tmp_path / "bench")

    assert made.summary()["means"]["knn_disagreement"]["uniform"]["auroc"] > 0.9
    assert made.store.job["encoder"] == "column"
    assert {one.name for one in (tmp_path / "bench" / "embeddings").iterdir()} == {"uniform", "near_ood"}
    assert [line.partition(":")[0] for line in caplog.messages] == ["1 of 2, uniform", "2 of 2, near_ood"]
    assert "min left" in caplog.messages[1] and "min left" not in caplog.messages[0]


@pytest.mark.parametrize(
    ("scorers", "encoder", "says"),
    [(["contamination"], None, "target set"), (["aum"], "column", "no use here"), (["knn_shapley"], "pixels", "pixels")],
    ids=["a target", "an encoder for nobody", "an encoder of other data"],
)
def test_what_no_copy_has_is_refused_before_anything_is_planted(scorers, encoder, says, vectors, tmp_path):
    with pytest.raises((UsageError, ColumnError), match=says):
        curate.bench(vectors, scorers, hardness=["uniform"], encoder=encoder, out=tmp_path / "bench")

    assert not (tmp_path / "bench").exists()


@pytest.mark.parametrize(
    ("hardness", "error"),
    [
        ("unifrom", UnknownNameError),
        ("zoom", ColumnError),
        ("uniform:p=0.9", OptionError),
        ("uniform:q=1", OptionError),
        ("uniform:p=x", OptionError),
    ],
)
def test_bad_hardness_is_refused_before_anything_is_trained(hardness, error, vectors, tmp_path):
    with pytest.raises(error):
        curate.bench(vectors, ["aum"], hardness=[hardness], out=tmp_path / "bench")

    assert not (tmp_path / "bench").exists()


def test_random_alone_is_no_bench(vectors, tmp_path):
    with pytest.raises(UsageError, match="besides random"):
        curate.bench(vectors, ["random"], out=tmp_path / "bench")


def test_every_kind_is_on_its_page_and_fits_some_data(digits, vectors):
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")

    assert all(f"| `{kind}` |" in page for kind in KINDS)
    assert set(kinds_for(digits)) | set(kinds_for(vectors)) == set(KINDS)


def test_texts_from_elsewhere_are_planted():
    data = curate.load(pa.table({"text": [f"row number {i} of a small set" for i in range(40)], "label": ["a", "b"] * 20}))

    planted = plant(data, "far_ood")

    changed = np.array([one != other for one, other in zip(planted.data.texts(0, 40), data.texts(0, 40), strict=True)])
    np.testing.assert_array_equal(changed, planted.is_hard)
