"""Which checkpoints a gradient scorer visits where the user names none."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from curate.errors import OptionError
from curate.scorers.dynamics.run_length import check_reach, early_epoch

GRID: Final = 10  # checkpoints of a run that scorers choose from, unless one wants more


def check_epochs(method: str, epochs: tuple[int, ...] | None, *, least: int = 1) -> tuple[int, ...] | None:
    """The epochs in ascending order; OptionError if they are not distinct numbers from 1 on, or fewer than `least`."""
    if epochs is None:
        return None
    if not epochs or min(epochs) < 1 or len(set(epochs)) < len(epochs):
        raise OptionError(f"{method}: epochs must be distinct numbers from 1 on, got {epochs}. Write epochs=3 or epochs=3+5.")
    if len(epochs) < least:
        enough = "+".join(map(str, range(1, least + 1)))
        raise OptionError(f"{method} needs {least} checkpoints or more, epochs names {len(epochs)}. Write epochs={enough}.")
    return tuple(sorted(epochs))


def evenly_spaced(first: int, last: int, count: int) -> tuple[int, ...]:
    """`count` epochs of first … last, or all of them where they are fewer.

    >>> evenly_spaced(1, 8, 10), evenly_spaced(1, 200, 5), evenly_spaced(5, 8, 2)
    ((1, 2, 3, 4, 5, 6, 7, 8), (1, 51, 100, 150, 200), (5, 8))
    """
    return tuple(int(epoch) for epoch in np.unique(np.round(np.linspace(first, last, min(count, last - first + 1)))))


def along_the_run(epochs: int, count: int) -> tuple[int, ...]:
    """`count` epochs, all but evenly spaced, the early one of `grand` among them, so that scorers meet at the same checkpoints.

    All choose from one grid of ten, however many they want: what one visits, a sweep for several need not visit again.

    >>> along_the_run(30, 10), along_the_run(30, 5), along_the_run(30, 1)
    ((1, 4, 7, 10, 14, 17, 20, 24, 27, 30), (1, 10, 14, 24, 30), (10,))
    """
    early = early_epoch(epochs)
    grid = _with(early, evenly_spaced(1, epochs, max(GRID, count)))
    places = evenly_spaced(0, len(grid) - 1, count)
    return tuple(grid[place] for place in _with(grid.index(early), places))


def _with(wanted: int, spaced: Sequence[int]) -> tuple[int, ...]:
    """With the nearest replaced by the wanted one, which is not the first or last where there are others."""
    if wanted in spaced:
        return tuple(spaced)
    inner = spaced[1:-1] or spaced
    nearest = min(inner, key=lambda one: abs(one - wanted))
    return tuple(sorted(wanted if one == nearest else one for one in spaced))


def early_checkpoint(method: str, chosen: tuple[int, ...] | None, epochs: int) -> tuple[int, ...]:
    """The epochs named, or the early one of EL2N; OptionError where one lies beyond the run."""
    found = chosen or (early_epoch(epochs),)
    check_reach(method, f"epoch {max(found)}", max(found), epochs, instead=f"epochs={epochs}")
    return found
