"""density: rows where few others lie are likelier to be kept."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.index.coverage import entropy
from curate.index.kept import keeping
from curate.index.vectors import unit
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.density.density import Density


def crowd(n=2000, share=0.9, d=16):
    """A blob that holds most rows, and others spread over the sphere."""
    rng = np.random.default_rng(0)
    blob = np.eye(d)[0] + 0.05 * rng.normal(size=(int(n * share), d))
    return np.concatenate([blob, rng.normal(size=(n - len(blob), d))]).astype(np.float32)


def in_the_blob(seed=0, **options):
    vectors = crowd()
    picked, weights = Density(**options).select(ArrayPool({"embedding": vectors}), 200, KeyedRandom(seed, "density"))
    assert len(set(picked.tolist())) == 200 and set(weights.tolist()) == {1.0}
    return float((picked < 1800).mean())


@pytest.mark.parametrize("variant", ["fixed", "exact"])
def test_a_blob_of_nine_tenths_gets_less_than_half_of_a_tenth(variant):
    assert in_the_blob(variant=variant) <= 0.5


def test_the_published_setting_thins_it_less():
    assert in_the_blob(variant="paper") > in_the_blob() + 0.1


@pytest.mark.parametrize("kernel", ["l2", "l1", "angular"])
def test_every_kernel_thins_the_crowd(kernel):
    assert in_the_blob(kernel=kernel, width={"l1": 2.0}.get(kernel), concat=8) < 0.8


def test_the_same_seed_draws_the_same_rows_and_another_others():
    vectors = crowd(300)
    draws = [Density().select(ArrayPool({"embedding": vectors}), 30, KeyedRandom(seed, "density"))[0].tolist() for seed in (0, 0, 1)]

    assert draws[0] == draws[1] != draws[2]


def zipf(n=8000, d=64, clusters=200):
    """Unit rows, most of them in few clusters: cosine .9 within a cluster, .63 between two."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, clusters + 1)
    of = rng.choice(clusters, n, p=share / share.sum())
    common, centres, noise = (unit(rng.normal(size=(m, d)).astype(np.float32)) for m in (1, clusters, n))
    return np.float32(0.63**0.5) * common + np.float32(0.27**0.5) * centres[of] + np.float32(0.1**0.5) * noise, of


def test_crowds_shrink_by_default_and_by_the_published_setting_next_to_nothing_which_is_said():
    vectors, of = zipf()
    evenness, notes = {}, {}
    for variant in ("fixed", "paper"):
        with keeping(None) as keeper:
            picked = Density(variant=variant).select(ArrayPool({"embedding": vectors}), 800, KeyedRandom(0, "density"))[0]
        evenness[variant], notes[variant] = entropy(np.bincount(of[picked], minlength=200)), keeper.notes
    at_random = entropy(np.bincount(of[np.random.default_rng(1).permutation(8000)[:800]], minlength=200))

    assert evenness["fixed"] - at_random >= 0.08 and abs(evenness["paper"] - at_random) <= 0.02
    assert "little more than a random draw" in notes["paper"][0] and "random" not in notes["fixed"][0]


def test_equal_rows_are_drawn_like_any():
    picked, _ = Density().select(ArrayPool({"embedding": np.ones((20, 3))}), 20, KeyedRandom(0, "density"))

    assert sorted(picked.tolist()) == list(range(20))


@pytest.mark.parametrize("options", [{"repeats": 0}, {"concat": 0}, {"width": 0.0}, {"width": float("nan")}])
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(OptionError, match="density"):
        Density(**options)
