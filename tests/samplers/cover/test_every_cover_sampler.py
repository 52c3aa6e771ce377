"""What every sampler of vectors promises."""

import tracemalloc

import numpy as np
import pytest

from curate import plugins
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.testing import check_sampler

SPECS = [
    "k_center",
    "k_center:start=random,trim=0.1",
    "k_center:parts=3",
    "herding",
    "herding:rule=mean",
    "facility_location:weigh=true",
    "facility_location:greedy=threshold",
    "density",
    "density:variant=exact",
    "kmeans",
    "kmeans:within=nearest,power=0",
    "kmeans:within=farthest,clusters=3",
    "kmeans:within=score,metric=euclidean",
    "hierarchical_kmeans",
    "hierarchical_kmeans:clusters=9+3,leaves=nearest",
    "d2",
    "dpp",
    "dpp:kernel=linear,alpha=0.5",
    "dpp:window=3",
    "kmq",
    "kmq:draw=softmax",
    "moderate",
    "moderate:centre=mean",
    "prototypes",
    "prototypes:kind=supervised,end=near",
    "typicality",
    "typicality:most_clusters=3,smallest=2",
]


@pytest.mark.parametrize("spec", SPECS)
def test_it_keeps_the_contract(spec):
    check_sampler(spec)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    "vectors",
    [np.zeros((5, 3)), np.ones((5, 3)), np.arange(5.0)[:, None], np.ones((1, 1)), np.eye(5, dtype=np.float16)],
    ids=["all zero", "all equal", "one dimension", "one row", "float16"],
)
def test_odd_vectors_are_placed(spec, vectors):
    pool = ArrayPool({"embedding": vectors, "score": np.arange(len(vectors)) / 9, "label": np.arange(len(vectors)) % 2})
    for k in (0, 1, len(vectors)):
        picked, weights = plugins.parse("samplers", spec).build().select(pool, k, KeyedRandom(0, "x"))

        assert len(set(picked.tolist())) == len(weights) == k


@pytest.mark.parametrize("spec", [spec for spec in SPECS if not spec.startswith("density:")])
def test_candidates_among_others_are_chosen_as_if_they_were_alone(spec):
    rng = np.random.default_rng(0)
    columns = {"embedding": rng.normal(size=(60, 4)).astype(np.float32), "score": rng.random(60), "label": rng.integers(0, 3, 60)}
    index = np.flatnonzero(rng.random(60) < 0.6)
    sampler = plugins.parse("samplers", spec).build()

    among, weights = sampler.select(ArrayPool(columns).subset(index), 12, KeyedRandom(0, "x"))
    alone, others = sampler.select(ArrayPool({name: c[index] for name, c in columns.items()}, rows=index), 12, KeyedRandom(0, "x"))

    np.testing.assert_array_equal(among, alone)
    np.testing.assert_array_equal(weights, others)


@pytest.mark.parametrize(
    "spec", ["d2", "moderate", "moderate:centre=mean", "herding", "k_center", "k_center:trim=0.1", "facility_location", "dpp:window=5"]
)
def test_no_more_memory_is_taken_than_is_said_beforehand(spec, tmp_path):
    n, d, k = 3000, 64, 40
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).normal(size=(n, d)).astype(np.float32))
    sampler = plugins.parse("samplers", spec).build()
    columns = {"score": np.linspace(0, 1, n), "label": np.arange(n) % 2}
    pool = ArrayPool({"embedding": np.load(tmp_path / "vectors.npy", mmap_mode="r"), **columns})

    sampler.select(pool.subset(np.arange(300)), 30, KeyedRandom(0, "x"))  # imports
    tracemalloc.start()  # of numpy and of Python: FAISS holds the vectors once more at most
    sampler.select(pool, k, KeyedRandom(0, "x"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak <= sampler.memory(n, d, k)
