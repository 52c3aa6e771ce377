"""MinHash on arrays: the estimate, the bands, the pairs."""

import numpy as np
import pytest

from curate.index.components import components, equal_pairs
from curate.index.minhash import band_keys, found_pairs, signatures

WORDS = np.array([f"w{i}" for i in range(5000)])


def pair_of(similarity: float, seed: int, length: int = 300) -> list[str]:
    """Two texts whose sets of words have that Jaccard similarity."""
    rng = np.random.default_rng(seed)
    shared = round(length * similarity)
    drawn = rng.permutation(WORDS)[: 2 * length - shared]
    rest = (length - shared) // 2
    return [" ".join(drawn[: shared + rest]), " ".join(np.concatenate([drawn[:shared], drawn[shared + rest : shared + 2 * rest]]))]


@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8, 0.9])
def test_agreement_estimates_the_jaccard_similarity(similarity):
    pairs = [pair_of(similarity, seed) for seed in range(40)]
    true = np.array([len(set(a.split()) & set(b.split())) / len(set(a.split()) | set(b.split())) for a, b in pairs])

    minima, _ = signatures([text for pair in pairs for text in pair], 112, 1)
    estimate = (minima[::2] == minima[1::2]).mean(axis=1)

    deviation = np.sqrt(true * (1 - true) / 112)  # .0378 at .8
    assert abs((estimate - true).mean()) < 4 * deviation.mean() / np.sqrt(40)
    assert np.abs(estimate - true).max() < 5 * deviation.max()


def test_the_estimate_is_as_good_as_datasketchs():
    datasketch = pytest.importorskip("datasketch")
    pairs = [pair_of(0.7, seed) for seed in range(40)]
    true = np.array([len(set(a.split()) & set(b.split())) / len(set(a.split()) | set(b.split())) for a, b in pairs])

    def peer(text):
        made = datasketch.MinHash(num_perm=112)
        made.update_batch([word.encode() for word in text.split()])
        return made

    theirs = np.array([peer(a).jaccard(peer(b)) for a, b in pairs])
    minima, _ = signatures([text for pair in pairs for text in pair], 112, 1)
    ours = (minima[::2] == minima[1::2]).mean(axis=1)

    assert np.sqrt(((ours - true) ** 2).mean()) < 1.5 * np.sqrt(((theirs - true) ** 2).mean())


def test_rensas_estimate_is_as_good_as_ours_and_is_of_the_same_n_grams():
    pytest.importorskip("rensa")
    pairs = [pair_of(0.7, seed) for seed in range(40)]
    texts = [text for pair in pairs for text in pair]
    true = np.array([len(set(a.split()) & set(b.split())) / len(set(a.split()) | set(b.split())) for a, b in pairs])

    theirs, there = signatures([*texts, "", "one two", "ONE, two"], 112, 2, "rensa")
    ours, _ = signatures([*texts, "", "one two", "ONE, two"], 112, 2)
    unigrams, _ = signatures(texts, 112, 1, "rensa")

    assert there.tolist() == [True] * 80 + [False, True, True]
    np.testing.assert_array_equal(theirs[81], theirs[82])
    assert not (theirs[:80] == ours[:80]).all(axis=1).any()
    deviation = np.sqrt(true * (1 - true) / 112)
    assert abs(((unigrams[::2] == unigrams[1::2]).mean(axis=1) - true).mean()) < 4 * deviation.mean() / np.sqrt(40)


@pytest.mark.parametrize(("similarity", "share"), [(0.7, 0.564504), (0.75, 0.771634), (0.8, 0.923548), (0.9, 0.999622)])
def test_bands_find_pairs_as_often_as_the_formula_says(similarity, share):
    rng = np.random.default_rng(0)
    one = rng.integers(0, 1 << 32, (4000, 112), dtype=np.uint32)
    other = np.where(rng.random(one.shape) < similarity, one, rng.integers(0, 1 << 32, one.shape, dtype=np.uint32))

    found = (band_keys(one, 14) == band_keys(other, 14)).any(axis=1).mean()

    # 1 - (1 - J^8)^14, within four deviations of 4,000 draws
    assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / 4000) + 1e-9


def test_texts_shorter_than_an_n_gram_have_no_signature():
    minima, has = signatures(["one two three", "one two", "", "!!! , .", "One, two: THREE!"], 8, 3)

    assert has.tolist() == [True, False, False, False, True]
    np.testing.assert_array_equal(minima[0], minima[4])


def test_how_texts_are_grouped_into_blocks_changes_nothing():
    texts = [" ".join(np.random.default_rng(i).choice(WORDS, 400)) for i in range(50)]

    whole, _ = signatures(texts, 16, 5)

    np.testing.assert_array_equal(whole, np.concatenate([signatures([text], 16, 5)[0] for text in texts]))


def test_components_are_named_by_their_lowest_row_whatever_the_order_of_pairs():
    one, other = np.array([5, 3, 7]), np.array([3, 1, 8])

    for order in ([0, 1, 2], [2, 1, 0]):
        assert components([(one[order], other[order]), (other, one)], 9).tolist() == [0, 1, 2, 1, 4, 1, 6, 7, 7]
    assert components([], 3).tolist() == [0, 1, 2]


def test_pairs_that_come_in_many_parts_hang_together_as_those_that_come_at_once():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 300, (2, 250))

    parts = [(one[i : i + 40], other[i : i + 40]) for i in range(0, 250, 40)]
    often = [part for part in parts for _ in range(9)]  # more than there are rows: not all are held

    np.testing.assert_array_equal(components(often, 300), components([(one, other)], 300))


def test_equal_keys_are_joined_and_a_threshold_parts_what_is_not_alike():
    keys = np.array([[4], [9], [4], [4]], np.uint64)
    minima = np.array([[1, 2], [3, 4], [1, 2], [1, 9]], np.uint32)

    assert components(found_pairs(keys.T, None, 0.0), 4).tolist() == [0, 1, 0, 0]
    assert components(found_pairs(keys.T, minima, 0.9), 4).tolist() == [0, 1, 0, 3]
    assert components([equal_pairs(keys[:, 0])], 4).tolist() == [0, 1, 0, 0]
