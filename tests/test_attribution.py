"""Tables of influence, whoever made them: how they are read, who leads, and how the linear datamodelling score is reckoned."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from curate import attribution
from curate.attribution import Attribution, lds, noise_ceiling, require_shape, spearman
from curate.errors import ColumnError, InputError, OptionError

VALUES = np.float32([[1, -1], [3, np.nan], [2, 5], [-4, 0.5]])


def saved(kind, folder):
    path = folder / f"mine.{kind.partition('-')[0]}"
    if kind == "npy":
        np.save(path, VALUES)
    elif kind.endswith("long"):
        at = [(r, t) for r in range(4) for t in range(2) if (r, t) != (1, 1)]
        table = pd.DataFrame({"row": [r for r, _ in at], "target": [t for _, t in at], "score": [VALUES[one] for one in at]})
        table.to_csv(path, index=False) if kind.startswith("csv") else table.to_parquet(path)
    else:
        pd.DataFrame({"influence": VALUES.tolist()}).to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["npy", "parquet-lists", "parquet-long", "csv-long"])
def test_other_tools_tables_are_read(kind, tmp_path):
    one = Attribution.open(saved(kind, tmp_path))

    assert one.name == "mine" and one.shape == (4, 2)
    np.testing.assert_array_equal(np.asarray(one.values), VALUES)


def test_the_leaders_of_each_target_in_order(monkeypatch):
    monkeypatch.setattr(attribution, "BLOCK", 2)  # a row at a time
    one = Attribution("mine", VALUES)

    rows, values = one.top(2)
    worst, _ = one.top(4, opponents=True)

    assert rows.tolist() == [[1, 2], [2, 3]] and values.tolist() == [[3, 2], [5, 0.5]]
    assert worst.tolist() == [[3, 0, 2, 1], [0, 3, 2, -1]]


def test_lds_of_one_target():
    """T-LDS: predictions 3, 0, 2.5, -.5, 1.5 rank as the outputs do."""
    masks = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1]], bool)
    one = Attribution("mine", np.float32([[1], [2], [-1], [0.5]]))

    predicted = one.predicted(masks)

    assert predicted[:, 0].tolist() == [3, 0, 2.5, -0.5, 1.5]
    assert lds(predicted, np.array([[0.9], [0.2], [0.8], [0.1], [0.4]])).lds == 1


def test_lds_is_the_mean_rank_correlation_and_its_interval_holds_it():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 7)), rng.normal(size=(30, 7))
    b += a

    found = lds(a, b)

    assert found.lds == pytest.approx(np.mean([spearmanr(a[:, t], b[:, t]).statistic for t in range(7)]), abs=1e-6)
    assert found.low < found.lds < found.high


def test_an_output_that_never_changes_counts_as_0():
    a = np.arange(10.0)[:, None] + np.zeros((10, 2))

    assert lds(a, np.c_[np.arange(10.0), np.ones(10)]).lds == 0.5


def test_the_noise_ceiling_is_what_the_noiseless_truth_reaches():
    """Truth and as much noise: the two repeats correlate by about 1/2, their mean with the truth by √(2/3)."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(400, 30))
    outputs = truth + rng.normal(size=(2, 400, 30))

    reached = spearman(truth, outputs.mean(axis=0)).mean()

    assert noise_ceiling(outputs) == pytest.approx(reached, abs=0.02)
    assert noise_ceiling(outputs[:1]) is None


def test_what_cannot_be_read_is_said(tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros(3))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    pd.DataFrame({"influence": [[1.0], [1.0, 2.0]]}).to_parquet(tmp_path / "ragged.parquet")
    pd.DataFrame({"row": [-1], "target": [0], "score": [1.0]}).to_csv(tmp_path / "negative.csv", index=False)
    for name, error, message in (
        ("flat.npy", InputError, r"shape \(3,\)"),
        ("objects.npy", InputError, "cannot be read as an array of numbers"),
        ("other.parquet", ColumnError, "row, target and score"),
        ("ragged.parquet", ColumnError, "different lengths"),
        ("negative.csv", ColumnError, "whole numbers from 0 on"),
        ("absent.npy", InputError, "There is no"),
    ):
        with pytest.raises(error, match=message):
            Attribution.open(tmp_path / name)
    with pytest.raises(InputError, match="4 rows x 2 targets, but there are 5 x 2"):
        require_shape(Attribution("mine", VALUES), 5, 2)
    with pytest.raises(OptionError, match="k must be 1"):
        Attribution("mine", VALUES).top(0)
    with pytest.raises(InputError, match="3 or more"):
        lds(np.zeros((2, 1)), np.zeros((2, 1)))
