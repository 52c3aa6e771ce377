"""pvi: how many bits a model gets out of the input for the given label."""

import datasets
import numpy as np
import pytest

import curate
from curate.errors import InputError, OtherDatasetError
from curate.scorers.dynamics.pvi import PVI
from curate.testing import shard_of

NAN = np.nan


def scored(p, labels):
    scorer, shard = PVI(), shard_of({"probs.oos": np.float32(p), "label": labels})
    return scorer.score(shard, scorer.merge([scorer.fit(shard, None)]))["score"]


def test_the_bits_beyond_the_prior():
    # three balanced classes: log2 .9 + log2 3 and log2 .05 + log2 3
    score = scored([[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.05, 0.05, 0.9]], [0, 1, 2])

    np.testing.assert_allclose(score, [1.432959, -2.736966, 1.432959], rtol=1e-6)


def test_a_model_that_knows_nothing_but_the_prior_has_no_information():
    p = np.tile([0.75, 0.25], (8, 1))

    np.testing.assert_allclose(scored(p, [0, 0, 0, 0, 0, 0, 1, 1]), 0, atol=1e-6)


def test_a_row_without_a_label_or_probabilities_scores_nan():
    score = scored([[0.5, 0.5], [NAN, NAN], [0.0, 1.0], [0.5, 0.5]], [0, 1, 0, -1])

    assert np.isnan(score[[1, 3]]).all() and np.isfinite(score[[0, 2]]).all()


def test_a_noisy_channel_has_its_capacity():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 20_000)
    seen = np.where(rng.random(20_000) < 0.2, rng.integers(0, 4, 20_000), y)  # wrong in .15 of the cases
    p = np.full((20_000, 4), 0.05)
    p[np.arange(20_000), seen] = 0.85

    analytic = 2 + 0.85 * np.log2(0.85) + 0.15 * np.log2(0.05)
    assert scored(p, y).mean() == pytest.approx(analytic, abs=0.05)


def concluded(p, labels, cuts=()):
    scorer, rows = PVI(), np.arange(len(labels))
    parts = [shard_of({"probs.oos": np.float32(p)[some], "label": np.asarray(labels)[some]}) for some in np.split(rows, cuts)]
    return scorer.conclude(scorer.merge([scorer.fit(part, None) for part in parts]))


def test_the_usable_information_of_the_dataset_is_the_mean_between_its_interval():
    p, labels = [[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.6, 0.4]], [0, 0, 1, 1]

    found = concluded(p, labels, cuts=(1, 3))

    pvi = np.log2([1.8, 1.0, 1.6, 0.8])
    reach = 1.959964 * pvi.std(ddof=1) / 2
    assert found["v_information"] == pytest.approx(pvi.mean(), abs=1e-6)
    assert (found["v_information_from"], found["v_information_to"]) == pytest.approx((pvi.mean() - reach, pvi.mean() + reach), abs=1e-6)
    assert (found["label_entropy"], found["accuracy"], found["majority_share"]) == (1.0, 0.75, 0.5)  # of equals the first class


def channel(rng, n, error=0.2, classes=4):
    """Labels seen through a channel that gets `error` of them wrong, and what the best model then says."""
    y = rng.integers(0, classes, n)
    seen = np.where(rng.random(n) < error, (y + rng.integers(1, classes, n)) % classes, y)
    p = np.full((n, classes), error / (classes - 1))
    p[np.arange(n), seen] = 1 - error
    return p, y


def test_a_noisy_channel_has_its_capacity_inside_the_interval_nineteen_times_of_twenty():
    # log2 4 less the entropy of (.8, .0667 three times)
    analytic = 2 + 0.8 * np.log2(0.8) + 0.2 * np.log2(0.2 / 3)
    found = [concluded(*channel(np.random.default_rng(seed), 500)) for seed in range(200)]

    inside = np.mean([one["v_information_from"] <= analytic <= one["v_information_to"] for one in found])
    assert 0.9 <= inside <= 0.99  # 0.95 ± three deviations of 200 draws
    assert np.mean([one["v_information"] for one in found]) == pytest.approx(analytic, abs=0.05)


def test_a_model_no_better_than_the_majority_is_said_to_tell_nothing():
    labels = [0] * 60 + [1] * 40

    assert "no better than the majority class" in concluded(np.tile([0.6, 0.4], (100, 1)), labels)["verdict"]
    assert concluded(np.where(np.array(labels)[:, None] == [0, 1], 0.8, 0.2), labels)["verdict"].startswith("the model gets that much")
    assert "holds 0" in concluded([[0.9, 0.1], [0.9, 0.1], [0.99, 0.01], [0.1, 0.9]], [0, 0, 1, 1])["verdict"]
    assert concluded([[NAN, NAN]], [0]) == {"verdict": "no row has a label and probabilities"}


def two_bits(n=120):
    """Two bits; the label is the second of them."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, n), rng.integers(0, 2, n)
    return datasets.Dataset.from_dict({"first": first.astype(float), "second": second.astype(float), "label": second})


def test_a_null_model_that_reads_the_telling_part_leaves_nothing(tmp_path):
    table, fast = two_bits(), {"epochs": 6, "model": "mlp", "batch_size": 16, "lr": 0.01}
    for part in ("first", "second"):
        curate.score(curate.load(table, input=[part], label="label"), ["pvi"], out=tmp_path / part, **fast)

    both = curate.load(table, input=["first", "second"], label="label")
    names = [f"given_{part}=pvi:null={tmp_path / part}" for part in ("first", "second")]
    scores = curate.score(both, ["pvi", *names], out=tmp_path / "both", **fast)

    facts = {name: scores.about(name)["result"]["facts"]["v_information"] for name in scores.names}
    assert facts["pvi"] > 0.9 and facts["given_first"] > 0.9  # of one bit
    assert abs(facts["given_second"]) < 0.1
    np.testing.assert_allclose(scores["given_first"], scores["pvi"] - curate.Scores.open(tmp_path / "first")["pvi"], atol=1e-5)
    assert scores["given_first"].mean() == pytest.approx(facts["given_first"], abs=1e-5)
    assert str(tmp_path) not in (tmp_path / "both" / "manifest.json").read_text()
    page = curate.report(tmp_path / "both", tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"v information {facts['pvi']:,.4g}" in page and "verdict the model gets that much out of the input" in page


def test_null_scores_that_do_not_fit_are_refused(tmp_path):
    table = two_bits(40)
    data = curate.load(table, input=["first"], label="label")
    curate.score(data, ["random"], out=tmp_path / "other")
    changed = curate.load(table.select(range(30)), input=["first"], label="label")

    with pytest.raises(InputError, match='has no finished score "pvi"'):
        curate.score(data, [f"pvi:null={tmp_path}/other"], out=tmp_path / "a", epochs=1)
    with pytest.raises(OtherDatasetError, match=r"10 rows differ|30 rows"):
        curate.score(changed, [f"pvi:null={tmp_path}/other"], out=tmp_path / "b", epochs=1)
