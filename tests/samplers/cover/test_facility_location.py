"""facility_location: picks such that every row has a similar one among them."""

import sys
from itertools import combinations

import numpy as np
import pytest
from scipy.sparse import csr_array

from curate.errors import OptionError
from curate.index.vectors import unit
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.cover import facility_location
from curate.samplers.cover.facility_location import FacilityLocation, Service, by_all, by_threshold, greedy, similarity_graph

TOY = np.array([[1, 0.9, 0.1, 0.1], [0.9, 1, 0.1, 0.2], [0.1, 0.1, 1, 0.8], [0.1, 0.2, 0.8, 1]], np.float32)


def value(similarity, picked):
    return float(similarity[:, picked].max(axis=1).sum())


def test_the_gains_of_four_rows_by_hand():
    # gains 2.1, 2.2, 2.0, 2.1; then .1, -, 1.5, 1.5 and the lower row; then .1, -, -, .2
    assert greedy(csr_array(TOY), 3).tolist() == [1, 2, 3]
    assert [round(value(TOY, [1, 2, 3][:k]), 6) for k in (1, 2, 3)] == [2.2, 3.7, 3.9]


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_a_greedy_that_evaluates_everything(seed):
    vectors = unit(np.random.default_rng(seed).normal(size=(50, 6)).astype(np.float32))
    similarity, _ = similarity_graph(vectors, 49)
    dense, picked = similarity.toarray().astype(np.float64), []
    for _ in range(12):
        gains = [value(dense, [*picked, row]) if row not in picked else -1 for row in range(50)]
        picked.append(int(np.argmax(np.round(gains, 9))))

    assert value(dense, greedy(similarity, 12)) == pytest.approx(value(dense, picked), rel=1e-6)
    np.testing.assert_allclose(dense, np.maximum(np.clip(vectors @ vectors.T, 0, 1), np.eye(50)), atol=1e-5)


def clumps(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return unit((rng.normal(size=(n // 40, d))[rng.integers(0, n // 40, n)] + 0.8 * rng.normal(size=(n, d))).astype(np.float32))


@pytest.mark.parametrize("d", [6, 24])
@pytest.mark.parametrize("pick", [greedy, by_threshold])
def test_few_neighbours_are_worth_as_much_as_all_pairs_where_every_pick_counts(pick, d):
    vectors = clumps(800, d)
    dense = np.maximum(vectors @ vectors.T, 0)
    everything, (lists, reach) = greedy(csr_array(dense), 60), similarity_graph(vectors, 8)
    of_all, of_lists = pick(lists, 60, Service(vectors, reach)), pick(lists, 60)

    assert value(dense, of_all) >= 0.999 * value(dense, everything)
    assert value(dense, of_all) > value(dense, of_lists)


def test_how_well_rows_are_served_is_that_of_all_pairs():
    vectors = clumps(400, 8)
    dense, (lists, reach) = np.maximum(vectors @ vectors.T, 0), similarity_graph(vectors, 8)
    service, picked = Service(vectors, reach), np.random.default_rng(0).permutation(400)[:40]

    for rows in np.split(picked, [1, 5, 9, 30]):
        service.add(rows, lists[rows].indices, lists[rows].data)

    np.testing.assert_allclose(service.best, dense[:, picked].max(axis=1), atol=1e-5)


@pytest.mark.parametrize("n", [300, 5])
def test_where_picks_are_few_all_pairs_are_looked_at_and_none_is_kept(n):
    vectors = clumps(300, 8)[:n]
    dense = np.maximum(vectors @ vectors.T, 0).astype(np.float64)
    everything = greedy(csr_array(dense), 5)

    assert by_all(vectors, vectors, 5).tolist() == everything.tolist()
    picked, _ = FacilityLocation(neighbours=2).select(ArrayPool({"embedding": vectors}), 5, KeyedRandom(0, "x"))
    assert n == 5 or picked.tolist() == everything.tolist()


def test_where_picks_are_few_among_many_drawn_rows_stand_for_all(monkeypatch):
    vectors = clumps(2000, 8)
    dense = np.maximum(vectors @ vectors.T, 0)
    monkeypatch.setattr(facility_location, "EXACT", 500)

    one, other = (FacilityLocation(neighbours=8).select(ArrayPool({"embedding": vectors}), 10, KeyedRandom(0, "x"))[0] for _ in range(2))

    assert one.tolist() == other.tolist()
    assert value(dense, one) >= 0.98 * value(dense, greedy(csr_array(dense), 10))


@pytest.mark.parametrize(("n", "d", "k"), [(400, 6, 60), (300, 2, 40), (300, 24, 300)])
def test_many_picks_at_once_are_worth_as_much(n, d, k):
    vectors = unit(np.random.default_rng(k).normal(size=(n, d)).astype(np.float32))
    similarity, _ = similarity_graph(vectors, 24)
    exact, picked = greedy(similarity, k), by_threshold(similarity, k)

    assert len(picked) == len(exact) == len(set(picked.tolist()))
    assert value(similarity, picked) >= 0.999 * value(similarity, exact)
    assert picked[0] == exact[0]


def test_a_step_of_nothing_picks_as_the_exact_greedy():
    vectors = unit(np.random.default_rng(4).normal(size=(200, 5)).astype(np.float32))
    similarity, _ = similarity_graph(vectors, 16)

    assert by_threshold(similarity, 50, step=0.0).tolist() == greedy(similarity, 50).tolist()


def test_either_greedy_is_within_its_bound_of_the_best_there_is():
    threes = np.array([*combinations(range(12), 3)])
    for seed in range(200):
        dense = np.random.default_rng(seed).random((12, 12)).astype(np.float32)
        dense = np.maximum(dense, dense.T)
        np.fill_diagonal(dense, 1)
        best = dense[:, threes].max(axis=2).sum(axis=0).max()

        for picked in (greedy(csr_array(dense), 3), by_threshold(csr_array(dense), 3)):
            assert value(dense, picked) >= (1 - 1 / np.e) * best


def test_the_way_of_picking_can_be_named():
    vectors = np.random.default_rng(0).normal(size=(90, 4))
    one, other = (
        FacilityLocation(neighbours=8, greedy=how).select(ArrayPool({"embedding": vectors}), 9, KeyedRandom(0, "x"))[0]
        for how in ("auto", "threshold")
    )

    assert one[0] == other[0] and len(set(other.tolist())) == 9


def test_where_nothing_adds_the_rest_is_random_and_the_size_exact():
    vectors = np.repeat(np.eye(3), 10, axis=0)

    picked, weights = FacilityLocation(neighbours=29).select(ArrayPool({"embedding": vectors}), 9, KeyedRandom(0, "facility_location"))

    assert len(set(picked.tolist())) == 9 and {row // 10 for row in picked[:3].tolist()} == {0, 1, 2}
    assert set(weights.tolist()) == {1.0}


def test_a_weight_says_how_many_rows_are_served():
    vectors = np.concatenate([np.tile([1.0, 0.0], (9, 1)), [[0.0, 1.0]]])

    picked, weights = FacilityLocation(weigh=True).select(ArrayPool({"embedding": vectors}), 2, KeyedRandom(0, "facility_location"))

    served = dict(zip((picked == 9).tolist(), weights.tolist(), strict=True))
    assert served[False] == pytest.approx(1.8) and served[True] == pytest.approx(0.2)  # 9 and 1 of 10, mean 1


@pytest.mark.parametrize("neighbours", [1, 8, 60])
def test_every_row_is_counted_for_the_pick_that_it_is_most_similar_to(neighbours):
    vectors = np.concatenate([clumps(300, 8), np.zeros((1, 8), np.float32)])  # the last is like none

    picked, weights = FacilityLocation(neighbours=neighbours, weigh=True).select(ArrayPool({"embedding": vectors}), 20, KeyedRandom(0, "x"))

    served = np.bincount((vectors[:300] @ vectors[picked].T).argmax(axis=1), minlength=20)
    np.testing.assert_allclose(weights, np.maximum(served, 1) * 20 / np.maximum(served, 1).sum())


def test_similarities_by_faiss_are_those_by_numpy(monkeypatch):
    pytest.importorskip("faiss")
    vectors = unit(np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32))
    by_faiss, reach = similarity_graph(vectors, 5)
    monkeypatch.setitem(sys.modules, "faiss", None)
    plain, again = similarity_graph(vectors, 5)

    np.testing.assert_array_equal(by_faiss.indices, plain.indices)
    np.testing.assert_allclose(by_faiss.data, plain.data, atol=1e-6)
    np.testing.assert_allclose(reach, again, atol=1e-6)


def test_a_row_of_zeros_is_like_nothing_but_itself():
    vectors = np.float32([[1, 0], [0.6, 0.8], [0, 0]])

    np.testing.assert_allclose(similarity_graph(vectors, 2)[0].toarray(), [[1, 0.6, 0], [0.6, 1, 0], [0, 0, 1]], atol=1e-6)


def test_one_row_has_no_neighbour():
    assert FacilityLocation().select(ArrayPool({"embedding": np.ones((1, 2))}), 1, KeyedRandom(0, "x"))[0].tolist() == [0]


def test_no_neighbours_are_refused():
    with pytest.raises(OptionError, match="neighbours must be 1 or more"):
        FacilityLocation(neighbours=0)
