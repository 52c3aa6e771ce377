"""Which checkpoints a gradient scorer visits where the user names none."""

import numpy as np

from curate.errors import OptionError
from curate.scorers.dynamics.run_length import check_reach, early_epoch


def check_epochs(method: str, epochs: tuple[int, ...] | None, *, least: int = 1) -> tuple[int, ...] | None:
    """The epochs in ascending order; OptionError if they are not distinct numbers from 1 on, or fewer than `least`."""
    if epochs is None:
        return None
    if not epochs or min(epochs) < 1 or len(set(epochs)) < len(epochs):
        raise OptionError(f"{method}: epochs must be distinct numbers from 1 on, got {epochs}. Write epochs=3 or epochs=3+5.")
    if len(epochs) < least:
        raise OptionError(
            f"{method} needs {least} checkpoints or more, epochs names {len(epochs)}. "
            f"Write epochs={'+'.join(map(str, range(1, least + 1)))}."
        )
    return tuple(sorted(epochs))


def evenly_spaced(first: int, last: int, count: int) -> tuple[int, ...]:
    """`count` epochs of first … last, or all of them where they are fewer.

    >>> evenly_spaced(1, 8, 10), evenly_spaced(1, 200, 5), evenly_spaced(5, 8, 2)
    ((1, 2, 3, 4, 5, 6, 7, 8), (1, 51, 100, 150, 200), (5, 8))
    """
    return tuple(int(epoch) for epoch in np.unique(np.round(np.linspace(first, last, min(count, last - first + 1)))))


def early_checkpoint(method: str, chosen: tuple[int, ...] | None, epochs: int) -> tuple[int, ...]:
    """The epochs named, or the early one of EL2N; OptionError where one lies beyond the run."""
    found = chosen or (early_epoch(epochs),)
    check_reach(method, f"epoch {max(found)}", max(found), epochs, instead=f"epochs={epochs}")
    return found
