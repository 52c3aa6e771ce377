"""prototypes: how far a row lies from its prototype."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.pool import ArrayPool
from curate.protocols import Shard
from curate.rng import KeyedRandom
from curate.samplers.cover.prototypes import Prototypes as Sampler
from curate.scorers.neighbours.prototypes import Prototypes
from curate.testing import check_scorer

LINE = np.float32([[-2], [0], [1], [50], [51], [53]])  # prototypes -1/3 and 51 1/3


def score(columns, cut, **options):
    scorer = Prototypes(**options)
    n = len(columns["embedding"])
    parts = [Shard(np.arange(n)[part], {name: np.asarray(c)[part] for name, c in columns.items()}) for part in cut]
    state = None
    for _ in range(scorer.passes):
        state = scorer.merge([scorer.fit(part, state) for part in parts])
    return np.concatenate([scorer.score(part, state)["score"] for part in parts])


@pytest.mark.parametrize("spec", ["prototypes", "prototypes:kind=supervised", "prototypes:clusters=3,metric=euclidean"])
def test_it_keeps_the_contract(spec):
    check_scorer(spec)


@pytest.mark.parametrize("options", [{"clusters": 2}, {"kind": "supervised"}], ids=["self", "supervised"])
@pytest.mark.parametrize("cut", [[slice(0, 6)], [slice(0, 1), slice(1, 1), slice(1, 6)]], ids=["one shard", "three"])
def test_distances_by_hand(options, cut):
    found = score({"embedding": LINE, "label": [0, 0, 0, 1, 1, 1]}, cut, metric="euclidean", **options)

    np.testing.assert_allclose(found, [5 / 3, 1 / 3, 4 / 3, 4 / 3, 1 / 3, 5 / 3], rtol=1e-4)


@pytest.mark.parametrize("kind", ["self", "supervised"])
def test_the_sampler_orders_by_these_numbers(kind):
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(200, 5)).astype(np.float32), rng.integers(0, 3, 200)

    found = score({"embedding": x, "label": label}, [slice(0, 70), slice(70, 200)], kind=kind)

    picked = Sampler(kind=kind).select(ArrayPool({"embedding": x, "label": label}), 200, KeyedRandom(0, "prototypes"))[0]
    np.testing.assert_allclose(found[picked], np.sort(found)[::-1], atol=1e-5)


def test_a_row_without_a_vector_or_a_label_has_no_distance():
    x = LINE.copy()
    x[1] = np.nan

    found = score({"embedding": x, "label": [0, 0, -1, 1, 1, 1]}, [slice(0, 6)], kind="supervised", metric="euclidean")

    assert np.isnan(found).tolist() == [False, True, True, False, False, False] and found[0] == 0


@pytest.mark.parametrize("options", [{"clusters": 0}, {"kind": "supervised", "clusters": 3}])
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(OptionError, match="clusters"):
        Prototypes(**options)
