"""confident: which labels the out-of-fold probabilities contradict."""

import numpy as np
import pytest

import curate
from curate.errors import OptionError
from curate.label_errors import confident_joint, find_label_errors
from curate.scorers.dynamics.confident import Confident
from curate.signals.folds import FOLDS, folds_of
from curate.store import Store
from curate.testing import shard_of


def scored(p, labels, **options):
    scorer, shard = Confident(**options), shard_of({"probs.oos": np.float32(p), "label": labels})
    return scorer.score(shard, scorer.merge([scorer.fit(shard, None)]))


def test_a_label_that_the_probabilities_contradict_is_an_issue():
    p = [[0.9, 0.1]] * 4 + [[0.1, 0.9]] * 4
    found = scored(p, [0, 0, 0, 1, 1, 1, 1, 1])

    assert found["is_issue"].tolist() == [False] * 3 + [True] + [False] * 4
    np.testing.assert_allclose(found["score"], [0.9] * 3 + [0.1] + [0.9] * 4, rtol=1e-6)


def test_rows_without_probabilities_or_labels_are_no_issue_and_score_nan():
    found = scored([[0.9, 0.1], [np.nan, np.nan], [0.1, 0.9], [0.2, 0.8]], [0, 1, -1, 1])

    assert np.isnan(found["score"]).tolist() == [False, True, True, False]
    assert not found["is_issue"].any()


def test_folds_share_every_class_between_them():
    labels = np.repeat([0, 1, 2], [50, 13, 2])
    labels[7] = -1
    usable = np.flatnonzero(labels >= 0)

    fold = folds_of(labels, usable, seed=3)

    sizes = np.bincount(fold[usable], minlength=FOLDS)
    assert fold[7] == -1 and sizes.max() - sizes.min() <= 1
    for code in range(3):
        counts = np.bincount(fold[labels == code][fold[labels == code] >= 0], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1


@pytest.fixture(scope="module")
def noisy_digits():
    """Digits with a tenth of the labels flipped."""
    digits = curate.load("sample:digits")
    rng = np.random.default_rng(0)
    x = np.stack([np.asarray(image, np.float32).reshape(-1) / 16 for image in digits.images(0, len(digits))])
    flipped = rng.random(len(x)) < 0.1
    return x, np.where(flipped, (digits.labels + rng.integers(1, 10, len(x))) % 10, digits.labels), flipped


def test_flipped_digits_are_found(noisy_digits, tmp_path):
    x, labels, flipped = noisy_digits

    scores = curate.score(curate.load((x, labels)), ["confident", "pvi"], out=tmp_path / "s", epochs=12)

    issue = scores["confident.is_issue"].astype(bool)
    assert (issue & flipped).sum() / issue.sum() >= 0.85  # precision
    assert (issue & flipped).sum() / flipped.sum() >= 0.6  # recall
    assert scores["pvi"][flipped].mean() < 0 < scores["pvi"][~flipped].mean()


def test_a_killed_job_goes_on_by_folds_with_the_same_bytes(noisy_digits, tmp_path):
    x, labels, _ = noisy_digits
    data = curate.load((x[:120], labels[:120]))
    for name in ("whole", "part"):
        curate.score(data, ["confident"], out=tmp_path / name, epochs=2)
    (run,) = (tmp_path / "part" / "runs").iterdir()
    Store.open(run).forget("probs", ["oos-1.arrow", "oos-4.arrow"])
    Store.open(tmp_path / "part").drop_table("confident")

    curate.score(data, ["confident"], out=tmp_path / "part", epochs=2)

    def contents(name):
        files = [p for p in (tmp_path / name).rglob("*") if p.is_file() and p.name not in ("log.jsonl", ".lock")]
        return {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files}

    assert contents("part") == contents("whole")


def test_a_later_scorer_has_the_folds_made_for_an_earlier_run(noisy_digits, tmp_path):
    x, labels, _ = noisy_digits
    data = curate.load((x[:120], labels[:120]))
    curate.score(data, ["aum", "entropy"], out=tmp_path / "s", epochs=2)

    scores = curate.score(data, ["pvi"], out=tmp_path / "more", run=tmp_path / "s")

    assert np.isfinite(scores["pvi"]).all()


def test_fewer_rows_than_folds_are_told_of(tmp_path):
    data = curate.load((np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])))

    with pytest.raises(OptionError, match="fewer than the 5 folds"):
        curate.score(data, ["pvi"], out=tmp_path / "s", epochs=1)


def test_the_joint_of_known_noise_is_recovered(noisy_digits):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 6000)
    given = np.where(rng.random(6000) < 0.2, (truth + 1) % 3, truth)
    p = np.full((6000, 3), 0.03)
    p[np.arange(6000), truth] = 0.94

    joint = confident_joint(p, given) / 6000

    exact = np.array([[np.mean((given == i) & (truth == j)) for j in range(3)] for i in range(3)])
    assert np.abs(joint - exact).mean() < 0.003
    assert find_label_errors(p, given).sum() == pytest.approx((given != truth).sum(), abs=3)
