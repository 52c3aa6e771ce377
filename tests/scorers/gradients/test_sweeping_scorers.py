"""VoG, GraNd, GraNd-last and TracIn on models small enough to work out by hand, and against a loop of one autograd call a row."""

import numpy as np
import pytest
import torch
from torch import nn

from curate.errors import InputError, OptionError
from curate.progress import Silent
from curate.scorers.gradients.grand import GraNd
from curate.scorers.gradients.grand_last import GraNdLast
from curate.scorers.gradients.tracin import TracIn
from curate.scorers.gradients.vog import VoG
from curate.signals.models import ConvNet, TextBag
from curate.signals.sweep import sweep_rows
from curate.testing import check_scorer, shard_of

N = 7
SCORERS = [VoG(), VoG(normalise="none", estimator="printed"), GraNd(), GraNdLast(), TracIn(), TracIn(layers="last")]


class Given:
    """Inputs that are a tensor, a row a row."""

    failed: dict[int, str] = {}

    def __init__(self, x, mask=None):
        self.x, self.mask, self.shape = x, mask, x.shape[1:]

    def batch(self, rows, augment=None):
        return (self.x[rows],) if self.mask is None else (self.x[rows], self.mask[rows])


class Bags:
    """Texts as bags of ids."""

    failed: dict[int, str] = {}
    shape = (9,)

    def __init__(self, bags):
        self.bags = bags

    def batch(self, rows, augment=None):
        chosen = [torch.tensor(self.bags[row]) for row in rows.tolist()]
        return torch.cat(chosen), torch.tensor([0, *np.cumsum([len(bag) for bag in chosen])[:-1]])


class Tokens(nn.Module):
    """Embeds ids, forgets what the mask hides, and mixes positions."""

    def __init__(self, classes=3):
        super().__init__()
        self.embedding, self.body, self.head = nn.Embedding(9, 4), nn.Linear(4, 6), nn.Linear(6, classes)

    def forward(self, ids, mask):
        x = torch.tanh(self.body(self.embedding(ids))) * mask[..., None]
        return self.head(x.sum(dim=1) / mask.sum(dim=1, keepdim=True))


def snapshots(build, count):
    """A model's weights at `count` made-up checkpoints."""
    found = {}
    for epoch in range(1, count + 1):
        torch.manual_seed(epoch)
        found[epoch] = {name: value.clone() for name, value in build().state_dict().items()}
    return found


def swept(scorer, build, inputs, labels, weights, rates=None):
    rates = rates or dict.fromkeys(weights, 0.1)
    with Silent().task("visit", len(labels)) as task:
        return sweep_rows([scorer], build(), weights, rates, inputs, np.arange(len(labels)), np.asarray(labels), torch.device("cpu"), task)[
            0
        ]


def linear(*rows):
    """A linear model without bias over two inputs, whose class 0 has these weights in turn."""
    return {epoch: {"weight": torch.tensor([row, (0.0, 0.0)])} for epoch, row in enumerate(rows, 1)}


@pytest.mark.parametrize(("estimator", "expected"), [("std", 0.408248), ("printed", 0.577350)])
def test_vog_of_a_linear_model(estimator: str, expected: float):
    """Gradients (1,0), (2,0), (3,0): deviations √(2/3) and 0, their mean .408; printed: 2/√3 and 0, their mean .577."""
    weights = linear((1.0, 0.0), (2.0, 0.0), (3.0, 0.0))
    scorer = VoG(estimator=estimator, epochs=(1, 2, 3))

    raw = swept(scorer, lambda: nn.Linear(2, 2, bias=False), Given(torch.randn(4, 2)), [0, 0, 0, 1], weights)["raw"]

    np.testing.assert_allclose(raw, [expected] * 3 + [0], atol=1e-6)


def test_vog_of_a_gradient_that_never_changes_is_0():
    weights = linear(*[(1.0, 2.0)] * 3)

    raw = swept(VoG(epochs=(1, 2, 3)), lambda: nn.Linear(2, 2, bias=False), Given(torch.randn(2, 2)), [0, 0], weights)["raw"]

    np.testing.assert_array_equal(raw, [0, 0])


def test_vog_is_standardised_within_the_class_and_a_class_of_one_scores_0():
    scorer = VoG(epochs=(1, 2, 3))
    shard = shard_of({"swept.raw": [1.0, 2, 3, 7, np.nan], "label": [0, 0, 0, 1, 0]})

    columns = scorer.score(shard, scorer.merge([scorer.fit(shard, None)]))

    np.testing.assert_allclose(columns["score"], [-1.224745, 0, 1.224745, 0, np.nan], atol=1e-6)


@pytest.mark.parametrize("output", ["logit", "prob"])
def test_vog_of_images_equals_a_loop_over_rows(output: str):
    build, y = (lambda: ConvNet((3, 8, 8), 4)), [0, 1, 2, 3, 0, 1, 2]
    x, weights = torch.randn(N, 3, 8, 8, generator=torch.Generator().manual_seed(0)), snapshots(lambda: ConvNet((3, 8, 8), 4), 3)
    model, gradients = build().eval(), np.zeros((3, N, 8, 8))
    for epoch, state in weights.items():
        model.load_state_dict(state)
        for i in range(N):
            row = x[i : i + 1].clone().requires_grad_()
            logits = model(row)
            (logits.softmax(1) if output == "prob" else logits)[0, y[i]].backward()
            gradients[epoch - 1, i] = row.grad[0].mean(dim=0)

    raw = swept(VoG(output=output, epochs=(1, 2, 3)), build, Given(x), y, weights)["raw"]

    np.testing.assert_allclose(raw, gradients.std(axis=0).mean(axis=(1, 2)), rtol=1e-4)


def test_vog_of_text_does_not_see_padding():
    ids, weights = torch.tensor([[1, 2, 3], [4, 5, 0]]), snapshots(Tokens, 3)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])

    raw = swept(VoG(epochs=(1, 2, 3)), Tokens, Given(ids, mask), [0, 1], weights)["raw"]
    alone = swept(VoG(epochs=(1, 2, 3)), Tokens, Given(ids[1:, :2], mask[1:, :2]), [1], weights)["raw"]

    np.testing.assert_allclose(raw[1], alone[0], rtol=1e-5)


def test_grand_last_gives_the_worked_example():
    """p = (.787, .107, .107), y = 0, h = (3, 4): .260888 √26 with the bias, .260888 x 5 without."""
    weights = {1: {"weight": torch.tensor([[2 / 3, 0], [0, 0], [0, 0]]), "bias": torch.zeros(3)}}
    given = lambda: nn.Linear(2, 3)  # noqa: E731

    both = [
        swept(s, given, Given(torch.tensor([[3.0, 4.0]])), [0], weights)["norm"]
        for s in (GraNdLast(epochs=(1,)), GraNdLast(epochs=(1,), bias=False))
    ]
    full = swept(GraNd(epochs=(1,)), given, Given(torch.tensor([[3.0, 4.0]])), [0], weights)["norm"]

    np.testing.assert_allclose(np.ravel(both), [1.330272, 1.304439], atol=1e-5)
    np.testing.assert_allclose(full, [1.330272], atol=1e-5)


def test_tracin_of_one_checkpoint_is_the_rate_times_the_gradients_product_with_itself():
    build, x, y = (lambda: nn.Linear(3, 2)), torch.randn(N, 3), [0, 1, 0, 1, 0, 1, 0]
    weights = snapshots(build, 1)
    expected = []
    for i in range(N):
        model = build()
        model.load_state_dict(weights[1])
        nn.functional.cross_entropy(model(x[i : i + 1]), torch.tensor(y[i : i + 1])).backward()
        expected.append(0.3 * sum(float((p.grad * p.grad).sum()) for p in model.parameters()))

    for layers in ("all", "last"):
        found = swept(TracIn(layers=layers, epochs=(1,)), build, Given(x), y, weights, {1: 0.3})["influence"]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_bag_of_words_is_scored_by_all_of_them():
    bags, weights = Bags([[1, 2], [3], [4, 5, 6], [1, 1]]), snapshots(lambda: TextBag((9,), 3), 3)

    for scorer in SCORERS:
        for values in swept(scorer.settle(3), lambda: TextBag((9,), 3), bags, [0, 1, 2, 0], weights).values():
            assert np.isfinite(values).all() and (values > 0).all()


def test_a_gradient_that_is_not_finite_spoils_its_own_row_only():
    x = torch.randn(4, 2)
    x[1] = torch.nan

    norm = swept(GraNd(epochs=(1,)), lambda: nn.Linear(2, 3), Given(x), [0, 1, 2, 0], snapshots(lambda: nn.Linear(2, 3), 1))["norm"]

    np.testing.assert_array_equal(np.isnan(norm), [False, True, False, False])


def test_a_model_without_a_last_linear_layer_is_refused_by_name():
    build = lambda: nn.Sequential(nn.Linear(2, 3), nn.Tanh())  # noqa: E731

    with pytest.raises(InputError, match="does not end in one linear layer"):
        swept(GraNdLast(epochs=(1,)), build, Given(torch.randn(2, 2)), [0, 1], snapshots(build, 1))


@pytest.mark.parametrize(
    ("settle", "message"),
    [
        (lambda: VoG().settle(2), "needs 3 epochs, the run has 2"),
        (lambda: VoG(epochs=(1, 2)), "3 checkpoints or more"),
        (lambda: VoG(count=2), "count must be 3 or more"),
        (lambda: GraNd(epochs=(9,)).settle(8), "epoch 9 needs 9 epochs"),
        (lambda: TracIn(epochs=(2, 2)), "distinct"),
    ],
    ids=["a run too short", "two epochs", "count", "beyond the run", "twice the same"],
)
def test_checkpoints_that_cannot_be_are_refused(settle, message: str):
    with pytest.raises(OptionError, match=message):
        settle()


def test_a_stage_is_a_third_of_the_run_and_at_least_three_checkpoints():
    assert VoG(stage="late").settle(30).epochs == tuple(range(21, 31))
    assert VoG(stage="early").settle(8).epochs == (1, 2, 3)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda s: type(s).__name__)
def test_keeps_its_promises(scorer):
    check_scorer(scorer)


@pytest.mark.parametrize("epochs", [3, 6, 12, 30, 60, 200])
def test_gradient_scorers_meet_at_the_same_checkpoints(epochs):
    """A sweep for all of them then visits no checkpoint that VoG alone would not."""
    grand, tracin, vog = (set(scorer.settle(epochs).epochs) for scorer in (GraNd(), TracIn(), VoG()))

    assert grand < tracin <= vog
    assert {1, epochs} <= tracin and len(tracin) == min(5, epochs) and len(vog) == min(10, epochs)
