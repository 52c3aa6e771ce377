"""How options that a paper fixes for long runs follow a shorter run's length, in one place."""

from curate.errors import OptionError


def early_epoch(epochs: int) -> int:
    """min(20, E, max(3, E // 3)): the data-diet working point, moved forward in a short run."""
    return min(20, epochs, max(3, epochs // 3))


def window_for(name: str, window: int | None, epochs: int) -> int:
    """The window asked for, else J = min(10, max(3, E // 2)); OptionError where the run is too short for it."""
    chosen = min(10, max(3, epochs // 2)) if window is None else window
    if chosen > epochs:
        raise OptionError(f"{name}: a window of {chosen} needs {chosen} epochs, the run has {epochs}. Use --epochs {chosen} or more, or a smaller {name}:window=.")
    return chosen


def require_window(name: str, window: int | None) -> None:
    """A deviation needs two values."""
    if window is not None and window < 2:
        raise OptionError(f"{name}: window must be 2 or more, got {window}.")


def span_for(name: str, span: int | None, default: int, epochs: int) -> int:
    """The first epochs that a score reads: as asked for, else the default; OptionError where the run is shorter."""
    if span is not None and span > epochs:
        raise OptionError(f"{name}: T={span} needs {span} epochs, the run has {epochs}. Use --epochs {span} or more, or a smaller {name}:T=.")
    return min(default, epochs) if span is None else span
