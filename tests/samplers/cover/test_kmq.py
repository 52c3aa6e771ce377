"""kmq: clusters give their share, good rows are likelier, and rounds follow what was learnt."""

import numpy as np
import pytest

import curate
from curate.errors import OptionError
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.cover.kmq import KMQ, Refinement, reweighted, shared


def planted(n_good=20, each=50, junk=200, seed=0):
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(n_good + 1, 16)) * 10
    place = np.concatenate([np.repeat(np.arange(n_good), each), np.full(junk, n_good)])
    return (middle[place] + rng.normal(size=(len(place), 16))).astype(np.float32), place


def test_shares_and_weights_by_hand():
    assert shared(np.array([0.8, 0.1, 0.1]), np.array([2, 9, 9]), 6).tolist() == [2, 2, 2]  # 4.8, .6, .6; then 4 to the two others
    assert shared(np.array([0.5, 0.3, 0.2]), np.array([9, 9, 9]), 5).tolist() == [3, 1, 1]  # 2, 1, 1, and .5 is the largest remainder
    weights, seen = np.array([0.5, 0.25, 0.25]), np.array([True, True, False])
    # .5·1 and .25·2 are alike and share the .75 that was seen
    assert reweighted(weights, np.array([1.0, 2.0, 9.0]), seen, "paper").tolist() == [0.375, 0.375, 0.25]
    assert reweighted(weights, np.array([np.log(2), 0.0, 0.0]), seen, "code").tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert reweighted(weights, np.array([-1.0, -2.0, 0.0]), seen, "paper").tolist() == weights.tolist()


def test_clusters_give_in_proportion_and_rows_of_weight_0_come_last():
    x, place = planted()
    score = np.tile([0.0, 1.0], len(x) // 2)

    picked = KMQ(clusters=21, metric="euclidean").select(ArrayPool({"embedding": x, "score": score}), 120, KeyedRandom(0, "kmq"))[0]

    assert np.bincount(place[picked]).tolist() == [5] * 20 + [20]
    assert score[picked].all()


def test_good_rows_are_drawn_in_proportion_to_their_score():
    x, score = np.zeros((400, 2), np.float32), np.tile([1.0, 3.0], 200)
    shares = [
        score[KMQ().select(ArrayPool({"embedding": x, "score": score}), 10, KeyedRandom(seed, "kmq"))[0]].tolist().count(3.0)
        for seed in range(200)
    ]

    assert np.mean(shares) / 10 == pytest.approx(0.75, abs=0.03)  # ± 4 standard errors, and a little less for drawing without return


@pytest.mark.parametrize("update", ["paper", "code"])
def test_junk_loses_half_its_weight_in_three_rounds_and_no_good_cluster_is_left_out(update):
    x, place = planted()
    rounds = Refinement(x, np.ones(len(x)), k=300, rounds=3, clusters=21, update=update, metric="euclidean")
    at_first = rounds.weights.max()
    assert at_first == pytest.approx(200 / 1200)

    while not rounds.is_finished:
        new = rounds.draw()
        rounds.learn(np.where(place[new] == 20, 0.2, 1.0))

    junk = rounds.weights[rounds.clusters.of[np.flatnonzero(place == 20)[0]]]
    assert junk < at_first / 2
    assert len(set(rounds.rows.tolist())) == 300 and set(place[rounds.rows].tolist()) >= set(range(20))


def test_a_round_that_is_owed_its_signal_is_not_followed_by_another():
    rounds = Refinement(np.ones((9, 2)), np.ones(9), k=4, rounds=2)
    rounds.draw()

    with pytest.raises(OptionError, match="call `learn`"):
        rounds.draw()
    with pytest.raises(OptionError, match="2 finite numbers are expected"):
        rounds.learn([1.0])
    rounds.learn([1.0, 2.0])
    rounds.draw()
    with pytest.raises(OptionError, match="All 2 rounds are drawn"):
        rounds.draw()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(OptionError, match="clusters must be 1"):
        KMQ(clusters=0)
    with pytest.raises(OptionError, match="scores are below 0"):
        KMQ().select(ArrayPool({"embedding": np.ones((2, 1)), "score": np.array([-1.0, 1])}), 1, KeyedRandom(0, "kmq"))
    with pytest.raises(OptionError, match="rounds must lie between"):
        Refinement(np.ones((9, 2)), np.ones(9), k=4, rounds=5)
    with pytest.raises(OptionError, match="9 vectors but 8 quality"):
        Refinement(np.ones((9, 2)), np.ones(8), k=4)


def test_a_signal_a_cluster_does_as_one_a_row_does():
    x, place = planted()
    one, other = (Refinement(x, np.ones(len(x)), k=300, rounds=3, clusters=21, metric="euclidean") for _ in range(2))

    while not one.is_finished:
        new, same = one.draw(), other.draw()
        assert new.tolist() == same.tolist()
        one.learn(np.where(place[new] == 20, 0.2, 1.0))
        of = other.clusters.of[new]
        known = np.isin(np.arange(21), of)
        means = [np.where(place[new[of == j]] == 20, 0.2, 1.0).mean() if known[j] else np.nan for j in range(21)]
        other.learn_clusters(means)
        np.testing.assert_allclose(one.weights, other.weights)


def test_a_signal_is_taken_once_a_round_and_fits_the_clusters():
    rounds = Refinement(np.random.default_rng(0).normal(size=(20, 2)), np.ones(20), k=6, rounds=2, clusters=3)
    with pytest.raises(OptionError, match="call `draw` first"):
        rounds.learn_clusters([1.0, 1.0, 1.0])
    rounds.draw()
    with pytest.raises(OptionError, match="one for each cluster"):
        rounds.learn_clusters([1.0])
    rounds.learn_clusters([1.0, np.nan, 2.0])
    with pytest.raises(OptionError, match="call `draw` first"):
        rounds.learn_clusters([1.0, 1.0, 1.0])


def test_rounds_read_a_store_of_embeddings(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    made = curate.embed(x, out=tmp_path / "e")

    assert Refinement(made, np.ones(20), k=6).draw().tolist() == Refinement(x, np.ones(20), k=6).draw().tolist()
    with pytest.raises(OptionError, match="what `curate"):
        Refinement(str(tmp_path / "e"), np.ones(20), k=6)
