import numpy as np
import pytest
import torch

import curate
from curate.progress import Silent
from curate.signals.fitting import Fixed, batches, fit, generator, quality
from curate.signals.inputs import prepare
from curate.signals.models import MLP
from curate.signals.training import Recipe, seeded

CPU = torch.device("cpu")
RECIPE = Recipe(optimizer="sgd", lr=0.1, batch_size=8, momentum=0, weight_decay=0)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    return curate.load(((rng.normal(size=(60, 4)) + 3 * np.eye(4)[labels]).astype(np.float32), labels))


def trained(data, rows, weights=None, *, seed=0, steps=20, recipe=RECIPE):
    inputs = prepare(data, CPU, Silent())
    model = seeded(lambda: MLP(inputs.shape, 3), seed)
    weights = np.ones(len(rows)) if weights is None else weights
    with Silent().task("", 1) as task:
        draw = generator(seed)
        feed = Fixed(weights, recipe.batch_size, steps, draw)
        fit(model, inputs, data.labels, rows, feed, recipe, draw=draw, device=CPU, task=task)
    return model, inputs


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_every_batch_is_full_and_every_row_comes_equally_often():
    found = list(batches(5, 3, 10, torch.Generator().manual_seed(0)))

    assert {len(batch) for batch in found} == {3}
    assert torch.bincount(torch.cat(found)).tolist() == [6] * 5


def test_fewer_rows_than_a_batch_are_one_batch():
    found = list(batches(3, 8, 4, torch.Generator().manual_seed(0)))

    assert [sorted(batch.tolist()) for batch in found] == [[0, 1, 2]] * 4


def test_the_same_seed_gives_the_same_model_and_another_another(data):
    rows = np.arange(60)

    one, again, other = (parameters(trained(data, rows, seed=seed)[0]) for seed in (0, 0, 1))

    assert torch.equal(one, again) and not torch.equal(one, other)


def test_a_row_of_weight_zero_teaches_nothing(data):
    rows = np.arange(8)  # one batch, so that every step sees the same rows
    weights = np.array([2.0, 2, 2, 2, 0, 0, 0, 0])
    relabelled = curate.load((data.matrix(0, 60), np.where(np.isin(np.arange(60), [4, 5, 6, 7]), (data.labels + 1) % 3, data.labels)))

    given, changed = (parameters(trained(which, rows, weights)[0]) for which in (data, relabelled))

    assert torch.equal(given, changed)


def test_only_the_weights_ratios_count(data):
    weights = np.linspace(1, 2, 60)

    one, other = (parameters(trained(data, np.arange(60), scale * weights)[0]) for scale in (1, 1000))

    torch.testing.assert_close(one, other)


def test_what_is_learned_is_measured(data):
    model, inputs = trained(data, np.arange(60), steps=200)

    found = quality(model, inputs, data.labels, np.arange(60), CPU)

    logits = model(*inputs.batch(torch.arange(60))).detach()
    assert found["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.labels))), rel=1e-5)
    assert found["accuracy"] == pytest.approx(float((logits.argmax(1).numpy() == data.labels).mean()))
    assert found["accuracy"] > 0.8 and found["worst_class"] <= found["accuracy"] and 0 <= found["ece"] <= 1


def test_a_diverged_model_has_no_quality(data):
    model, inputs = trained(data, np.arange(60), recipe=Recipe(lr=1000, batch_size=8), steps=60)
    for parameter in model.parameters():
        parameter.data.fill_(torch.nan)

    assert all(np.isnan(value) for value in quality(model, inputs, data.labels, np.arange(60), CPU).values())
