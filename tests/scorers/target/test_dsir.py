"""dsir: log importance weights of hashed n-grams."""

import hashlib
import re

import numpy as np
import pytest

from curate.errors import InputError, OptionError
from curate.protocols import Shard
from curate.scorers.target.dsir import DSIR, FLOOR
from curate.testing import check_scorer

ROWS = ["The cat sat on the mat.", "Stocks fell by 3% today, and bonds rose.", "a cat, a cat!", "rates rose", "Ünïcode 東京 cat"]
GOAL = ["Stocks rose today.", "Bonds fell; rates rose by 2%."]


def shard(texts, name="text", first=0):
    return Shard(np.arange(first, first + len(texts)), {name: np.array(texts, object)})


def fitted(scorer, rows=ROWS, goal=GOAL, cuts=(2,)):
    target = scorer.merge_target([scorer.fit_target(shard([text], "target.text")) for text in goal])
    parts = [shard(part.tolist(), first=first) for part, first in zip(np.split(np.array(rows, object), cuts), (0, *cuts), strict=True)]
    target = {f"target.{key}": value for key, value in target.items()}
    state = scorer.merge([scorer.fit(part, target) for part in parts]) | target
    scored = [scorer.score(part, state) for part in parts]
    return {name: np.concatenate([columns[name] for columns in scored]) for name in scored[0]}, state


def features(text, n, buckets):
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    grams = [" ".join(words[i : i + order]) for order in range(1, n + 1) for i in range(len(words) - order + 1)]
    return [int(hashlib.sha256(gram.encode()).hexdigest(), 16) % buckets for gram in grams]


def naive(rows, goal, n=2, buckets=10_000):
    """The closed form, row by row."""
    counted = {"rows": np.zeros(buckets), "goal": np.zeros(buckets)}
    for name, texts in (("rows", rows), ("goal", goal)):
        for text in texts:
            for bucket in features(text, n, buckets):
                counted[name][bucket] += 1
    p = {name: counts / counts.sum() for name, counts in counted.items()}
    ratio = np.log(p["goal"] + 1e-8) - np.log(p["rows"] + 1e-8)
    return np.array([sum(ratio[bucket] for bucket in features(text, n, buckets)) for text in rows])


def test_the_worked_example():
    state = {"target.counts": np.array([3, 1, 0, 0]), "counts": np.array([1, 1, 1, 1])}

    plain, smoothed = DSIR(buckets=4)._log_ratio(state), DSIR(buckets=4, laplace=1)._log_ratio(state)

    # ln(.75/.25), ln(.25/.25), ln(1e-8 / .25); a row with counts [2, 1, 0, 0] then weighs 2 · 1.098612
    np.testing.assert_allclose(plain, [np.log(3), 0, np.log(FLOOR / 0.25), np.log(FLOOR / 0.25)], atol=1e-7)
    np.testing.assert_allclose(smoothed, [np.log(2), 0, -np.log(2), -np.log(2)], atol=1e-12)


def test_features_and_buckets_are_those_of_the_official_package():
    assert features("Alice went to the store", 2, 10_000)[:1] == [6720] and 114 in features("Alice went to the store", 2, 10_000)
    counts = DSIR(hash="sha256").fit_target(shard(["Alice went to the store"], "target.text"))["counts"]

    assert counts.sum() == 9 and counts[6720] == 1 and counts[114] == 1


@pytest.mark.parametrize("n", [1, 2, 3])
def test_it_agrees_with_the_naive_sum(n):
    found, _ = fitted(DSIR(hash="sha256", ngrams=n, length="none"))

    np.testing.assert_allclose(found["log_weight"], naive(ROWS, GOAL, n), rtol=1e-5)
    np.testing.assert_array_equal(found["score"], found["log_weight"])


def test_the_length_is_taken_out_as_asked():
    sums, _ = fitted(DSIR(length="none"))
    count = np.array([len(features(text, 2, 7)) for text in ROWS])

    for length, expected in (
        ("mean", sums["score"] / count),
        ("sqrt", sums["score"] / np.sqrt(count)),
        ("chunk", sums["score"] / count * 255),
    ):
        np.testing.assert_allclose(fitted(DSIR(length=length))[0]["score"], expected, rtol=1e-5)


def test_a_text_of_twice_the_same_has_the_same_score():
    once, twice = "bonds fell today", "bonds fell today bonds fell today bonds fell today " * 20
    found, _ = fitted(DSIR(ngrams=1), rows=[once, twice, *ROWS])

    assert found["score"][0] == pytest.approx(found["score"][1], rel=1e-5)


def test_words_and_facts():
    found, state = fitted(DSIR(), rows=ROWS * 4, cuts=(3, 11))
    facts = DSIR().conclude(state)

    assert found["words"][:5].tolist() == [7, 11, 6, 2, 3]
    assert facts["kl_of_best_tenth"] < facts["kl_of_random_tenth"] and facts["target_n_grams"] == 4 + 3 + 8 + 7


def test_fast_and_sha256_rank_alike():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(300)]
    rows = [" ".join(rng.choice(words[a : a + 150], 60)) for a in rng.integers(0, 150, 200)]
    goal = [" ".join(rng.choice(words[:150], 60)) for _ in range(50)]

    fast, exact = (fitted(DSIR(hash=mode), rows, goal)[0]["score"] for mode in ("fast", "sha256"))

    assert spearmanr(fast, exact)[0] > 0.95


@pytest.mark.parametrize(("length", "most"), [("mean", 0.25), ("chunk", 0.25)])
def test_within_a_domain_the_length_says_little(length, most):
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(400)])
    sizes = rng.integers(20, 600, 300)
    near = rng.random(300) < 0.5  # of the target's domain; the words of the other half are others
    rows = [" ".join(words[rng.integers(0 if one else 200, 200 if one else 400, size)]) for one, size in zip(near, sizes, strict=True)]
    goal = [" ".join(words[rng.integers(0, 200, 100)]) for _ in range(100)]

    plain, freed = (fitted(DSIR(length=kind), rows, goal)[0]["score"] for kind in ("none", length))

    assert abs(spearmanr(plain[near], sizes[near])[0]) > 0.9  # the plain sum grows with the text
    assert abs(spearmanr(freed[near], sizes[near])[0]) <= most


@pytest.mark.parametrize("cuts", [(), (1, 2, 4), (0, 5)])
def test_how_rows_were_cut_changes_nothing(cuts):
    whole, one = fitted(DSIR())
    found, state = fitted(DSIR(), cuts=cuts)

    np.testing.assert_array_equal(found["score"], whole["score"])
    assert DSIR().conclude(state) == DSIR().conclude(one)


def test_a_planted_domain_fills_the_top():
    rng = np.random.default_rng(0)

    def document(low):
        return " ".join(f"w{i}" for i in rng.integers(low, low + 400, rng.integers(20, 200)))

    near = rng.random(400) < 0.2
    found, _ = fitted(DSIR(), [document(0 if is_near else 300) for is_near in near], [document(0) for _ in range(50)])

    top = np.argsort(-found["score"])[: near.sum()]
    assert near[top].mean() >= 0.9


def test_odd_texts_have_a_score_or_none():
    found, _ = fitted(DSIR(), rows=[*ROWS, "", " \n", "\ufffd", "x" * 1_000_000, "word " * 200_000])

    assert np.isnan(found["score"][5:7]).all() and np.isfinite(found["score"][7:]).all()


def test_a_target_without_words_is_refused():
    with pytest.raises(InputError, match="no words"):
        DSIR().merge_target([DSIR().fit_target(shard(["", "  "], "target.text"))])


@pytest.mark.parametrize("options", [{"ngrams": 0}, {"buckets": 1}, {"laplace": -1.0}, {"laplace": float("nan")}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        DSIR(**options)


@pytest.mark.parametrize("spec", ["dsir", "dsir:hash=sha256,ngrams=1,length=none", "dsir:laplace=1,length=sqrt,buckets=64"])
def test_it_keeps_the_contract(spec):
    check_scorer(spec)


def test_it_is_the_official_package():
    peer = pytest.importorskip("data_selection.hashed_ngram_dsir")
    counts = [sum(peer.get_ngram_counts(text) for text in texts) for texts in (GOAL, ROWS)]
    ratio = np.subtract(*(np.log(c / c.sum() + 1e-8) for c in counts))

    found, _ = fitted(DSIR(hash="sha256"))

    np.testing.assert_allclose(found["log_weight"], [ratio @ peer.get_ngram_counts(text) for text in ROWS], rtol=1e-6)
