import numpy as np
import torch
from safetensors.torch import save_file

import curate
from curate.progress import Silent
from curate.signals import evaluation
from curate.signals.evaluation import evaluate_checkpoint
from curate.signals.inputs import prepare
from curate.signals.measures import MEASURES, measure
from curate.signals.models import MLP, ConvNet

CPU = torch.device("cpu")


def evaluated(data, model, path):
    save_file(model.state_dict(), str(path))
    other = type(model)(prepare(data, CPU, Silent()).shape, 10)
    with Silent().task("", 0) as task:
        return evaluate_checkpoint(path, other, prepare(data, CPU, Silent()), data.labels, CPU, task)


def test_the_checkpoints_weights_are_read_and_batch_norm_stands_still(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH", 7)
    data = curate.load("sample:digits", limit=20)
    torch.manual_seed(0)
    model = ConvNet((1, 8, 8), 10)

    means, probs = evaluated(data, model, tmp_path / "w.safetensors")

    logits = model.eval()(*prepare(data, CPU, Silent()).batch(torch.arange(20))).detach()
    expected = measure(logits, torch.from_numpy(data.labels))
    for i, name in enumerate(MEASURES):
        torch.testing.assert_close(means[name], expected[:, i], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(probs, logits.softmax(1), rtol=1e-4, atol=1e-6)


def test_a_row_that_cannot_be_read_is_nan_and_one_without_a_label_has_probabilities_alone(tmp_path):
    features = np.float32([[1, 2], [np.nan, 0], [3, 1], [0, 1]])
    data = curate.load((features, np.array([0, 1, -1, 1])))

    means, probs = evaluated(data, MLP((2,), 10), tmp_path / "w.safetensors")

    assert means["loss"].isnan().tolist() == [False, True, True, False]
    assert np.isnan(probs).any(axis=1).tolist() == [False, True, False, False]
