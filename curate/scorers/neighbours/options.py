"""What scorers of neighbours refuse before any work."""

from typing import Final

from curate.errors import OptionError

MOST: Final = 1024  # neighbours kept a row


def check_neighbours(scorer: str, k: int, option: str = "k") -> None:
    """OptionError for a number of neighbours that no graph has."""
    if not 1 <= k <= MOST:
        raise OptionError(f"{scorer}: {option} must be 1 … {MOST}, got {k}.")
