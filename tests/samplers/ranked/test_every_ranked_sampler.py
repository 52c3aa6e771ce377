"""What all samplers from scores promise: exactly k distinct rows, whatever k, and the same ones for the same seed."""

import numpy as np
import pytest

from curate.errors import ColumnError, OptionError
from curate.plugins import parse
from curate.pool import ArrayPool
from curate.rng import KeyedRandom

RNG = KeyedRandom(3, "sampler")
N = 40
SPECS = [
    "random",
    "class_random",
    "class_random:balance=equal",
    "top",
    "offset:drop=0",
    "band:centre=0.9",
    "ambiguous",
    "ambiguous:easy_mix=1",
    "ccs",
    "ccs:beta=0,n_strata=3",
    "beta",
    "gumbel",
    "gumbel:scale=raw,temperature=0.1",
]


def pool_of(n, *, seed=0, ties=False, keep="high"):
    rng = np.random.default_rng(seed)
    columns = {
        name: rng.random(n) for name in ("score", "aum.score", "datamap.variability", "datamap.confidence", "dual.score", "dual.mean")
    }
    if ties:
        columns = {name: np.round(column) for name, column in columns.items()}
    return ArrayPool({**columns, "label": rng.integers(0, 4, n)}, rows=np.sort(rng.permutation(10 * n)[:n]), keep=keep)


@pytest.mark.parametrize("keep", ["high", "low", "middle"])
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("spec", SPECS)
def test_exactly_k_distinct_rows_for_every_k(spec, ties, keep):
    pool = pool_of(N, ties=ties, keep=keep)
    sampler = parse("samplers", spec).build()

    for k in (0, 1, 7, 20, N - 1, N):
        index, weights = sampler.select(pool, k, RNG)
        assert index.dtype == np.int64 and weights.dtype == np.float64
        assert sorted(set(index.tolist())) == sorted(index.tolist()) and len(index) == k == len(weights)
        assert ((index >= 0) & (index < N)).all()


@pytest.mark.parametrize("spec", SPECS)
def test_every_class_gives_its_share_exactly(spec):
    pool = pool_of(N)
    sampler = parse("samplers", spec).build()

    for code in range(4):
        rows = np.flatnonzero(pool["label"] == code)
        for k in (1, len(rows)):
            assert len(sampler.select(pool.subset(rows), k, RNG)[0]) == k


@pytest.mark.parametrize("spec", SPECS)
def test_more_rows_than_the_pool_has_are_refused(spec):
    with pytest.raises(OptionError, match="41"):
        parse("samplers", spec).build().select(pool_of(N), N + 1, RNG)


@pytest.mark.parametrize("spec", SPECS)
def test_the_seed_and_the_rows_decide_alone(spec):
    sampler = parse("samplers", spec).build()

    first, again = (sampler.select(pool_of(N), 9, KeyedRandom(5, "sampler"))[0] for _ in range(2))

    assert first.tolist() == again.tolist()


@pytest.mark.parametrize("spec", [spec for spec in SPECS if not spec.endswith("random") and "class" not in spec])
def test_nan_in_any_column_that_is_read_is_refused(spec):
    sampler = parse("samplers", spec).build()
    whole = pool_of(N)

    for name in sampler.requires:
        columns = {other: whole[other] for other in sampler.requires}
        columns[name] = np.where(np.arange(N) == 3, np.nan, columns[name])
        with pytest.raises(ColumnError, match=f'1 of 40 rows have no "{name}"'):
            sampler.select(ArrayPool(columns), 5, RNG)


@pytest.mark.parametrize("spec", SPECS)
def test_only_required_columns_are_read(spec):
    sampler = parse("samplers", spec).build()
    whole = pool_of(N)

    sampler.select(ArrayPool({name: whole[name] for name in sampler.requires}, rows=whole.rows), 5, RNG)
