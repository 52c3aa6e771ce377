import numpy as np
import pytest
import torch

from curate.signals import sums as sums_module
from curate.signals.measures import KAPPA, MEASURES, floored_log_probs, kappa, measure
from curate.signals.sums import RowSums

N, CLASSES = 200, 7


def stream(seed=0, rows=None, epochs=3, batch=16):
    """Batches of random logits, a list an epoch: shuffled ids, unequal visits, rows that come twice in a batch."""
    rng = torch.Generator().manual_seed(seed)
    rows = torch.arange(N) if rows is None else rows
    for _ in range(epochs):
        twice = rows[torch.rand(len(rows), generator=rng) < 0.5]
        ids = torch.cat((rows[torch.rand(len(rows), generator=rng) < 0.9], twice))
        ids = ids[torch.randperm(len(ids), generator=rng)]
        yield [(part, 2 * torch.randn(len(part), CLASSES, generator=rng)) for part in torch.split(ids, batch)]


def labels_of(rows):
    return (rows * 5) % CLASSES


def recorded(epochs, sums=None):
    """The means of each epoch as `RowSums` has them."""
    sums = sums or RowSums(N, CLASSES, device=torch.device("cpu"), with_kappa=True)
    found = []
    for batches in epochs:
        for rows, logits in batches:
            sums.add_logits(rows, logits, labels_of(rows))
        found.append(sums.means())
        sums.clear()
    return found


def naive(epochs):
    """The same from a list of everything that was ever seen, row by row."""
    previous, found = {}, []
    for batches in epochs:
        seen = {name: [[] for _ in range(N)] for name in (*MEASURES, KAPPA)}
        for rows, logits in batches:
            before = dict(previous)
            values, now = measure(logits, labels_of(rows)).double(), floored_log_probs(logits)
            for i, row in enumerate(rows.tolist()):
                for name, value in zip(MEASURES, values[i].tolist(), strict=True):
                    seen[name][row].append(value)
                if row in before:
                    seen[KAPPA][row].append(kappa(now[i : i + 1], before[row][None]).item())
                previous[row] = now[i]
        found.append({name: [np.mean(v) if v else np.nan for v in rows] for name, rows in seen.items()})
    return found


def test_the_stream_agrees_with_a_loop_over_the_whole_history():
    epochs = list(stream(epochs=12))

    for found, expected in zip(recorded(epochs), naive(epochs), strict=True):
        for name in (*MEASURES, KAPPA):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_kappa_of_duplicates_compares_both_with_what_came_before_the_batch():
    sums = RowSums(1, 2, device=torch.device("cpu"), with_kappa=True)
    steps = [torch.tensor([p]).log() for p in ([0.5, 0.5], [0.8, 0.2], [0.6, 0.4])]
    sums.add_logits(torch.tensor([0]), steps[0], torch.tensor([0]))
    sums.add_logits(torch.tensor([0, 0]), torch.cat(steps[1:]), torch.tensor([0, 0]))
    expected = [kappa(floored_log_probs(step), floored_log_probs(steps[0])).item() for step in steps[1:]]

    assert sums.means()[KAPPA].item() == pytest.approx(np.mean(expected), rel=1e-6)
    torch.testing.assert_close(sums.previous, floored_log_probs(steps[2]))  # the later of the two


@pytest.mark.parametrize("split", ["disjoint rows", "same rows"])
def test_two_ranks_merged_are_one_process(split):
    (batches,) = stream(epochs=1)
    mine = [(rows[rows % 2 == 0], logits[rows % 2 == 0]) for rows, logits in batches] if split == "disjoint rows" else batches[::2]
    theirs = [(rows[rows % 2 == 1], logits[rows % 2 == 1]) for rows, logits in batches] if split == "disjoint rows" else batches[1::2]
    first, second = (RowSums(N, CLASSES, device=torch.device("cpu"), with_kappa=True) for _ in range(2))
    for sums, part in ((first, mine), (second, theirs)):
        for rows, logits in part:
            sums.add_logits(rows, logits, labels_of(rows))

    first.merge(second.state_dict())

    (whole,) = recorded([batches])
    names = (*MEASURES, "visits", *([KAPPA] if split == "disjoint rows" else []))  # a rank knows only its own previous presentations
    for name in names:
        torch.testing.assert_close(first.means()[name], whole[name], equal_nan=True, rtol=1e-5, atol=1e-6)


def test_a_state_taken_in_mid_epoch_goes_on_as_if_nothing_had_happened():
    epochs = list(stream(epochs=2))
    one, other = (RowSums(N, CLASSES, device=torch.device("cpu"), with_kappa=True) for _ in range(2))
    recorded([epochs[0], epochs[1][:4]][:1], one)
    for rows, logits in epochs[1][:4]:
        one.add_logits(rows, logits, labels_of(rows))

    other.load_state_dict({name: value.clone() for name, value in one.state_dict().items()})

    (found,), (expected,) = recorded([epochs[1][4:]], other), recorded([epochs[1][4:]], one)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("n, classes", [(N + 1, CLASSES), (N, CLASSES + 1)], ids=["rows", "classes"])
def test_a_state_of_another_shape_is_refused(n, classes):
    other = RowSums(n, classes, device=torch.device("cpu"), with_kappa=True)

    with pytest.raises(ValueError, match="belongs to another dataset or model"):
        RowSums(N, CLASSES, device=torch.device("cpu"), with_kappa=True).load_state_dict(other.state_dict())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf], ids=["nan", "inf"])
def test_a_presentation_without_a_finite_loss_is_skipped_and_counted(bad):
    sums = RowSums(3, 2, device=torch.device("cpu"), with_kappa=True)
    for logits in ([[1.0, 0.0], [bad, 0.0]], [[1.0, 0.0], [2.0, 0.0]]):
        sums.add_logits(torch.tensor([0, 1]), torch.tensor(logits), torch.tensor([0, 0]))

    means = sums.means()

    assert sums.skipped == 1 and means["visits"].tolist() == [2, 1, 0]
    assert means["m_logit"].tolist()[:2] == [1.0, 2.0] and means["m_logit"][2].isnan()
    assert means[KAPPA][0] == 0 and means[KAPPA][1].isnan()


def test_a_loss_alone_leaves_the_other_scalars_at_zero_visits_of_kappa():
    sums = RowSums(2, None, device=torch.device("cpu"), with_kappa=False)

    sums.add_loss(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))

    assert sums.means()["loss"][1] == 1.5 and sums.means()["loss"][0].isnan()
    assert KAPPA not in sums.means()


def test_a_large_memory_of_presentations_is_kept_in_half_precision(monkeypatch):
    monkeypatch.setattr(sums_module, "KAPPA_FULL_PRECISION_BYTES", 4 * N * CLASSES - 1)

    sums = RowSums(N, CLASSES, device=torch.device("cpu"), with_kappa=True)

    assert sums.previous.dtype == torch.float16
    epochs = list(stream(epochs=2))
    np.testing.assert_allclose(recorded(epochs, sums)[1][KAPPA], naive(epochs)[1][KAPPA], atol=2e-2)
