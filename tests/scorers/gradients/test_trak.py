"""TRAK against the paper's formula with every gradient formed, on numbers to check by hand, and through the stage."""

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import curate
from curate.cli import cli
from curate.errors import ColumnError, InputError, OptionError
from curate.progress import Silent
from curate.rng import KeyedRandom
from curate.scorers.gradients.trak import Trak
from curate.scores import Scores
from curate.signals.projection import signs
from curate.signals.sweep import sweep_rows
from curate.testing import check_scorer, shard_of

EPOCHS = 4


def test_trak_of_three_rows_and_a_target():
    """T-TRAK: (.667, -.333, .333) times 1 - p = (.1, .4, .5)."""
    scorer = Trak(width=2, ridge=0, pairs=True, epochs=(1,))
    rows = shard_of({"swept.sketch": [[1.0, 0], [0, 1], [1, 1]], "swept.miss": [0.1, 0.4, 0.5]})

    columns = scored(scorer, rows, [[1.0, 0]])

    np.testing.assert_allclose(columns["score"], [0.066667, -0.133333, 0.166667], atol=1e-6)
    np.testing.assert_allclose(columns["influence"][:, 0], columns["score"])


def test_the_extremes_name_their_target_rows():
    rows = shard_of({"swept.sketch": [[1.0, 0], [0, 1], [np.nan, 1]], "swept.miss": [0.5, 1, 1]})

    columns = scored(Trak(width=2, ridge=0, epochs=(1,)), rows, [[np.nan, 0], [1, 0], [-2, 1]])

    np.testing.assert_allclose(columns["most"], [0.5, 1, np.nan])
    assert columns["most_on"].tolist() == [1, 2, -1] and columns["least_on"].tolist() == [2, 1, -1]
    np.testing.assert_allclose(columns["score"], [-0.25, 0.5, np.nan])


def test_seeds_average_influence_and_1_minus_p_each_by_itself():
    parts = [{"score": np.float32([2.0]), "miss": np.float32([0.1])}, {"score": np.float32([4.0]), "miss": np.float32([0.3])}]

    shared = Trak().across_seeds(parts)

    assert np.mean([part["score"] for part in shared]) == pytest.approx(3 * 0.2)


def scored(scorer, rows, target):
    told = scorer.merge_target([scorer.fit_target(shard_of({"target.swept.sketch": target}))])
    state = scorer.merge([scorer.fit(rows, None)]) | {f"target.{key}": value for key, value in told.items()}
    return scorer.across_seeds([scorer.score(rows, state)])[0]


class Given:
    failed: dict[int, str] = {}

    def __init__(self, x):
        self.x, self.shape = x, x.shape[1:]

    def batch(self, rows, augment=None):
        return (self.x[rows],)


def net():
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def swept(scorer, x, y, weights):
    with Silent().task("visit", len(y)) as task:
        return sweep_rows([scorer], net(), weights, dict.fromkeys(weights, 0.1), Given(x), np.arange(len(y)), y, torch.device("cpu"), task)[
            0
        ]


def projected(model, epoch, inputs, labels, width):
    """Each row's gradient of log p / (1 - p), times the checkpoint's signs as one matrix, (n, width) float64."""
    rows = []
    for one, label in zip(inputs, labels, strict=True):
        p = model(one[None]).softmax(dim=1)[0, label]
        gradient = torch.autograd.grad((p / (1 - p)).log(), list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in gradient]).double())
    stacked = torch.stack(rows)
    return stacked @ signs(KeyedRandom(0, "projection", epoch), np.arange(stacked.shape[1]), width).double() / width**0.5


def naive(x, y, tx, ty, weights, width, ridge):
    """The three lines of the paper."""
    total, missed = 0, 0
    for epoch, state in weights.items():
        model = net()
        model.load_state_dict(state)
        phi, target = projected(model, epoch, x, y, width), projected(model, epoch, tx, ty, width)
        kernel = phi.T @ phi
        kernel += ridge * kernel.diagonal().mean() * torch.eye(width)
        total = total + target @ kernel.inverse() @ phi.T / len(weights)
        missed = missed + (1 - model(x).softmax(dim=1)[torch.arange(len(y)), torch.from_numpy(y)]) / len(weights)
    return (total * missed).T.detach().numpy()


def test_trak_is_the_formula():
    torch.manual_seed(0)
    x, tx = torch.randn(30, 5), torch.randn(4, 5)
    y, ty = np.arange(30) % 3, np.array([0, 1, 2, 0])
    weights = {epoch: net().state_dict() for epoch in (1, 2)}
    scorer = Trak(width=8, ridge=0.1, projection="rademacher", epochs=(1, 2), pairs=True)

    found, seen = (swept(scorer, inputs, labels, weights) for inputs, labels in ((x, y), (tx, ty)))
    columns = scored(scorer, shard_of({f"swept.{name}": v for name, v in found.items()}), seen["sketch"])

    expected = naive(x, y, tx, ty, weights, 8, 0.1)
    np.testing.assert_allclose(columns["influence"], expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(columns["score"], expected.mean(axis=1), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(columns["most_on"], expected.argmax(axis=1))


def test_the_influence_on_itself_is_the_diagonal():
    torch.manual_seed(0)
    x, y = torch.randn(30, 5), np.arange(30) % 3
    weights = {1: net().state_dict()}
    scorer = Trak(width=8, ridge=0.1, epochs=(1,)).without_target()

    rows = shard_of({f"swept.{name}": v for name, v in swept(scorer, x, y, weights).items()})
    columns = scorer.across_seeds([scorer.score(rows, scorer.merge([scorer.fit(rows, None)]))])[0]

    np.testing.assert_allclose(columns["score"], naive(x, y, x, y, weights, 8, 0.1).diagonal(), rtol=1e-3)


def test_too_few_rows_for_the_width_need_a_ridge():
    rows = shard_of({"swept.sketch": [[1.0, 1.0]], "swept.miss": [0.1]})
    scorer = Trak(width=2, ridge=0, epochs=(1,))

    with pytest.raises(InputError, match=r"do not span.*trak:ridge=0.01"):
        scored(scorer, rows, [[1.0, 0]])


@pytest.mark.parametrize("options", [{"width": 0}, {"ridge": -1.0}, {"pairs": True, "on": "itself"}])
def test_options_that_cannot_be(options):
    with pytest.raises(OptionError, match="trak: "):
        Trak(**options)


@pytest.mark.parametrize("scorer", [Trak(width=1), Trak(width=1, on="itself")])
def test_trak_keeps_the_contract(scorer):
    check_scorer(scorer)


def table(n):
    """Three classes, told apart by their first column."""
    x = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    x[:, 0] += 2 * (np.arange(n) % 3)
    return x, np.arange(n) % 3


def test_the_target_is_seen_by_the_same_checkpoints(tmp_path):
    """A target that is the first rows themselves: every row's largest influence is on itself, and it is that without a target."""
    x, y = table(120)
    data, target = curate.load((x, y)), curate.load((x[:20], y[:20]))
    options = {"epochs": EPOCHS, "model": "mlp", "out": tmp_path / "s"}

    scores = curate.score(data, ["trak:width=64,pairs=true", "alone=trak:width=64,on=itself"], target=target, shard_rows=50, **options)

    influence = scores["trak.influence"]
    assert influence.shape == (120, 20)
    np.testing.assert_allclose(influence[:20].diagonal(), scores["alone"][:20], rtol=1e-4)
    assert (scores["trak.most_on"][:20] == np.arange(20)).mean() > 0.9
    assert scores.hard_sign("alone") == 1 and scores.hard_sign("trak") == 0
    with pytest.raises(ColumnError, match=r'20 numbers a row.*"trak"'):
        curate.select(data, scores, sampler="top", by="trak.influence", keep="high", budget=0.1, out=tmp_path / "chosen")


def test_a_target_that_the_model_cannot_see_is_refused_at_once(tmp_path):
    data = curate.load(table(30))
    with pytest.raises(ColumnError, match="label"):
        curate.score(data, ["trak"], target=curate.load(np.eye(4, dtype=np.float32)), out=tmp_path / "s")
    with pytest.raises(ColumnError, match=r'The target ".*" has inputs of width 3'):
        curate.score(data, ["trak"], target=curate.load((np.eye(3, dtype=np.float32), np.arange(3))), out=tmp_path / "s")
    with pytest.raises(OptionError, match="--target DATA"):
        curate.score(data, ["trak:pairs=true"], out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_the_command_without_a_target_scores_rows_on_themselves(tmp_path):
    x, y = table(60)
    pd.DataFrame(x).add_prefix("x").assign(label=y).to_csv(tmp_path / "d.csv", index=False)
    out = ["--out", str(tmp_path / "s"), "--quiet"]

    done = CliRunner().invoke(cli, ["score", str(tmp_path / "d.csv"), "--scorer", "trak:width=16", "--epochs", "2", *out])

    assert done.exit_code == 0, done.stderr
    assert (Scores.open(tmp_path / "s")["trak"] > 0).all()
