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
from curate.samplers.cover.facility_location import FacilityLocation, by_threshold, greedy, similarity_graph

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
    similarity = similarity_graph(vectors, 49)
    dense, picked = similarity.toarray().astype(np.float64), []
    for _ in range(12):
        gains = [value(dense, [*picked, row]) if row not in picked else -1 for row in range(50)]
        picked.append(int(np.argmax(np.round(gains, 9))))

    assert value(dense, greedy(similarity, 12)) == pytest.approx(value(dense, picked), rel=1e-6)
    np.testing.assert_allclose(dense, np.maximum(np.clip(vectors @ vectors.T, 0, 1), np.eye(50)), atol=1e-5)


@pytest.mark.parametrize(("n", "d", "k"), [(400, 6, 60), (300, 2, 40), (300, 24, 300)])
def test_many_picks_at_once_are_worth_as_much(n, d, k):
    vectors = unit(np.random.default_rng(k).normal(size=(n, d)).astype(np.float32))
    similarity = similarity_graph(vectors, 24)
    exact, picked = greedy(similarity, k), by_threshold(similarity, k)

    assert len(picked) == len(exact) == len(set(picked.tolist()))
    assert value(similarity, picked) >= 0.999 * value(similarity, exact)
    assert picked[0] == exact[0]


def test_a_step_of_nothing_picks_as_the_exact_greedy():
    vectors = unit(np.random.default_rng(4).normal(size=(200, 5)).astype(np.float32))
    similarity = similarity_graph(vectors, 16)

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


def test_similarities_by_faiss_are_those_by_numpy(monkeypatch):
    pytest.importorskip("faiss")
    vectors = unit(np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32))
    by_faiss = similarity_graph(vectors, 5)
    monkeypatch.setitem(sys.modules, "faiss", None)
    plain = similarity_graph(vectors, 5)

    np.testing.assert_array_equal(by_faiss.indices, plain.indices)
    np.testing.assert_allclose(by_faiss.data, plain.data, atol=1e-6)


def test_a_row_of_zeros_is_like_nothing_but_itself():
    vectors = np.float32([[1, 0], [0.6, 0.8], [0, 0]])

    np.testing.assert_allclose(similarity_graph(vectors, 2).toarray(), [[1, 0.6, 0], [0.6, 1, 0], [0, 0, 1]], atol=1e-6)


def test_one_row_has_no_neighbour():
    assert FacilityLocation().select(ArrayPool({"embedding": np.ones((1, 2))}), 1, KeyedRandom(0, "x"))[0].tolist() == [0]


def test_no_neighbours_are_refused():
    with pytest.raises(OptionError, match="neighbours must be 1 or more"):
        FacilityLocation(neighbours=0)
