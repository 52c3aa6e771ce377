"""Defaults that follow from how many epochs a run has, and the refusal of what it is too short for.

Papers choose for 60 to 200 epochs (EL2N epoch 20, windows of 10, DUAL's first 30); these rules give their numbers in a long
run and a workable fraction of them in a short one.
"""

from curate.errors import OptionError


def early_epoch(epochs: int) -> int:
    """The epoch after which EL2N is read: 20, or a third of a shorter run, but not before the third.

    >>> [early_epoch(epochs) for epochs in (1, 5, 8, 30, 60, 200)]
    [1, 3, 3, 10, 20, 20]
    """
    return min(20, epochs, max(3, epochs // 3))


def window_length(epochs: int) -> int:
    """The length of a sliding window: 10, or half of a shorter run, but not below 3.

    >>> [window_length(epochs) for epochs in (2, 5, 8, 30)]
    [3, 3, 4, 10]
    """
    return min(10, max(3, epochs // 2))


def check_at_least(method: str, option: str, value: int | None, least: int) -> None:
    """OptionError if an option was given and is below what the method is defined for."""
    if value is not None and value < least:
        raise OptionError(f"{method}: {option} must be {least} or more, got {value}.")


def check_reach(method: str, what: str, needed: int, epochs: int, *, instead: str = "") -> None:
    """OptionError if the run is shorter than the `needed` epochs; `instead` is a change of option that mends it too."""
    if needed > epochs:
        other = f" or {instead}" if instead else ""
        raise OptionError(f"{method}: {what} needs {needed} epochs, the run has {epochs}; use --epochs {needed}{other}.")


def check_window(method: str, window: int, first: int, epochs: int, *, least: int) -> None:
    """OptionError if not one window fits into the `first` epochs of a run, which are all of them or fewer by choice."""
    instead = f"window={first}" if first >= least else ""
    if first == epochs:
        check_reach(method, f"window {window}", window, epochs, instead=instead)
    elif window > first:
        raise OptionError(f"{method}: window {window} needs as many epochs, but epochs={first}; use epochs={window} or {instead}.")
