"""What every sampler of vectors promises."""

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
