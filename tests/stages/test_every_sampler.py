"""Every registered sampler, through `curate.select`, on what real data bring: it picks exactly, or refuses in words that mend it."""

import datasets
import numpy as np
import pyarrow as pa
import pytest

import curate
from curate import plugins
from curate.errors import ColumnError, CurateError, DoesNotFitError, InputError, OptionError, UsageError
from curate.stages import planning

N, D = 24, 5
OPTIONS = {"density": "density:repeats=4"}  # a small sketch, for the time
ELSEWHERE = {"rds", "offset"}  # they need a scorer's store: tests/samplers/target and tests/samplers/ranked
SAMPLERS = [OPTIONS.get(name, name) for name in plugins.methods("samplers") if name not in ELSEWHERE]
READS = {spec: plugins.parse("samplers", spec).build().requires for spec in SAMPLERS}
OF_VECTORS = [spec for spec in SAMPLERS if "embedding" in READS[spec]]
NAN, INF = float("nan"), float("inf")


def table(vectors, **columns):
    """Rows with vectors, labels, and a column for every score that a sampler reads."""
    n, d = vectors.shape
    rising = np.linspace(0.1, 0.9, n)
    scores = {name: rising for name in ("q", "aum", "datamap.variability", "datamap.confidence", "dual", "dual.mean")}
    flat = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors).ravel()), d)
    return datasets.Dataset(pa.table({"embedding": flat, "label": np.arange(n) % 2, **scores, **columns}))


def vectors(n=N, d=D, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(n, d)).astype(dtype)


def changed(row, value):
    there = vectors()
    there[row] = value
    return there


def choose(spec, data, budget=6, **options):
    by = {"by": "column:q", "keep": "high"} if "score" in READS[spec] else {}
    return curate.select(data, sampler=spec, budget=budget, **by, **options)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Data of 33 rows, and stores of their vectors in 1, 3 and 17 shards, the last of one row."""
    data, place = curate.load(table(vectors(33))), tmp_path_factory.mktemp("cut")
    made = [curate.embed(data, out=place / str(rows), shard_rows=rows) for rows in (33, 16, 2)]
    assert [len(one.store.files("embeddings")) for one in made] == [1, 3, 17]
    return data, *(one.path for one in made)


ODD = {
    "one row": vectors(1),
    "two rows": vectors(2),
    "one number": vectors(d=1),
    "zeros": np.zeros((N, D), np.float32),
    "some zeros": changed(slice(0, 3), 0),
    "all equal": np.ones((N, D), np.float32),
    "two places": np.repeat(np.eye(2, dtype=np.float32), N // 2, axis=0),
    "huge": 1e30 * vectors(),
    "tiny": 1e-30 * vectors(),
    "float16": vectors(dtype=np.float16),
    "float64": vectors(dtype=np.float64),
    "whole numbers": (10 * vectors()).astype(np.int64),
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("spec", OF_VECTORS)
def test_odd_vectors_are_chosen_among(spec, case):
    data = curate.load(table(ODD[case]))

    for k in {1, min(6, len(data)), len(data)}:
        rows = choose(spec, data, k).rows
        assert len(set(rows.tolist())) == k and rows.max() < len(data)


@pytest.mark.parametrize("spec", OF_VECTORS)
def test_how_the_store_of_vectors_was_cut_changes_no_pick(spec, stores):
    data, whole, *cut = stores

    expected = choose(spec, data, embeddings=whole)
    for store in cut:
        found = choose(spec, data, embeddings=store)
        assert found.table.equals(expected.table)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("spec", OF_VECTORS)
def test_a_row_whose_vector_is_not_finite_is_left_out_and_counted(spec, value):
    data = curate.load(table(changed((3, 2), value)))

    chosen = choose(spec, data, N - 1)

    assert sorted(chosen.rows.tolist()) == [row for row in range(N) if row != 3]
    assert chosen.report["without_vector"] == 1 and chosen.report["without_score"] == 0
    with pytest.raises(OptionError, match=f"{N} rows, but {N - 1} are left"):
        choose(spec, data, N)


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("spec", OF_VECTORS)
def test_a_set_without_a_finite_vector_is_bad_input(spec, value):
    with pytest.raises(InputError, match=f"None of the {N} candidates has a vector"):
        choose(spec, curate.load(table(np.full((N, D), value, np.float32))))


@pytest.mark.parametrize(
    ("budget", "said"), [(0, "keeps none"), ("0%", "keeps none"), (N + 1, "more than"), (-1, "budget"), ("x", "budget")]
)
@pytest.mark.parametrize("spec", SAMPLERS)
def test_a_budget_that_cannot_be_had_is_refused(spec, budget, said):
    with pytest.raises(OptionError, match=said):
        choose(spec, curate.load(table(vectors())), budget)


@pytest.mark.parametrize("spec", [spec for spec in SAMPLERS if "score" in READS[spec]])
def test_a_score_with_gaps_is_refused_or_left_out_as_told_and_one_of_gaps_alone_is_bad_input(spec):
    some, none = (curate.load(table(vectors(), q=np.where(np.arange(N) < most, NAN, 0.5))) for most in (3, N))

    with pytest.raises(InputError, match=r'3 of 24 rows have no "column:q.*--nan drop'):
        choose(spec, some)
    assert choose(spec, some, nan="drop").rows.min() >= 3
    with pytest.raises(InputError, match='None of the 24 candidates has "column:q'):
        choose(spec, none, nan="drop")


@pytest.mark.parametrize("spec", [spec for spec in SAMPLERS if "label" in READS[spec]])
def test_rows_without_a_label_are_chosen_as_a_class_of_their_own_or_refused_with_what_leaves_them_out(spec):
    data = curate.load(table(vectors(), label=pa.array([None if row < 3 else row % 2 for row in range(N)])))

    try:
        chosen = choose(spec, data)
        assert len(chosen) == 6 and chosen.report["unlabelled"] == [int((chosen.rows < 3).sum()), 3]
    except ColumnError as error:
        assert "3 of 24 rows have no label" in str(error) and 'not is_null(LABEL)"' in str(error)
    assert choose(spec, data, where="not is_null(label)").rows.min() >= 3


def test_a_score_that_nobody_made_is_told_how_it_is_made():
    data = curate.load(vectors())

    with pytest.raises(UsageError, match=r'"ambiguous" reads "datamap.variability".*curate score DATA --scorer datamap --out scores'):
        curate.select(data, sampler="ambiguous", budget=5)
    with pytest.raises(UsageError, match=r'"semdedup" is a scorer.*--where "not semdedup.is_duplicate"'):
        curate.select(data, sampler="semdedup", budget=5)


@pytest.mark.parametrize(
    ("spec", "odd", "said"),
    [
        ("k_center", np.ones((N, D), np.float32), "all vectors are equal"),
        ("density:repeats=4", changed(slice(0, 6), 0), "25.0% of the vectors are zeros"),
        ("k_center", vectors(d=1), "sees only the sign: metric=euclidean"),
        ("facility_location", vectors(d=1), "sees only the sign: take vectors of more numbers"),
        ("k_center:metric=euclidean", vectors(d=1), None),
        ("k_center", vectors(), None),
    ],
)
def test_what_makes_vectors_say_little_is_said(spec, odd, said):
    notes = " ".join(curate.select(curate.load(odd), sampler=spec, budget=4).report.get("notes", []))

    assert (said in notes) if said else not any(word in notes for word in ("equal", "zeros", "sign"))


@pytest.mark.parametrize("spec", SAMPLERS)
def test_a_plan_says_what_a_selection_reads_and_takes(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "LONG_ENOUGH", 0.0)
    data = curate.load(table(vectors()))
    by = {"by": "column:q", "keep": "high"} if "score" in READS[spec] else {}

    plan = planning.plan(data, sampler=spec, budget="25%", out=tmp_path / "o", **by)

    assert (plan["sampler"], plan["reads"], plan["of"], plan["candidates"], plan["keeps"]) == (
        spec.partition(":")[0],
        list(READS[spec]),
        N,
        N,
        6,
    )
    assert plan["disk"] > 0 and not (tmp_path / "o").exists()
    if spec in OF_VECTORS:
        assert plan["dimensions"] == D and plan["memory"] > 0 and plan["seconds"] > 0 and "report" not in plan
    else:
        assert plan["seconds"] is None and plan["report"]["kept"] == 6


@pytest.mark.parametrize("spec", OF_VECTORS)
def test_what_memory_does_not_hold_is_refused_in_a_plan_and_before_the_work(spec, monkeypatch):
    monkeypatch.setattr("curate.stages.narrowing.physical_memory", lambda: 500)
    data = curate.load(table(vectors()))

    by = {"by": "column:q", "keep": "high"} if "score" in READS[spec] else {}

    for ask in (curate.select, planning.plan):
        with pytest.raises(DoesNotFitError, match=r"would need about .*Narrow the candidates"):
            ask(data, sampler=spec, budget=6, **by)


def test_classes_are_planned_one_by_one():
    data = curate.load(table(vectors(n=200)))
    whole, parts = (planning.plan(data, sampler="dpp", budget=40, per_class=each) for each in (False, True))

    assert parts["memory"] < whole["memory"] / 1.8


@pytest.mark.parametrize("spec", OF_VECTORS)
def test_work_grows_with_the_rows_and_is_counted_by_every_sampler_of_vectors(spec):
    sampler = plugins.parse("samplers", spec).build()

    assert 0 < sampler.work(1000, 32, 100) < sampler.work(100_000, 32, 10_000)
    assert isinstance(sampler.memory(1000, 32, 100), int)


def test_every_refusal_is_ours_with_a_documented_code():
    bad = [
        {"budget": 3, "sampler": "k_center:metric=cosin"},
        {"budget": 3, "sampler": "k_centre"},
        {"budget": 3, "sampler": "kmeans:clusters=0"},
    ]

    for options in bad:
        with pytest.raises(CurateError) as caught:
            curate.select(curate.load(vectors()), **options)
        assert caught.value.exit_code == 2
