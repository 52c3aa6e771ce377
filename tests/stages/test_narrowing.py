"""--narrow: candidates by a score, before a sampler that reads none; and the memory that a sampler says it needs."""

import numpy as np
import pytest

import curate
from curate.errors import DoesNotFitError, OptionError, UsageError
from curate.stages import room
from curate.stages.narrowing import memory_needed, narrowed, require_memory

N = 60


@pytest.fixture
def places(tmp_path):
    """Vectors, and a file of scores that rise with the row."""
    import pyarrow as pa
    import pyarrow.csv

    pyarrow.csv.write_csv(pa.table({"row": np.arange(N), "good": np.arange(N) / N}), tmp_path / "scores.csv")
    return np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32), tmp_path / "scores.csv"


def choose(places, **options):
    data, scores = places
    return curate.select(data, scores, **{"sampler": "k_center", "by": "good", "keep": "high", "budget": 10, **options})


@pytest.mark.parametrize("sampler", ["k_center", "density", "herding", "facility_location", "kmeans", "random"])
def test_only_the_better_half_is_seen(places, sampler):
    chosen = choose(places, sampler=sampler, narrow="50%")

    assert len(chosen) == 10 and chosen.rows.min() >= N // 2
    assert chosen.job["narrow"] == "50%" and chosen.job["narrow_with"] == "top" and chosen.job["sampler"] == sampler


def test_it_is_what_the_sampler_picks_among_those(places):
    alone = curate.select(places[0][N // 2 :], sampler="k_center", budget=10)

    assert (choose(places, narrow="50%").rows - N // 2).tolist() == alone.rows.tolist()


def test_weights_make_better_rows_likelier_only(places):
    rows = np.concatenate([choose(places, narrow=0.5, narrow_with="gumbel", seed=seed).rows for seed in range(20)])

    assert rows.min() < N // 2 and np.mean(rows >= N // 2) > 0.55


def test_with_classes_each_is_narrowed(places):
    data, scores = places
    labels = np.arange(N) % 2
    chosen = curate.select((data, labels), scores, sampler="k_center", by="good", keep="low", budget=10, narrow="50%", per_class=True)

    assert chosen.rows.max() < N // 2 and np.bincount(labels[chosen.rows]).tolist() == [5, 5]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"narrow": "10%"}, OptionError, "leaves 6 of 60 candidates, but the budget is 10"),
        ({"narrow": "30"}, OptionError, "takes a share"),
        ({"narrow": "150%"}, OptionError, "more than"),
        ({"narrow": "50%", "narrow_with": "random"}, OptionError, "reads no score"),
        ({}, UsageError, "--narrow 50%"),
    ],
)
def test_what_makes_no_sense_is_refused(places, options, error, message):
    with pytest.raises(error, match=message):
        choose(places, **options)


def test_what_cannot_fit_is_refused_before_the_work():
    from curate.samplers import DPP

    needed = memory_needed(DPP(), 1_000_000, 128, 100_000)
    assert needed > 8 * 1_000_000 * 100_000

    with pytest.raises(
        DoesNotFitError, match=r"would need about .* GB .* use density \(0.1 GB\) or kmeans \(0.3 GB\) or k_center:parts=16"
    ):
        require_memory("dpp", needed, 1_000_000, 128, 100_000, there=10**11)
    with pytest.raises(DoesNotFitError, match=r"ask for fewer rows, or use kmeans \(0.1 GB\) or k_center"):
        require_memory("density", 10**12, 1_000_000, 4, 100_000, there=2 * 10**8)
    require_memory("dpp", needed, 1_000_000, 128, 100_000, there=10**13)
    assert memory_needed(narrowed(DPP(), "10%", "top"), 1_000_000, 128, 1000) < 0.2 * memory_needed(DPP(), 1_000_000, 128, 1000)


def test_a_selection_says_what_its_sampler_needs(places):
    assert choose(places, sampler="dpp", by=None, keep=None).report["memory_needed"] > 8 * N * 10


@pytest.mark.parametrize(("text", "expected"), [("4096\n", 4096), ("max\n", None), ("9223372036854771712\n", None)])
def test_the_memory_of_a_container_is_what_it_is_allowed(tmp_path, monkeypatch, text, expected):
    monkeypatch.setattr(room, "LIMITS", ())
    machine = room.physical_memory()
    (tmp_path / "limit").write_text(text)
    monkeypatch.setattr(room, "LIMITS", (str(tmp_path / "limit"), str(tmp_path / "none")))

    assert room.physical_memory() == (expected or machine)
