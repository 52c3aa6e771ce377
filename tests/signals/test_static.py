"""Static embeddings: means of looked-up vectors."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from curate.signals.static import StaticTable


@pytest.fixture
def small(tmp_path):
    save_file({"embeddings": np.array([[3, 0], [0, 4], [-3, 0], [1, 1]], np.int8)}, str(tmp_path / "table.safetensors"))
    (tmp_path / "vocab.txt").write_text("up\nright\ndown\n##s\n")
    return StaticTable(tmp_path)


def test_a_text_is_the_mean_of_its_pieces_at_length_one(small):
    found = small(["up right", "Up up right", "ups unknown"], 2)

    # (3, 4) / 5; (6, 4) / sqrt(52); up + ##s = (4, 1) / sqrt(17), the unknown word does not count
    np.testing.assert_allclose(found, [[0.6, 0.8], np.array([6, 4]) / 52**0.5, np.array([4, 1]) / 17**0.5], rtol=1e-6)


def test_a_text_without_a_known_piece_or_whose_pieces_cancel_has_no_vector(small):
    assert np.isnan(small(["", "unknown", "up down"], 2)).all()


def test_vectors_do_not_depend_on_what_is_embedded_beside():
    texts = [f"the {word} cat number {i} sat on the mat." for i, word in enumerate(["quick", "lazy", "émigré", "naïve"] * 3)]
    table = StaticTable()

    whole = table(texts, 64)

    np.testing.assert_array_equal(whole, np.concatenate([table([text], 64) for text in texts]))
    assert whole.shape == (12, 64)


def test_a_paraphrase_is_nearer_than_another_subject():
    plane, flight, soup = StaticTable()(["book me a flight to Paris", "reserve a plane ticket to France", "a recipe for tomato soup"], 128)

    assert plane @ flight > 0.3 > plane @ soup
