"""lexical: how varied a text's words are."""

import numpy as np
import pytest

from curate.errors import OptionError
from curate.scorers.language.lexical import Lexical
from curate.testing import check_scorer, shard_of


def scored(texts, **options):
    return Lexical(**options).score_rows(shard_of({"text": np.array(texts, object)}))


def naive(words, window):
    size = min(len(words), window)
    return np.mean([len(set(words[i : i + size])) / size for i in range(len(words) - size + 1)])


def test_the_worked_example():
    found = scored(["a b a, C a b!", "x"], window=3)

    # windows aba, bac, aca, cab: (2 + 3 + 2 + 3) / 3 / 4; 3 words of 6; pairs ab ba ac ca ab: 4 of 5
    np.testing.assert_allclose(found["score"], [10 / 12, 1], rtol=1e-6)
    np.testing.assert_allclose(found["distinct_1"], [0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(found["distinct_2"], [0.8, 1], rtol=1e-6)
    np.testing.assert_allclose(found["feature_density"], [7 / 11, 1], rtol=1e-6)
    assert found["words"].tolist() == [6, 1]


@pytest.mark.parametrize("window", [2, 5, 50])
def test_it_agrees_with_the_mean_over_windows(window):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdefgh"), rng.integers(1, 40))) for _ in range(50)]

    np.testing.assert_allclose(scored(texts, window=window)["score"], [naive(text.split(), window) for text in texts], rtol=1e-6)


def test_odd_texts():
    found = scored(["", " \n", "…!", "x" * 1_000_000, "東京 東京", "a " * 300_000])

    assert np.isnan(found["score"][:3]).all() and found["score"][3:5].tolist() == [1, 0.5]
    assert found["score"][5] == pytest.approx(0.02)


def test_a_window_of_one_is_refused():
    with pytest.raises(OptionError, match="window"):
        Lexical(window=1)


def test_it_keeps_the_contract():
    check_scorer("lexical:window=3")
