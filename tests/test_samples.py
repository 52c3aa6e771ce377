import re
from importlib import resources

import numpy as np
import pytest

from curate import samples
from curate.errors import UnknownNameError
from curate.loading import load
from curate.rng import KeyedRandom

EVERY = pytest.mark.parametrize("name", samples.NAMES)


@pytest.mark.parametrize(
    "name, modality, label, n_train, n_test, n_classes",
    [("digits", "image", "label", 1442, 355, 10), ("fashion", "image", "label", 5000, 1000, 10), ("snips", "text", "intent", 5000, 700, 7)],
)
def test_a_sample_loads_with_its_roles_and_its_test_split(name, modality, label, n_train, n_test, n_classes):
    data = load(f"sample:{name}")

    assert data.test is not None
    assert (data.modality, data.label, len(data), len(data.test), len(data.label_names)) == (modality, label, n_train, n_test, n_classes)


@EVERY
def test_no_row_of_the_test_split_is_a_training_row_drawn_twice(name):
    data = load(f"sample:{name}")

    assert data.test is not None
    assert len(np.intersect1d(data.row_hashes, data.test.row_hashes)) < len(data.test) // 100


@EVERY
def test_a_sample_says_its_source_and_licence(name):
    text = resources.files("curate").joinpath("bundled", name, "README.md").read_text("utf-8")

    assert all(f"**{part}" in text for part in ("Source.", "Licence.", "Rows."))
    assert not re.search(r"/(home|root|work|tmp)/", text)


def test_digits_are_those_of_scikit_learn_at_full_range_and_the_smallest_draws_of_each_class_test():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = (bunch.images.astype(np.int64) * 255 // 16).astype(np.uint8)
    draws = KeyedRandom(0, "sample", "digits").uniform(np.arange(len(pixels)))
    test = np.sort(np.concatenate([sorted(rows, key=lambda row: draws[row])[: len(rows) // 5] for rows in _by_class(bunch.target)]))

    data = load("sample:digits")

    for split, rows in ((data, np.setdiff1d(np.arange(len(pixels)), test)), (data.test, test)):
        np.testing.assert_array_equal(split.labels, bunch.target[rows])
        np.testing.assert_array_equal(np.stack([np.asarray(image) for image in split.images(0, len(split))]), pixels[rows])


def _by_class(labels):
    return [np.flatnonzero(labels == one) for one in range(10)]


def test_fashion_has_the_same_number_of_rows_in_every_class():
    data = load("sample:fashion")

    assert data.test is not None
    assert set(np.bincount(data.labels)) == {500} and set(np.bincount(data.test.labels)) == {100}
    assert {image.size for image in data.images(0, 50) if image} == {(28, 28)}


def test_an_unknown_sample_is_an_error_with_a_hint():
    with pytest.raises(UnknownNameError, match=r'"fasion".*Did you mean "fashion".*sample:digits'):
        load("sample:fasion")
