"""curriculum: easy rows first, harder ones joining from epoch to epoch."""

import numpy as np
import pytest

from curate.errors import InputError
from curate.samplers import Curriculum

SCORES = np.arange(100.0)[::-1]  # row 99 is the easiest


@pytest.mark.parametrize(
    ("pace", "sizes"),
    [
        # start .2; after e of 8 epochs (full_at .8 of 10): .2 + .8 · pace(e/8)
        ("linear", [20, 30, 40, 50, 60, 70, 80, 90, 100, 100]),
        ("quadratic", [20, 21, 25, 31, 40, 51, 65, 81, 100, 100]),
        ("root", [20, 48, 60, 69, 77, 83, 89, 95, 100, 100]),
        ("step", [20, 20, 20, 20, 20, 20, 20, 20, 100, 100]),
    ],
)
def test_the_set_grows_at_its_pace(pace, sizes):
    sampler = Curriculum(SCORES, 10, pace=pace)

    assert [len(list(sampler)) for _ in range(10)] == sizes


def test_the_easiest_come_first():
    assert set(Curriculum(SCORES, 10)) == set(range(80, 100))


def test_the_hardest_come_first_where_asked():
    assert set(Curriculum(SCORES, 10, order="hard_first")) == set(range(20))


def test_a_row_without_a_score_counts_as_the_hardest():
    scores = SCORES.copy()
    scores[99] = np.nan

    assert 99 not in set(Curriculum(scores, 10))
    assert 99 in set(Curriculum(scores, 10, order="hard_first"))


def test_no_score_at_all_is_refused():
    with pytest.raises(InputError, match="no row has a score"):
        Curriculum(np.full(3, np.nan), 3)
