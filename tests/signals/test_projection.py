"""Projections of rows' gradients: their inner products, their signs, and every kind of layer against autograd."""

import numpy as np
import pytest
import torch
from torch import nn

from curate.rng import KeyedRandom
from curate.signals import projection
from curate.signals.ghost import Dense, GhostNorms, cross_entropy, log_odds
from curate.signals.models import TextBag
from curate.signals.projection import Projection, signs

RNG = KeyedRandom(0, "projection", 1)
B = 3


class Mixed(nn.Module):
    """Every kind of term: a grouped and a plain convolution, a norm, a linear layer over positions, one over a vector, a bare parameter."""

    def __init__(self):
        super().__init__()
        self.grouped, self.norm = nn.Conv2d(4, 6, 3, groups=2), nn.GroupNorm(3, 6)
        self.mix, self.head = nn.Linear(6, 5), nn.Linear(5, 3)
        self.scale = nn.Parameter(torch.randn(5))

    def forward(self, x):
        x = torch.relu(self.norm(self.grouped(x))).flatten(2).transpose(1, 2)
        return self.head((torch.tanh(self.mix(x)) * self.scale).mean(dim=1))


class Tokens(nn.Module):
    """The head is the embedding, so its gradient comes from both."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7)
        self.head.weight = self.tokens.weight

    def forward(self, ids):
        return self.head(torch.tanh(self.tokens(ids)).mean(dim=1))


def gradients(model, batch, labels, output):
    """A row after the other, all parameters flat, (b, P)."""
    parameters = list(model.parameters())
    found = []
    for i in range(len(labels)):
        each = torch.autograd.grad(output(model(*batch(i)), labels[i : i + 1]).sum(), parameters)
        found.append(torch.cat([g.flatten() for g in each]))
    return torch.stack(found)


def sketches(model, inputs, one, labels, output, width, kind):
    ghost = GhostNorms(model)
    terms, explicit = ghost.gradients(ghost.record(inputs, len(labels)), inputs, labels, one, output)
    with torch.no_grad():
        return Projection(model, width, kind, RNG)(terms, explicit, len(labels), labels.device)


def built(name):
    torch.manual_seed(0)
    if name == "mixed":
        x = torch.randn(B, 4, 5, 5)
        return Mixed().eval(), (x,), lambda i: (x[i : i + 1],)
    if name == "tied":
        ids = torch.tensor([[1, 1, 2], [3, 2, 1], [6, 0, 6]])
        return Tokens().eval(), (ids,), lambda i: (ids[i : i + 1],)
    bags = [torch.tensor(bag) for bag in ([4, 4, 1], [2], [8, 0])]
    inputs = torch.cat(bags), torch.tensor([0, 3, 4])
    return TextBag((9,), 3, width=4).eval(), inputs, lambda i: (bags[i], torch.tensor([0]))


@pytest.mark.parametrize("output", [cross_entropy, log_odds])
@pytest.mark.parametrize("kind", ["rademacher", "sjlt"])
@pytest.mark.parametrize("name", ["mixed", "tied", "bag"])
def test_a_sketch_is_the_projection_of_the_gradient_that_autograd_forms(name, kind, output, monkeypatch):
    monkeypatch.setattr(projection, "CELLS", 40)  # many small pieces
    model, inputs, one = built(name)
    labels = torch.tensor([0, 2, 1])
    g = gradients(model, one, labels, output)
    places = np.arange(g.shape[1])

    found = sketches(model, inputs, one, labels, output, 70, kind)

    matrix = signs(RNG, places, 70) / 70**0.5 if kind == "rademacher" else sparse(places, 70)
    torch.testing.assert_close(found, g @ matrix, atol=1e-5, rtol=1e-4)


def sparse(places, width):
    """The sparse matrix, an entry at a time."""
    matrix = torch.zeros(len(places), width)
    for hit in range(4):
        for i, bits in enumerate(RNG.child("hit", hit).bits(places).tolist()):
            matrix[i, (bits >> 1) % width] += (1 if bits & 1 else -1) / 2
    return matrix


@pytest.mark.parametrize("kind", ["rademacher", "sjlt", "kronecker"])
def test_inner_products_are_kept_on_average(kind):
    model, inputs, one = built("mixed")
    labels = torch.tensor([0, 2, 1])
    g = gradients(model, one, labels, cross_entropy)
    true = (g[0] @ g[1]).item()
    ghost = GhostNorms(model)
    terms, explicit = ghost.gradients(ghost.record(inputs, B), inputs, labels, one, cross_entropy)

    found = []
    with torch.no_grad():
        for seed in range(80):
            s = Projection(model, 64, kind, KeyedRandom(seed, "test"))(terms, explicit, B, labels.device)
            found.append((s[0] @ s[1]).item())

    assert abs(np.mean(found) - true) < 4 * np.std(found) / 80**0.5


@pytest.mark.parametrize("kind", ["rademacher", "sjlt"])
def test_lengths_vary_as_johnson_and_lindenstrauss_say(kind):
    """√(2 / 2048) = .031 of a squared length."""
    g = torch.randn(200, 300)
    model = nn.Linear(300, 1, bias=False)

    s = Projection(model, 2048, kind, RNG)({"weight": [Dense(g)]}, {}, 200, g.device)

    ratio = s.square().sum(dim=1) / g.square().sum(dim=1)
    assert abs(ratio.mean() - 1) < 0.01 and 0.026 < ratio.std() < 0.036


def test_the_size_of_the_pieces_changes_nothing(monkeypatch):
    """Whole numbers, so that no sum rounds: 7 or 1,000 parameters a piece give the same bits."""
    g = torch.randint(-9, 9, (B, 2000)).float()
    model = nn.Linear(2000, 1, bias=False)
    found = []
    for pieces in (7, 1000):
        monkeypatch.setattr(projection, "CELLS", B * pieces)
        found.append(Projection(model, 64, "rademacher", RNG)({"weight": [Dense(g)]}, {}, B, g.device))

    assert torch.equal(*found)


def test_another_checkpoint_has_other_signs():
    places = np.arange(64)

    agree = (signs(RNG, places, 64) == signs(KeyedRandom(0, "projection", 2), places, 64)).float().mean()

    assert 0.45 < agree < 0.55


def test_auto_is_dense_for_small_networks_and_sparse_for_large_ones():
    assert Projection(nn.Linear(100, 10), 512, "auto", RNG).kind == "rademacher"
    assert Projection(nn.Linear(10_000, 10), 2048, "auto", RNG).kind == "sjlt"


def test_log_odds_and_their_gradient():
    """T-MARGIN: logits (2, 0, 0), label 0: f = 2 - ln 2; the gradient of the loss is -(1 - p) times that of f."""
    z, y = torch.tensor([[2.0, 0, 0]], requires_grad=True), torch.tensor([0])

    f = log_odds(z, y)

    (df,) = torch.autograd.grad(f.sum(), z)
    (dl,) = torch.autograd.grad(cross_entropy(z, y).sum(), z)
    assert f.item() == pytest.approx(1.306853, abs=1e-6)
    torch.testing.assert_close(df, torch.tensor([[1, -0.5, -0.5]]))
    torch.testing.assert_close(dl, -(1 - z.softmax(1)[0, 0].detach()) * df)
