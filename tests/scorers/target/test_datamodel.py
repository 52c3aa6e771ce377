"""Datamodels: the regression over subsets, how it foresees other subsets, and the leak that it finds."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import curate
from curate.attribution import Attribution, lds
from curate.errors import OptionError
from curate.scorers.target.datamodel import Datamodel, ridge
from curate.signals.subsets import fit_probes, log_odds_of, subset_masks
from curate.testing import check_scorer, shard_of

N, T = 60, 20


@pytest.fixture(scope="module")
def digits():
    """Rows and targets; the first three targets are copies of rows 7, 8 and 9, whose labels are wrong."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].astype(np.float32), y[order]
    y[7:10] = (y[7:10] + 3) % 10
    return (x[:N], y[:N]), (np.concatenate([x[7:10], x[N : N + T]]), np.concatenate([y[7:10], y[N : N + T]]))


@pytest.fixture(scope="module")
def scores(digits, tmp_path_factory):
    rows, target = (curate.load(some) for some in digits)
    scorers = ["datamodel:count=300,pairs=true,decay=0.1", "own=datamodel:count=300,decay=0.1,on=itself"]
    return curate.score(rows, scorers, target=target, shard_rows=25, out=tmp_path_factory.mktemp("dm") / "s")


def test_it_foresees_subsets_that_it_has_not_seen(digits, scores):
    """The acceptance row: a linear datamodelling score of 0.9 or more."""
    (x, y), (tx, ty) = digits
    masks = subset_masks(np.arange(N), 40, 0.5, seed=77)
    mean, scale = x.mean(axis=0), np.where(x.std(axis=0) > 1e-8, x.std(axis=0), 1)
    weights = fit_probes((x - mean) / scale, y, masks, 10, 0.1)

    found = lds(Attribution("datamodel", scores["datamodel.influence"]).predicted(masks), log_odds_of(weights, (tx - mean) / scale, ty))

    assert found.lds >= 0.9


def test_a_row_that_is_also_a_target_leads_its_proponents(scores):
    """The leakage query: planted copies come first."""
    first, _ = Attribution.open(scores.path, "datamodel").top(1)

    assert first[:3, 0].tolist() == [7, 8, 9]
    assert {7, 8, 9} <= set(np.argsort(-scores["datamodel.most"])[:6].tolist())
    assert scores["datamodel.most_on"][7:10].tolist() == [0, 1, 2]


def test_a_planted_copy_leads_the_leakage_query(scores):
    """The acceptance row: duplicates come first, each naming the target that it copies."""
    leak, on = scores["datamodel.leak"], scores["datamodel.leak_on"]

    assert sorted(np.argsort(-leak, kind="stable")[:3].tolist()) == [7, 8, 9]
    np.testing.assert_allclose(leak[7:10], 1, atol=1e-3)
    assert on[7:10].tolist() == [0, 1, 2]


def test_copies_with_right_labels_lead_the_leakage_query_too():
    """Twelve rows that are also targets, where a row that is hard to fit can raise a target more than its copy does."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(2).permutation(len(x))[:90]
    x, y = x[order].astype(np.float32), y[order]
    rows, target = shard_of({"embedding": x[:60], "label": y[:60]}), {"target.embedding": x[48:], "target.label": y[48:]}
    scorer = Datamodel(count=200, decay=0.1, pairs=True)
    state = {f"target.{key}": value for key, value in scorer.merge_target([scorer.fit_target(shard_of(target))]).items()}

    columns = scorer.score(rows, scorer.merge([scorer.fit(rows, state)]) | state)

    assert sorted(np.argsort(-columns["leak"], kind="stable")[:12].tolist()) == list(range(48, 60))
    assert columns["leak_on"][48:].tolist() == list(range(12))


def test_rows_with_wrong_labels_are_what_is_memorised(scores):
    others = np.delete(scores["own"], [7, 8, 9])
    assert (scores["own"][7:10, None] > others).mean() > 0.85
    np.testing.assert_allclose(scores["own"][7:10], [scores["datamodel.influence"][7 + i, i] for i in range(3)], rtol=1e-3)


def test_ridge_is_the_regression_with_the_least_left_out_error():
    rng = np.random.default_rng(0)
    masks = subset_masks(np.arange(6), 30, 0.5, seed=0)
    m = masks - masks.mean(axis=0)
    f = m @ rng.normal(size=(6, 2)) + 0.1 * rng.normal(size=(30, 2))
    f -= f.mean(axis=0)
    spectrum, axes = np.linalg.eigh(m @ m.T)

    weights = m.T @ ridge(f, spectrum, axes)

    def left_out(strength, target):
        error = 0
        for i in range(30):
            keep = np.arange(30) != i
            w = np.linalg.solve(m[keep].T @ m[keep] + strength * np.eye(6), m[keep].T @ f[keep, target])
            error += (m[i] @ w - f[i, target]) ** 2
        return error

    for target in range(2):
        strengths = np.logspace(-6, 2, 17) * spectrum.mean()
        best = min(strengths, key=lambda s: left_out(s, target))
        np.testing.assert_allclose(weights[:, target], np.linalg.solve(m.T @ m + best * np.eye(6), m.T @ f[:, target]), rtol=1e-6)


def test_probes_are_the_minima_that_scikit_learn_finds(digits):
    (x, y), (tx, ty) = digits
    x, tx, y, ty = x[:, 10:40] / 16, tx[:, 10:40] / 16, y % 3, ty % 3
    masks = subset_masks(np.arange(N), 3, 0.5, seed=0)

    weights = fit_probes(x, y, masks, 3, 0.1)

    for mask, own in zip(masks, weights, strict=True):
        # with a column of ones, whose weight is penalised as the others are; C is 1 / (rows x decay)
        model = LogisticRegression(C=1 / (mask.sum() * 0.1), fit_intercept=False, tol=1e-8, max_iter=1000)
        model.fit(np.c_[x[mask], np.ones(mask.sum())], y[mask])
        p = model.predict_proba(np.c_[tx, np.ones(len(tx))])[np.arange(len(ty)), ty]
        np.testing.assert_allclose(log_odds_of(own[None], tx, ty)[0], np.log(p / (1 - p)), atol=2e-3)


def test_masks_depend_on_row_and_number_alone():
    whole = subset_masks(np.arange(50), 4, 0.3, seed=1)

    assert whole.sum(axis=1).tolist() == [15] * 4
    np.testing.assert_array_equal(subset_masks(np.arange(50), 2, 0.3, seed=1, first=2), whole[2:])


@pytest.mark.parametrize("options", [{"count": 5}, {"share": 1.0}, {"decay": 0.0}, {"pairs": True, "on": "itself"}])
def test_options_that_cannot_be(options):
    with pytest.raises(OptionError, match="datamodel: "):
        Datamodel(**options)


@pytest.mark.parametrize("scorer", [Datamodel(count=20), Datamodel(count=20, on="itself")])
def test_the_contract_is_kept(scorer):
    check_scorer(scorer)


def test_a_row_without_a_label_has_no_score_and_a_class_of_the_target_alone_is_one():
    x = np.random.default_rng(0).normal(size=(12, 3))
    scorer = Datamodel(count=20)
    rows = shard_of({"embedding": x, "label": [0, 1] * 5 + [-1, 0]})
    told = scorer.merge_target([scorer.fit_target(shard_of({"target.embedding": x[:2], "target.label": [2, -1]}))])
    state = {f"target.{key}": value for key, value in told.items()}

    columns = scorer.score(rows, scorer.merge([scorer.fit(rows, state)]) | state)

    assert np.flatnonzero(np.isnan(columns["score"])).tolist() == [10]
    assert columns["most_on"].tolist() == [0] * 10 + [-1, 0]
