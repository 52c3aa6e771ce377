"""The matching loop and the methods on it: what is drawn, what a step changes, resuming, and losses that are not a number."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from curate.distill import matching, trajectories
from curate.distill.ast_ import AST
from curate.distill.datm import DATM, known_rows, mean_logits
from curate.distill.experts import Recipe, obtain
from curate.distill.images import Images
from curate.distill.matching import Batches, Plan, Window, balance, draw, losses_of, perturbed
from curate.distill.mtt import MTT
from curate.distill.networks import MLP, ConvNet, Network
from curate.distill.tesla import TESLA
from curate.distill.unroll import Segments, Student, Synthetic, Waypoint, adjoint, roll_out
from curate.distill.zca import Standard
from curate.errors import InputError, OptionError
from curate.progress import Silent
from curate.rng import KeyedRandom

CLASSES, IPC = 3, 2
SHORT = {"experts": 3, "epochs": 6, "window": (0, 4), "iterations": 6, "steps": 4, "width": 6, "expert_batch": 10, "train_steps": 5}
PLAN = Plan(4, 2, Window(0, 4, 4), 6, 2, 0, (1.0, 1.0, 1e-3))


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def images(folder, *, n=45, progress=None) -> Images:
    noise = torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % CLASSES
    pixels = (noise + 2 * labels[:, None, None, None]) * 20 + 100
    made = Standard.fit(pixels)
    cpu = torch.device("cpu")
    return Images(made.apply(pixels), labels, np.arange(n), CLASSES, made, cpu, folder, None, "a" * 32, progress or Notes(), pixels)


def network() -> Network:
    return Network(lambda: MLP((1, 4, 4), CLASSES, 6))


def distill(method, folder, *, seed=0, ipc=IPC, progress=None):
    data = images(folder, progress=progress)
    return method.settle(data, ipc, None).distill(data, ipc, KeyedRandom(seed))


def same(one, other) -> bool:
    soft = one.soft_labels is None or np.array_equal(one.soft_labels, other.soft_labels)
    return soft and np.array_equal(one.images, other.images) and one.rate == other.rate and dict(one.history) == dict(other.history)


def generator(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_starts_fill_the_window_as_it_then_is():
    plan = replace(PLAN, window=Window(2, 4, 8, over=100))

    def starts(iteration):
        return {t for attempt in range(300) for t in draw(plan, 5, iteration, KeyedRandom(0), attempt).starts}

    assert starts(0) == {2, 3}
    assert starts(50) == {2, 3, 4, 5}
    assert starts(100) == starts(10_000) == {2, 3, 4, 5, 6, 7}


def test_experts_take_turns_in_one_shuffled_order_after_another():
    taken = [e for iteration in range(10) for e in draw(PLAN, 5, iteration, KeyedRandom(0)).experts]

    assert all(sorted(taken[i : i + 5]) == [0, 1, 2, 3, 4] for i in range(0, 20, 5))
    assert taken[:5] != taken[5:10]


def test_every_row_is_seen_once_in_each_order_and_all_batches_are_full():
    feed = Batches(replace(PLAN, steps=5, batch=4), 2, 10, torch.device("cpu"), generator(), None)

    seen = torch.stack([feed.batch(step, torch.arange(10.0)[:, None, None, None], torch.eye(10))[0] for step in range(5)], 1)

    for student in seen.flatten(1):
        assert sorted(student[:10].tolist()) == sorted(student[10:].tolist()) == list(range(10))
    assert not torch.equal(seen[0], seen[1])


def test_a_step_asked_for_again_gives_the_same_bytes():
    feed = Batches(replace(PLAN, batch=4, augment="color_crop_cutout_scale_rotate"), 2, 10, torch.device("cpu"), generator(), None)
    x, y = torch.rand(10, 1, 8, 8), torch.rand(10, CLASSES)

    first, again = feed.batch(1, x, y), feed.batch(1, x, y)

    assert torch.equal(first[0], again[0])
    assert first[0].shape == (2, 4, 1, 8, 8)


def test_students_fed_their_experts_batches_retrace_them(tmp_path):
    data, net = images(tmp_path), network()
    experts = obtain(data, net, {}, Recipe(rate=0.1, batch=9), 3, 2, KeyedRandom(0))
    rng = KeyedRandom(0, "experts")
    orders = torch.stack([torch.randperm(45, generator=generator(rng.child("order", e, 2).torch_seed())) for e in range(3)], 0)

    class Own:
        steps = 5

        def batch(self, step, x, y):
            rows = orders[:, 9 * step : 9 * step + 9]
            return x[rows], y[rows]

    start, target = (experts.read(range(3), [epoch] * 3) for epoch in (1, 2))
    synthetic = Synthetic(data.images, torch.eye(CLASSES)[data.labels], torch.tensor(0.1))
    segments = Segments(start, [Waypoint(5, target)])

    end = roll_out(Student(losses_of(net), Own()), segments, synthetic)[-1]
    found = adjoint(Student(losses_of(net), Own()), segments, synthetic)

    torch.testing.assert_close(end, target, rtol=0, atol=1e-6)  # another form of the same loss rounds differently
    assert (found.loss < 1e-9).all()


@pytest.mark.parametrize(
    "method", [MTT(**SHORT), TESLA(**SHORT), DATM(**SHORT), TESLA(**SHORT, soft_labels=True)], ids=lambda m: f"{m.name}"
)
def test_matching_gives_a_set_in_the_sources_pixels(tmp_path, method):
    found = distill(method, tmp_path)

    assert found.images.shape == (CLASSES * IPC, 1, 4, 4) and found.images.dtype == np.float32
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert 20 < np.abs(found.images).mean() < 300  # pixels, not standard deviations
    assert len(found.history["loss"]) == 6 and np.isfinite(found.history["loss"]).all()
    # two a class: three tenths of the learned rate with momentum .9, which AST's students had themselves
    assert found.training.lr == pytest.approx(found.rate * (1.0 if isinstance(method, AST) else 0.3)) and found.rate > 0
    soft = isinstance(method, DATM) or getattr(method, "soft_labels", False)
    assert (found.soft_labels is not None) == soft
    if soft:
        np.testing.assert_allclose(found.soft_labels.sum(1), 1, rtol=1e-6)


def test_the_matching_loss_falls(tmp_path):
    loss = distill(MTT(**{**SHORT, "iterations": 40, "image_rate": 3.0, "rate": 0.02, "window": (0, 1)}), tmp_path).history["loss"]

    assert np.mean(loss[-10:]) < 0.8 * np.mean(loss[:5])


def test_an_open_image_rate_moves_the_fastest_pixel_by_some_two_percent_of_its_deviation(tmp_path):
    data, net = images(tmp_path), network()
    experts = obtain(data, net, {}, Recipe(rate=0.1, batch=9), 3, 6, KeyedRandom(0))
    start = Synthetic(data.images[:6], torch.eye(CLASSES)[data.labels[:6]], torch.tensor(0.05))
    plan = replace(PLAN, rates=(None, 0.0, 0.0), iterations=1)

    found = matching.match(net, experts, plan, start, tmp_path, Silent(), KeyedRandom(0))

    assert 0.005 < (found.images - start.images).abs().max() < 0.08


@pytest.mark.parametrize("killed_at", [1, 4])
@pytest.mark.parametrize("method", [DATM(**SHORT, batch=4, augment="crop_scale"), TESLA(**SHORT, soft_labels=True)], ids=["datm", "tesla"])
def test_a_killed_job_goes_on_to_the_same_bytes(tmp_path, monkeypatch, method, killed_at):
    monkeypatch.setattr(matching, "SAVE_EVERY", 2)
    whole = distill(method, tmp_path / "whole")
    step, steps = matching._iterate, []

    def killed(*args):
        steps.append(1)
        if len(steps) == killed_at:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(matching, "_iterate", killed)
    with pytest.raises(KeyboardInterrupt):
        distill(method, tmp_path / "cut")

    assert same(distill(method, tmp_path / "cut"), whole)


def test_with_checks_a_tenth_is_held_back_and_the_best_point_on_the_way_is_handed_over(tmp_path, monkeypatch):
    seen = []
    accuracies = iter([0.3, 0.3, 0.9, 0.9, 0.5, 0.5])

    class Judge:
        def __init__(self, known):
            seen.append(known.images)

        def accuracies(self, images, labels):
            assert len(images) == len(labels) == 3 and sorted(labels.tolist()) == [0, 1, 2]  # a tenth of 15 a class, rounded down
            return [next(accuracies), next(accuracies)]

    monkeypatch.setattr(trajectories, "train", lambda known, *_: Judge(known))
    method = MTT(**{**SHORT, "iterations": 6}, checks=3)

    found = distill(method, tmp_path)

    assert len(seen) == 3 and not torch.equal(seen[1], seen[2])
    data = images(tmp_path)
    np.testing.assert_array_equal(found.images, data.transform.invert(seen[1]).numpy())
    assert len(found.history["loss"]) == 6


def test_another_seed_gives_another_set_and_the_same_seed_the_same(tmp_path):
    first, again, other = (distill(MTT(**SHORT), tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))

    assert same(first, again)
    assert not same(first, other)


def test_a_loss_that_is_no_number_goes_back_lowers_the_rates_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(matching, "SAVE_EVERY", 2)
    engine, calls, notes = matching.ENGINES["adjoint"], [], Notes()

    def broken(student, segments, synthetic, limit):
        calls.append(float(synthetic.rate))
        found = engine(student, segments, synthetic, limit)
        return found._replace(loss=found.loss * torch.nan) if len(calls) in (4, 5) else found

    monkeypatch.setattr(matching, "ENGINES", {"adjoint": broken})
    found = distill(MTT(**SHORT, rate_rate=0.0, engine="adjoint"), tmp_path, progress=notes)

    # iterations 1 2 3 and 4, which broke; back to 2: 3 broke, back to 2: 3 4 5 6
    np.testing.assert_allclose(calls, 0.05 * np.array([1, 1, 1, 1, 0.5, 0.25, 0.25, 0.25, 0.25]), rtol=1e-6)
    assert "iteration 4 is not a number: back to the state after iteration 2" in notes.said[0]
    assert "iteration 3 is not a number" in notes.said[1]
    assert np.isfinite(found.images).all()


def test_losses_that_never_are_numbers_end_in_an_error(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="Lower image_rate"):
        distill(MTT(**SHORT, image_rate=1e38), tmp_path)


def test_the_rate_stays_positive_and_its_own_rate_is_lowered_where_it_keeps_hitting_the_bound(tmp_path):
    notes = Notes()

    found = distill(MTT(**{**SHORT, "iterations": 52}, rate_rate=1e4, image_rate=0.0), tmp_path, progress=notes)

    rates = np.array([0.05, *found.history["rate"]])
    assert ((rates[1:] >= 0.499 * rates[:-1]) & (rates[1:] <= 2.001 * rates[:-1])).all()
    assert (rates >= 0.99e-6).all() and (rates <= 1).all()
    assert any("rate_rate, is halved to 5e+03" in note for note in notes.said)


def test_an_iteration_above_the_limit_changes_nothing_and_a_run_of_nothing_else_says_so(tmp_path):
    notes = Notes()
    found = distill(DATM(**SHORT, limit=1e-9), tmp_path, progress=notes)
    start = distill(DATM(**{**SHORT, "iterations": 1}, limit=1e-9), tmp_path / "one")

    assert np.array_equal(found.images, start.images)
    assert np.array_equal(found.soft_labels, start.soft_labels)
    assert found.rate == pytest.approx(0.05)
    assert any("still those that matching began with" in note for note in notes.said)


def test_few_rows_lower_the_rate_until_students_go_no_further_than_experts(tmp_path):
    method = MTT(span=2, steps=20, expert_rate=0.05, expert_batch=50)

    few, many = method.settle(images(tmp_path), IPC, None), method.settle(images(tmp_path / "many", n=900), IPC, None)

    assert few.rate == pytest.approx(0.05 * 1 * 2 / 20)  # one batch an epoch, two epochs, twenty steps
    assert many.rate == 0.05
    assert replace(method, rate=0.05).settle(images(tmp_path), IPC, None).rate == 0.05


def test_datm_starts_from_rows_that_an_expert_knows_with_the_logits_of_those_that_do(tmp_path):
    data, net = images(tmp_path), network()
    experts = obtain(data, net, {}, Recipe(rate=0.1, batch=9), 3, 15, KeyedRandom(0))

    rows = known_rows(data, 4, net, experts, KeyedRandom(1))
    logits = torch.stack([net.apply(theta, data.images[rows]) for theta in experts.final()])  # (experts, m, classes)
    right = logits.argmax(2) == data.labels[rows]
    found = mean_logits(data.images[rows], data.labels[rows], net, experts)

    assert data.labels[rows].tolist() == [c for c in range(CLASSES) for _ in range(4)] and len(set(rows.tolist())) == 12
    assert right.any(0).all()
    for i in range(len(rows)):
        torch.testing.assert_close(found[i], logits[right[:, i], i].mean(0))


def test_an_image_that_no_expert_knows_gets_everybodys_logits_and_a_bonus(tmp_path):
    data, net = images(tmp_path), network()
    experts = obtain(data, net, {}, Recipe(rate=0.1, batch=9), 3, 4, KeyedRandom(0))
    logits = torch.stack([net.apply(theta, data.images) for theta in experts.final()])
    wrong = (data.labels + 1) % CLASSES
    unknown = int((logits.argmax(2) != wrong).all(0).nonzero()[0])

    found = mean_logits(data.images[unknown : unknown + 1], wrong[unknown : unknown + 1], net, experts)

    expected = logits[:, unknown].mean(0)
    expected[wrong[unknown]] += 1
    torch.testing.assert_close(found[0], expected)


def test_only_convolutions_are_perturbed_and_by_a_known_length():
    net = Network(lambda: ConvNet((1, 4, 4), CLASSES, 2))
    theta = torch.stack([net.initial(0), net.initial(1)])

    moved = perturbed(theta, net, 0.5, generator())

    for before, after in zip(theta, moved, strict=True):
        for name, weight in net.parts(before).items():
            change = (net.parts(after)[name] - weight) / weight.where(weight != 0, torch.ones(()))
            torch.testing.assert_close(change.norm(), torch.tensor(0.5 if weight.dim() == 4 else 0.0), rtol=1e-4, atol=0)


def test_the_balance_rises_with_the_start():
    # h = 5: 1 / log5(13), 1 / log5(9), log5(8), log5(12)
    expected = [np.log(5) / np.log(13), np.log(5) / np.log(9), np.log(8) / np.log(5), np.log(12) / np.log(5)]

    np.testing.assert_allclose(balance([0, 4, 5, 9], Window(0, 10, 10)), expected)


def test_time_that_is_short_takes_fewer_experts_and_iterations_and_says_so(tmp_path):
    notes = Notes()
    data = images(tmp_path, progress=notes)

    settled = MTT(**{**SHORT, "experts": 5000, "iterations": 500_000}).settle(data, IPC, 0.05)

    assert 3 <= settled.experts < 5000 and 20 <= settled.iterations < 500_000
    assert "To end within 0.05 minutes: experts 5000 ->" in notes.said[0]
    seconds, memory = settled.cost(data, IPC)
    assert seconds > 0 and memory > 0


def test_time_that_the_fewest_experts_do_not_fit_into_takes_shorter_epochs_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(MTT, "_pace", lambda *_: (100.0, 0.001))  # seconds an expert of 45 rows an epoch, and an iteration
    notes = Notes()
    data = images(tmp_path, progress=notes)
    method = MTT(**{**SHORT, "expert_batch": 4, "experts": 5, "span": 1, "steps": 60, "rate": None})

    settled = method.settle(data, IPC, 10.0)  # 40 % of 600 s hold 2.4 of them, so that 3 have 36 of 45 rows
    least = method.settle(data, IPC, 0.1)

    assert (settled.experts, settled.epoch_rows) == (3, 36)
    assert "experts 5 -> 3, epoch_rows 45 -> 36" in notes.said[0]
    assert least.epoch_rows == 20  # five batches
    assert "Even 3 experts" in notes.said[-1]
    assert least.rate < settled.rate < method.settle(data, IPC, None).rate  # students go no further than experts now do


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)], ids=str)
@pytest.mark.parametrize("ipc", [1, 10, 50])
@pytest.mark.parametrize("cpu", [True, False])
def test_every_size_has_a_preset_whose_segments_end_within_the_experts_way(tmp_path, shape, ipc, cpu):
    data = replace(images(tmp_path), images=torch.zeros(CLASSES, *shape), device=torch.device("cpu" if cpu else "meta"))

    for method in (MTT(), TESLA(), DATM(), AST()):
        settled = method.settle(data, ipc, None)
        assert settled.settle(data, ipc, None) == settled


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"window": (3, 3)}, "first < end"),
        ({"window": (0, 5, 4, 10)}, "got 0\\+5\\+4\\+10"),
        ({"window": (1,)}, "first\\+end"),
        ({"steps": 0}, "steps must be 1 or more, got 0"),
        ({"rate": -1.0}, "rate must be above 0, got -1.0"),
        ({"image_rate": float("nan")}, "image_rate must be 0 or more, got nan"),
        ({"engine": "adjont"}, "engine must be one of adjoint, unrolled, truncated"),
        ({"window": (0, 9), "epochs": 5}, "ends at epoch 10, but experts train for 5. Use a window that ends at 4 or earlier"),
        ({"steps": 1}, "steps must be at least span"),
        ({"augment": "colour"}, 'No augmentation "colour"'),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_work(tmp_path, options, says):
    with pytest.raises(OptionError, match=says):
        MTT(**options).settle(images(tmp_path), IPC, None)
