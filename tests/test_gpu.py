"""The same work on a CUDA device as on the CPU, within float32's rounding: run with `pytest -m gpu`."""

import numpy as np
import pytest
import torch

import curate
from curate.signals.sums import RowSums

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

# Convolutions in another order of summation, amplified by a few epochs of training.
TRAINED = 0.98
ROUNDING = 1e-4


def test_the_recorder_sums_the_same_on_both_devices():
    rng = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(64, 7, generator=rng), torch.randint(0, 7, (64,), generator=rng)
    rows = torch.randint(0, 50, (64,), generator=rng)
    means = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        sums = RowSums(50, 7, device=device, with_kappa=True)
        sums.add_logits(rows.to(device), logits.to(device), labels.to(device))
        means.append(sums.means())

    for name, value in means[0].items():
        np.testing.assert_allclose(means[1][name], value, atol=ROUNDING, equal_nan=True, err_msg=name)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_on_the_device_ranks_rows_as_on_the_cpu(tmp_path, precision):
    data = curate.load("sample:digits", limit=600)
    on_cpu = curate.score(data, ["aum", "el2n"], epochs=5, device="cpu", out=tmp_path / "cpu")
    on_gpu = curate.score(data, ["aum", "el2n"], epochs=5, device="cuda", precision=precision, out=tmp_path / "gpu")

    correlation = np.corrcoef(on_cpu["aum"], on_gpu["aum"])[0, 1]

    assert correlation > (TRAINED if precision == "fp32" else 0.9)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_faiss_finds_on_the_device_what_it_finds_on_the_cpu(kind, monkeypatch):
    indexes = pytest.importorskip("curate.index.indexes")
    if not indexes.gpus():
        pytest.skip("the installed FAISS uses no GPU")
    x = np.random.default_rng(0).normal(size=(5000, 16)).astype(np.float32)
    index = indexes.Index.build(x, indexes.plan(*x.shape, kind))
    on_gpu = index.search(x[:500], 10)
    monkeypatch.setattr(indexes, "gpus", lambda: 0)
    on_cpu = index.search(x[:500], 10)

    same = np.mean([len(np.intersect1d(one, other)) / 10 for one, other in zip(on_gpu[0], on_cpu[0], strict=True)])
    assert same > 0.99
    np.testing.assert_allclose(np.sort(on_gpu[1]), np.sort(on_cpu[1]), rtol=1e-3, atol=1e-3)
