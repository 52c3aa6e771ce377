"""Ghost norms against one autograd call a row, in float64."""

import pytest
import torch
from torch import nn

from curate.errors import InputError
from curate.signals.ghost import GhostNorms, Outer, Scatter, outer_norm, scatter_norm
from curate.signals.models import ConvNet, ResNet18, TextBag

B = 5


def naive(model, batch, labels):
    """A row's gradient after the other, every parameter's squared norm added up."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    norms = []
    for i in range(len(labels)):
        gradients = torch.autograd.grad(nn.functional.cross_entropy(model(*batch(i)), labels[i : i + 1]), parameters, allow_unused=True)
        norms.append(sum((g**2).sum() for g in gradients if g is not None))
    return torch.stack(norms)


class Tied(nn.Module):
    """Head and embedding share a weight, a layer norm and a linear layer are used twice, positions are one for all rows."""

    def __init__(self, shape, classes):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(classes, 6), nn.Embedding(7, 6)
        self.norm, self.mix = nn.LayerNorm(6), nn.Linear(6, 6)
        self.head = nn.Linear(6, classes)
        self.head.weight = self.tokens.weight

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1])[None])
        x = x + torch.relu_(self.mix(self.norm(x)))
        x = x + torch.tanh_(self.mix(self.norm(x)))
        return self.head(x).mean(dim=1)


class Past(nn.Module):
    """Attention uses its weights past their layers, and there is a bare parameter."""

    def __init__(self, shape, classes):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.scale = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, classes)

    def forward(self, x):
        return self.head((self.attention(x, x, x, need_weights=False)[0] * self.scale).mean(dim=1))


def strided(shape, classes):
    return nn.Sequential(
        nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2), groups=2, padding_mode="reflect"),
        nn.GroupNorm(3, 6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, padding="same", groups=6),
        nn.Flatten(),
        nn.LazyLinear(classes),
    )


def rms(shape, classes):
    return nn.Sequential(nn.Linear(3, 30), nn.RMSNorm(30), nn.GELU(), nn.Linear(30, 30), nn.Flatten(), nn.Linear(60, classes))


def sequence(shape, classes):
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, classes)
    )


def images(*shape):
    return torch.randn(B, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


CASES = {
    "convnet": (ConvNet, (1, 12, 12), images(1, 12, 12)),
    "resnet18": (ResNet18, (3, 8, 8), images(3, 8, 8)),
    "strides, groups, dilation, reflected borders, in-place": (strided, (4, 9, 9), images(4, 9, 9)),
    "rms norm": (rms, (3,), images(2, 3)),
    "one dimension": (sequence, (2, 9), images(2, 9)),
    "tied weights, layers used twice": (Tied, (7,), torch.randint(0, 4, (B, 7), generator=torch.Generator().manual_seed(0))),
    "attention and a bare parameter": (Past, (3, 4), images(3, 4)),
}


def built(build, shape, x):
    torch.manual_seed(0)
    model = build(shape, 4).double()
    model(x)  # running statistics, lazy shapes
    return model.eval()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_ghost_norms_equal_a_gradient_a_row(case):
    model, x, y = built(*case), case[2], torch.arange(B) % 4

    logits, norms = GhostNorms(model)((x,), y, lambda i: (x[i : i + 1],))

    torch.testing.assert_close(norms, naive(model, lambda i: (x[i : i + 1],), y).to(norms), rtol=1e-9, atol=0)
    torch.testing.assert_close(logits, model(x))


@pytest.mark.parametrize("mode", ["mean", "sum"])
def test_a_bag_of_repeated_words_adds_up_before_it_is_squared(mode: str):
    torch.manual_seed(0)
    model, y = TextBag((9,), 4).double().eval(), torch.tensor([0, 3])
    model.embedding.mode = mode
    bags = [torch.tensor([1, 1, 2]), torch.tensor([5])]
    one = [(bag, torch.tensor([0])) for bag in bags]

    _, norms = GhostNorms(model)((torch.cat(bags), torch.tensor([0, 3])), y, lambda i: one[i])

    torch.testing.assert_close(norms, naive(model, lambda i: one[i], y), rtol=1e-9, atol=0)


class Recurrent(nn.Module):
    """A layer that has no rule and cannot be mapped over rows."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.head = nn.GRU(1, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.recurrent(x[:, :, None])[0][:, -1])


def test_layers_without_a_rule_that_cannot_be_mapped_get_a_backward_pass_a_row(caplog):
    torch.manual_seed(0)
    model, x, labels = Recurrent().double().eval(), torch.randn(B, 6).double(), torch.arange(B) % 3
    ghost = GhostNorms(model)

    _, norms = ghost((x,), labels, lambda i: (x[i : i + 1],))

    torch.testing.assert_close(norms, naive(model, lambda i: (x[i : i + 1],), labels))
    assert "recurrent.weight_hh_l0" in caplog.text


def test_what_bypasses_its_layer_gets_explicit_gradients():
    model, x = built(*CASES["attention and a bare parameter"]), images(3, 4)
    ghost = GhostNorms(model)

    ghost((x,), torch.zeros(B, dtype=torch.long), lambda i: (x[i : i + 1],))

    assert ghost.explicit == {"scale"} | {name for name, _ in model.named_parameters() if name.startswith("attention")}


def test_both_routes_give_the_worked_example():
    """T = 2, a = (1,0),(1,0), g = 1,1: the sum of the outer products is (2,0), of norm² 4; adding the norms would give 2."""
    assert outer_norm(Outer(torch.tensor([[[1.0, 0], [1, 0]]]), torch.tensor([[[1.0], [1]]]))).item() == 4
    wide = Outer(torch.eye(2, 9)[None], torch.ones(1, 2, 9))  # Gram is cheaper
    assert outer_norm(wide).item() == 18


def test_a_token_that_comes_twice_counts_as_one_row():
    assert scatter_norm(Scatter(torch.tensor([[5, 5, 7]]), torch.tensor([[[1.0, 0], [1, 0], [0, 2]]]))).item() == 8


def test_batch_norm_in_training_mode_is_refused():
    model, x = built(*CASES["convnet"]).train(), images(1, 12, 12)

    with pytest.raises(InputError, match="training mode"):
        GhostNorms(model)((x,), torch.zeros(B, dtype=torch.long), lambda i: (x[i : i + 1],))


def test_frozen_parameters_do_not_count():
    model, x, y = built(*CASES["convnet"]), images(1, 12, 12), torch.zeros(B, dtype=torch.long)
    model[0].weight.requires_grad_(False)
    model[1].bias.requires_grad_(False)

    _, norms = GhostNorms(model)((x,), y, lambda i: (x[i : i + 1],))

    torch.testing.assert_close(norms, naive(model, lambda i: (x[i : i + 1],), y), rtol=1e-9, atol=0)
