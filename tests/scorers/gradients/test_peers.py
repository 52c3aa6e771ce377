"""Attribution beside its peers on the same input: TRAK by traker, TracIn by captum, both skipped where they are not installed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from curate.progress import Silent
from curate.rng import KeyedRandom
from curate.scorers.gradients.tracin import TracIn
from curate.scorers.gradients.tracin_target import TracInTarget
from curate.scorers.gradients.trak import Trak
from curate.signals.projection import signs
from curate.signals.sweep import sweep_rows
from curate.testing import shard_of

RATES = {1: 0.1, 2: 0.4}
WIDTH, RIDGE = 8, 0.5


class Given:
    failed: dict[int, str] = {}

    def __init__(self, x):
        self.x, self.shape = x, x.shape[1:]

    def batch(self, rows, augment=None):
        return (self.x[rows],)


def net():
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


@pytest.fixture(scope="module")
def given():
    torch.manual_seed(0)
    rows, target = (torch.randn(30, 5), np.arange(30) % 3), (torch.randn(4, 5), np.array([0, 1, 2, 0]))
    return rows, target, {epoch: net().state_dict() for epoch in RATES}


def swept(scorer, x, y, weights):
    chosen = {epoch: weights[epoch] for epoch in scorer.epochs}
    with Silent().task("visit", len(y)) as task:
        return sweep_rows([scorer], net(), chosen, RATES, Given(x), np.arange(len(y)), y, torch.device("cpu"), task)[0]


def influence(scorer, rows, target, weights):
    """(rows, targets)."""
    seen = [swept(scorer, *some, weights) for some in (rows, target)]
    told = scorer.merge_target([scorer.fit_target(shard_of({f"target.swept.{name}": v for name, v in seen[1].items()}))])
    shard, state = shard_of({f"swept.{name}": v for name, v in seen[0].items()}), {f"target.{key}": value for key, value in told.items()}
    columns = scorer.score(shard, scorer.merge([scorer.fit(shard, state)]) | state)
    return (scorer.across_seeds([columns])[0] if hasattr(scorer, "across_seeds") else columns)["influence"]


def test_trak_is_trakers_but_for_its_division_by_the_inverses_mean_size(given, tmp_path):
    """With our signs in its projector and our ridge as its `lambda_reg`.

    traker divides features by √parameters, so kernel and ridge by parameters, and the inverse by its own mean size: a factor a checkpoint.
    """
    peer = pytest.importorskip("trak")
    rows, target, weights = given
    scorer = Trak(width=WIDTH, ridge=RIDGE, projection="rademacher", epochs=(1,), pairs=True)
    model = net()
    model.load_state_dict(weights[1])
    parameters = sum(p.numel() for p in model.parameters())
    sketches = torch.from_numpy(swept(scorer, *rows, weights)["sketch"]).double()
    kernel = sketches.T @ sketches
    strength = RIDGE * float(kernel.trace()) / WIDTH
    inverse = (kernel + strength * torch.eye(WIDTH)).inverse()

    theirs = by_traker(peer, model, rows, target, strength / parameters, tmp_path)

    ours = influence(scorer, rows, target, weights)
    np.testing.assert_allclose(ours, theirs * parameters * float(inverse.abs().mean()), rtol=1e-3, atol=1e-6)


def by_traker(peer, model, rows, target, strength: float, folder: Path):
    """(rows, targets)."""
    from trak.projectors import AbstractProjector

    class Ours(AbstractProjector):
        def __init__(self):
            super().__init__(sum(p.numel() for p in model.parameters()), WIDTH, 0, "rademacher", "cpu")
            self.signs = signs(KeyedRandom(0, "projection", 1), np.arange(self.grad_dim), WIDTH) / WIDTH**0.5

        def project(self, grads, model_id):
            return peer.utils.vectorize(grads, device="cpu") @ self.signs

    tracer = peer.TRAKer(
        model, "image_classification", len(rows[1]), save_dir=folder, device="cpu", projector=Ours(), lambda_reg=strength,
        use_half_precision=False,
    )  # fmt: skip
    tracer.load_checkpoint(model.state_dict(), model_id=0)
    tracer.featurize((rows[0], torch.from_numpy(rows[1])), num_samples=len(rows[1]))
    tracer.finalize_features()
    tracer.start_scoring_checkpoint("here", model.state_dict(), model_id=0, num_targets=len(target[1]))
    tracer.score((target[0], torch.from_numpy(target[1])), num_samples=len(target[1]))
    return tracer.finalize_scores("here")


def by_captum(name, rows, weights, **options):
    """A captum TracIn over the checkpoints, whose loader says the learning rate."""
    peer = pytest.importorskip("captum.influence")
    model, data = net(), TensorDataset(rows[0], torch.from_numpy(rows[1]))

    def load(model, epoch):
        model.load_state_dict(weights[epoch])
        return RATES[epoch]

    loss = nn.CrossEntropyLoss(reduction="sum")
    return getattr(peer, name)(
        model=model, train_dataset=data, checkpoints=list(weights), checkpoints_load_func=load, loss_fn=loss, batch_size=len(data),
        **({"final_fc_layer": model[2]} if name == "TracInCPFast" else {"sample_wise_grads_per_batch": True}),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
def test_the_influence_on_itself_is_captums(given):
    rows, _, weights = given

    theirs = by_captum("TracInCP", rows, weights).self_influence()

    ours = swept(TracIn(epochs=tuple(weights)), *rows, weights)["influence"]
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4)


def test_the_last_layer_is_captums_and_the_bias(given):
    """captum's closed form is that of the last layer's weight alone, (e · e')(h · h'); ours has the bias's e · e' besides."""
    rows, target, weights = given
    peer = by_captum("TracInCPFast", rows, weights)
    error, wrong = (errors(weights, *some) for some in (rows, target))
    bias = sum(RATES[epoch] * error[epoch] @ wrong[epoch].T for epoch in weights).numpy()
    own = sum(RATES[epoch] * error[epoch].square().sum(dim=1) for epoch in weights).numpy()

    theirs = peer.influence((target[0], torch.from_numpy(target[1]))).detach().numpy().T

    pairs = influence(TracInTarget(epochs=tuple(weights), pairs=True), rows, target, weights)
    np.testing.assert_allclose(pairs - bias, theirs, rtol=1e-3, atol=1e-6)
    itself = swept(TracIn(layers="last", epochs=tuple(weights)), *rows, weights)["influence"]
    np.testing.assert_allclose(itself - own, peer.self_influence().detach().numpy(), rtol=1e-3)


def errors(weights, x, y):
    """p - onehot(y) at each checkpoint, (n, classes)."""
    found = {}
    for epoch, state in weights.items():
        model = net()
        model.load_state_dict(state)
        found[epoch] = (model(x).softmax(dim=1) - nn.functional.one_hot(torch.from_numpy(y), 3)).detach()
    return found
