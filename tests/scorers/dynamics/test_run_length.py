"""The rules for what follows from a run's length at their edges."""

import pytest

from curate.errors import OptionError
from curate.scorers.dynamics.run_length import check_reach, early_epoch, window_length


@pytest.mark.parametrize("epochs", range(1, 100))
def test_defaults_never_lie_beyond_the_run(epochs: int):
    assert 1 <= early_epoch(epochs) <= epochs
    assert window_length(epochs) <= max(epochs, 3)


def test_the_refusal_leaves_out_a_change_of_option_that_would_not_help():
    with pytest.raises(OptionError, match=r"use --epochs 3\.$"):
        check_reach("tdds", "window 3", 3, 2)
