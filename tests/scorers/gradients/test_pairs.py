"""TracIn on a target, Grad-Dot and Grad-Cos against products of gradients that autograd forms, and on numbers to check by hand."""

import numpy as np
import pytest
import torch
from torch import nn

import curate
from curate.errors import OptionError, UsageError
from curate.progress import Silent
from curate.scorers.gradients.grad_cos import GradCos
from curate.scorers.gradients.grad_dot import GradDot
from curate.scorers.gradients.tracin_target import TracInTarget
from curate.signals.sweep import sweep_rows
from curate.testing import check_scorer, shard_of

RATES = {1: 0.1, 2: 0.4}


class Given:
    failed: dict[int, str] = {}

    def __init__(self, x):
        self.x, self.shape = x, x.shape[1:]

    def batch(self, rows, augment=None):
        return (self.x[rows],)


def net():
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def scored(scorer, rows, target, weights):
    """The columns of rows (x, y) against a target (x, y)."""
    seen = []
    for x, y in (rows, target):
        with Silent().task("visit", len(y)) as task:
            chosen = {epoch: weights[epoch] for epoch in scorer.epochs}
            seen.append(sweep_rows([scorer], net(), chosen, RATES, Given(x), np.arange(len(y)), y, torch.device("cpu"), task)[0])
    told = scorer.merge_target([scorer.fit_target(shard_of({f"target.swept.{name}": v for name, v in seen[1].items()}))])
    shard = shard_of({f"swept.{name}": v for name, v in seen[0].items()})
    return scorer.score(shard, {f"target.{key}": value for key, value in told.items()})


def gradients(state, x, y, layers):
    model = net()
    model.load_state_dict(state)
    chosen = list(model[2].parameters() if layers == "last" else model.parameters())
    found = []
    for one, label in zip(x, y, strict=True):
        loss = nn.functional.cross_entropy(model(one[None]), torch.tensor([label]))
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, chosen)]))
    return torch.stack(found)


@pytest.fixture(scope="module")
def given():
    torch.manual_seed(0)
    rows, target = (torch.randn(9, 5), np.arange(9) % 3), (torch.randn(4, 5), np.array([0, 1, 2, 0]))
    return rows, target, {epoch: net().state_dict() for epoch in RATES}


def test_tracin_of_two_gradients():
    """T-TRACIN: (e · e')(h · h' + 1) = (-.0340)(3 + 1) = -.136107."""
    e, h = [[-0.2130, 0.1065, 0.1065]], [[3.0, 4.0]]
    scorer = TracInTarget(epochs=(1,))
    target = {"target.error": np.float32([[0.1065, -0.2130, 0.1065]]), "target.features": np.float32([[1, 0]]), "target.row": np.array([7])}

    columns = scorer.score(shard_of({"swept.error": e, "swept.features": h}), target)

    assert columns["score"][0] == pytest.approx(-0.136107, abs=2e-4) and columns["most_on"].tolist() == [7]


@pytest.mark.parametrize(
    ("scorer", "epochs", "rates", "unit"),
    [
        (TracInTarget(epochs=(1, 2), pairs=True), (1, 2), RATES, False),
        (GradDot(epochs=(2,), pairs=True), (2,), {2: 1.0}, False),
        (GradCos(epochs=(2,), pairs=True), (2,), {2: 1.0}, True),
    ],
    ids=["tracin", "dot", "cos"],
)
def test_the_last_layer_equals_products_of_gradients(given, scorer, epochs, rates, unit):
    rows, target, weights = given
    expected = 0
    for epoch in epochs:
        g, t = (gradients(weights[epoch], *some, "last") for some in (rows, target))
        if unit:
            g, t = nn.functional.normalize(g), nn.functional.normalize(t)
        expected = expected + rates[epoch] * (g @ t.T)

    columns = scored(scorer, rows, target, weights)

    np.testing.assert_allclose(columns["influence"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(columns["score"], expected.mean(dim=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(columns["least_on"], expected.argmin(dim=1))


def test_all_layers_are_near_the_products_of_whole_gradients(given):
    rows, target, weights = given
    g, t = (gradients(weights[2], *some, "all") for some in (rows, target))

    columns = scored(GradDot(layers="all", width=8192, epochs=(2,), pairs=True), rows, target, weights)

    # off by about 1 / √8192 of the lengths
    assert np.abs(columns["influence"] - (g @ t.T).numpy()).max() < 0.06 * g.norm(dim=1).max() * t.norm(dim=1).max()


def test_the_influence_on_itself_is_that_of_tracin(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    data = curate.load((x, (x[:, 0] > 0).astype(int)))

    scorers = ["tracin:layers=last,count=2", "tracin_target:count=2,pairs=true", "grad_cos", "grad_dot"]
    scores = curate.score(data, scorers, target=data, epochs=2, shard_rows=15, out=tmp_path / "s")

    np.testing.assert_allclose(scores["tracin_target.influence"].diagonal(), scores["tracin"], rtol=1e-4)
    np.testing.assert_allclose(scores["grad_cos.most"], 1, atol=1e-4)


def test_a_target_is_needed(tmp_path):
    with pytest.raises(UsageError, match="--target DATA"):
        curate.score((np.eye(4, dtype=np.float32), np.arange(4) % 2), ["grad_dot"], out=tmp_path / "s")


@pytest.mark.parametrize("scorer", [TracInTarget(layers="all"), GradDot(pairs=True), GradCos()])
def test_the_contract_is_kept(scorer):
    check_scorer(scorer)


def test_options_that_cannot_be():
    with pytest.raises(OptionError, match="width must be 1 or more"):
        GradDot(width=0)
    with pytest.raises(OptionError, match="count must be 1 or more"):
        TracInTarget(count=0)
