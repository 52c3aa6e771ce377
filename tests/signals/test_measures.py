import math
from itertools import pairwise

import pytest
import torch

from curate.signals.measures import MEASURES, floored_log_probs, kappa, measure

# Sums of a dozen float32 numbers near 1.
ROUNDING = 1e-5


def measured(logits, label):
    values = measure(torch.tensor([logits]), torch.tensor([label]))[0]
    return dict(zip(MEASURES, values.tolist(), strict=True))


def naive(logits, label):
    """The same from Python floats, one row."""
    highest = max(logits)
    weights = [math.exp(z - highest) for z in logits]
    p = [w / sum(weights) for w in weights]
    others = [i for i in range(len(p)) if i != label]
    error = [q - (i == label) for i, q in enumerate(p)]
    return {
        "loss": -math.log(p[label]),
        "m_logit": logits[label] - max(logits[i] for i in others),
        "m_prob": p[label] - max(p[i] for i in others),
        "entropy": -sum(q * math.log(q) for q in p if q > 0),
        "el2n": math.sqrt(sum(e * e for e in error)),
        "el1": sum(abs(e) for e in error),
        "correct": float(all(logits[label] > logits[i] for i in others)),
    }


def random_logits(n=50, classes=7):
    rng = torch.Generator().manual_seed(0)
    return 3 * torch.randn(n, classes, generator=rng), torch.randint(0, classes, (n,), generator=rng)


@pytest.mark.parametrize(
    ("label", "el2n", "el1", "correct"), [(0, 0.260888, 0.426028, 1), (1, 1.195416, 2 * (1 - 0.106507), 0)], ids=["right", "wrong"]
)
def test_three_classes_by_hand(label, el2n, el1, correct):
    found = measured([2.0, 0.0, 0.0], label)

    # p = (.786986, .106507, .106507)
    assert (found["el2n"], found["el1"], found["correct"]) == pytest.approx((el2n, el1, correct), abs=2e-6)


def test_margins_by_hand():
    found = measured([2.0, 0.0, 0.0], 0)

    assert (found["m_logit"], found["m_prob"]) == pytest.approx((2.0, 0.786986 - 0.106507), abs=2e-6)
    assert found["loss"] == pytest.approx(-math.log(0.786986), abs=2e-6)


def test_they_agree_with_a_loop_over_python_floats():
    logits, labels = random_logits()

    found = measure(logits, labels)

    for row, (z, y) in enumerate(zip(logits.double().tolist(), labels.tolist(), strict=True)):
        assert dict(zip(MEASURES, found[row].tolist(), strict=True)) == pytest.approx(naive(z, y), abs=ROUNDING), row


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_float_types_are_taken_as_float32(kind):
    logits, labels = random_logits()

    found = measure(logits.to(kind), labels)

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, measure(logits.to(kind).float(), labels))


def test_adding_a_constant_to_all_logits_changes_nothing():
    logits, labels = random_logits()

    torch.testing.assert_close(measure(logits + 4, labels), measure(logits, labels), atol=ROUNDING, rtol=ROUNDING)


def test_renaming_classes_changes_nothing_not_even_with_ties():
    logits, labels = random_logits()
    logits[:, 1] = logits[:, 0]
    order = torch.tensor([3, 5, 0, 6, 2, 1, 4])

    renamed = measure(logits[:, order], torch.argsort(order)[labels])

    torch.testing.assert_close(renamed, measure(logits, labels), atol=ROUNDING, rtol=ROUNDING)


def test_a_tie_for_the_first_place_is_not_correct():
    assert measured([1.0, 1.0], 0)["correct"] == measured([1.0, 1.0], 1)["correct"] == 0


def test_an_impossible_other_class_adds_nothing():
    with_it, without = measured([2.0, -math.inf, 0.0], 0), measured([2.0, 0.0], 0)

    assert with_it == pytest.approx(without, abs=ROUNDING)


def test_an_impossible_label_has_an_infinite_loss_and_finite_errors():
    found = measured([-math.inf, 0.0, 0.0], 0)

    assert found["loss"] == math.inf and found["m_logit"] == -math.inf
    assert (found["el1"], found["el2n"], found["entropy"]) == pytest.approx((2.0, math.sqrt(1.5), math.log(2)))


def test_a_confident_row_keeps_its_digits():
    assert measured([10.0, 0.0], 0)["el1"] == pytest.approx(2 * math.exp(-10), rel=1e-3)


def test_the_graph_is_not_touched():
    logits, labels = random_logits()

    assert not measure(logits.requires_grad_(), labels).requires_grad


def test_kappa_by_hand():
    steps = [floored_log_probs(torch.tensor([p]).log()) for p in ([0.5, 0.5], [0.8, 0.2], [0.6, 0.4], [0.9, 0.1])]

    found = [kappa(new, old).item() for old, new in pairwise(steps)]

    assert found == pytest.approx([0.559261, 0.449868, 0.503548], abs=2e-6)
