import numpy as np
import pytest
import torch

import curate
from curate.errors import OptionError
from curate.progress import Silent
from curate.signals import training
from curate.signals.inputs import prepare
from curate.signals.models import MLP, ConvNet
from curate.signals.runs import Run
from curate.signals.training import Recipe, seeded, train
from curate.store import Store

CPU = torch.device("cpu")
FEW = Recipe(epochs=4, batch_size=16)


@pytest.fixture(scope="module")
def digits():
    return curate.load("sample:digits", limit=60)


def vectors(n=40):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    return curate.load(((rng.normal(size=(n, 5)) + labels[:, None]).astype(np.float32), labels))


def start(folder, seed=0):
    """The run in a folder, opened or begun, as the stage does."""
    begun = (folder / "manifest.json").is_file()
    job = {"seed": seed, "epochs": 4}
    store = Store.open(folder) if begun else Store.create(folder, "run", dataset={"rows": 0}, job=job, settled={})
    for table in ("dynamics", "checkpoints", "state"):
        store.describe(table, {})
    return Run(store)


def trained(folder, data, recipe=FEW, seed=0, model=None):
    inputs = prepare(data, CPU, Silent())
    build = model or (ConvNet if data.modality == "image" else MLP)
    run = start(folder, seed)
    train(run, seeded(lambda: build(inputs.shape, 10), seed), inputs, data.labels, recipe, classes=10, device=CPU, progress=Silent())
    return run


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "log.jsonl"}


class Killed(BaseException):
    pass


def killing(monkeypatch, function, after):
    """Makes a function of the trainer die at its n-th call."""
    calls, whole = [], getattr(training, function)

    def counted(*args, **options):
        calls.append(1)
        if len(calls) == after:
            raise Killed
        return whole(*args, **options)

    monkeypatch.setattr(training, function, counted)


@pytest.mark.parametrize(
    ("optimizer", "function", "after"),
    [("sgd", "_step", 1), ("sgd", "_step", 15), ("sgd", "_save", 2), ("sgd", "_save", 5), ("adamw", "_step", 6), ("adamw", "_save", 8)],
)
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(digits, tmp_path, monkeypatch, optimizer, function, after):
    recipe = Recipe(epochs=4, batch_size=16, optimizer=optimizer, lr=0.01, schedule="onecycle")
    trained(tmp_path / "whole", digits, recipe)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killing(patch, function, after)
        trained(tmp_path / "killed", digits, recipe)

    trained(tmp_path / "killed", digits, recipe)

    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_finished_run_is_left_alone(digits, tmp_path):
    before = trained(tmp_path, digits).store.history()

    assert trained(tmp_path, digits).store.history() == before and len(before) == 4


def test_a_finished_run_keeps_weights_and_no_state(digits, tmp_path):
    run = trained(tmp_path, digits)

    assert [entry.file for entry in run.store.files("checkpoints")] == [f"epoch-{e:05d}.safetensors" for e in range(1, 5)]
    assert run.store.files("state") == [] and list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize(("kept", "files"), [("all", 4), ("last", 1), ("none", 0)])
def test_as_many_checkpoints_are_kept_as_asked(tmp_path, kept, files):
    run = trained(tmp_path, vectors(), Recipe(epochs=4, checkpoints=kept))

    assert len(run.store.files("checkpoints")) == files


def test_seeds_differ_and_equal_seeds_agree(tmp_path):
    data = vectors()
    first, again, other = (contents(trained(tmp_path / name, data, seed=seed).store.path) for name, seed in (("a", 0), ("b", 0), ("c", 1)))

    assert first == again
    assert first["dynamics/epoch-00001.arrow"] != other["dynamics/epoch-00001.arrow"]


def test_every_usable_row_is_presented_once_an_epoch(tmp_path):
    data = curate.load((np.zeros((6, 2), np.float32), np.array([0, 1, -1, 0, 1, 0])))
    run = trained(tmp_path, data)

    assert run.column("dynamics.visits", 0, 6)[:, 0].tolist() == [1, 1, 0, 1, 1, 1]
    assert np.isnan(run.column("dynamics.loss", 2, 3)).all()


def test_a_last_batch_of_one_row_is_joined_by_another_so_that_batch_norm_has_a_variance(digits, tmp_path):
    data = digits.select(np.arange(17))
    run = trained(tmp_path, data)

    assert run.column("dynamics.visits", 0, 17).sum(axis=0).tolist() == [18] * 4
    assert np.isfinite(run.column("dynamics.loss", 0, 17)).all()


def test_a_run_that_diverges_says_so_and_names_a_lower_rate(tmp_path):
    with pytest.raises(OptionError, match=r"Training diverged: .* of 40 losses of epoch \d+ are not finite.*--lr"):
        trained(tmp_path, vectors(), Recipe(epochs=4, lr=1000, batch_size=4))


def test_half_precision_trains(digits, tmp_path):
    run = trained(tmp_path, digits, Recipe(epochs=4, precision="bf16", batch_size=16))

    losses = run.column("dynamics.loss", 0, 60).mean(axis=0)
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [("constant", [1, 1, 1, 1]), ("cosine", [1, 0.853553, 0.5, 0.146447]), ("onecycle", [0.04, 0.76, 0.751, 0.376])],
)
def test_the_rate_follows_progress_alone(schedule, factors):
    optimizer = torch.optim.SGD(MLP((2,), 2).parameters(), lr=1)
    recipe = Recipe(epochs=4, lr=0.1, schedule=schedule)

    for epoch, factor in enumerate(factors):
        training.set_rate(optimizer, recipe, epoch / recipe.epochs)

        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * factor, rel=1e-5)


def test_dropout_is_drawn_anew_from_seed_and_epoch(tmp_path, monkeypatch):
    def build(shape, classes):
        return torch.nn.Sequential(torch.nn.Linear(*shape, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, classes))

    data = vectors()
    trained(tmp_path / "whole", data, model=build)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killing(patch, "_step", 5)
        trained(tmp_path / "killed", data, model=build)
    torch.rand(7)  # another process has drawn other numbers before
    trained(tmp_path / "killed", data, model=build)

    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0},
        {"lr": 1e30},
        {"lr": float("nan")},
        {"image_size": 2},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
    ],
    ids=str,
)
def test_a_recipe_that_cannot_be_followed_names_the_option(options):
    with pytest.raises(OptionError, match=f"{next(iter(options))} must be"):
        Recipe(**options)


def test_initial_weights_depend_on_the_seed_and_disturb_nobodys_random_numbers():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    first, again, other = (seeded(lambda: MLP((3,), 2), seed)[0].weight for seed in (0, 0, 1))

    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.rand(1), expected)
