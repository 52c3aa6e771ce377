"""Every mistake that a user can make and mend, in one tree; anything else that is raised is a bug.

CurateError                     exit 1
├── UsageError                  exit 2   the command or call itself is wrong
│   ├── OptionError                      an option's value cannot be honoured
│   └── UnknownNameError                 no scorer, sampler, option or column of that name
├── InputError                  exit 3   the data or a store that was read is wrong
│   ├── ColumnError                      a column is missing or of the wrong type
│   ├── OtherDatasetError                a store was made from another dataset
│   └── DamagedStoreError                a shard or manifest does not read back
├── MissingExtraError           exit 4   an optional package is not installed
├── TooManyFailuresError        exit 5   more rows failed than --max-failures allows
├── OtherJobError               exit 6   the out folder holds another job, or another process is at work in it
└── DoesNotFitError             exit 7   not enough disk or memory
"""

from collections.abc import Iterable
from difflib import get_close_matches


class CurateError(Exception):
    """Something that the user can mend; its text says what was found, what was expected and what mends it."""

    exit_code = 1


class UsageError(CurateError):
    """The command or call itself is wrong."""

    exit_code = 2


class OptionError(UsageError):
    """An option has a value that cannot be honoured."""


class UnknownNameError(UsageError):
    """Nothing of that name exists."""


class InputError(CurateError):
    """What was read (data, a store, a file of scores) is wrong."""

    exit_code = 3


class ColumnError(InputError):
    """A column is missing, or holds something that cannot be used."""


class OtherDatasetError(InputError):
    """A store was made from another dataset than the one at hand."""


class DamagedStoreError(InputError):
    """A shard or a manifest does not read back as it was written."""


class MissingExtraError(CurateError):
    """An optional package is needed and not installed; the text holds the `pip install` that mends it."""

    exit_code = 4


class TooManyFailuresError(CurateError):
    """More rows could not be scored than `max_failures` tolerates."""

    exit_code = 5


class OtherJobError(CurateError):
    """The out folder holds another job, or another process is writing in it."""

    exit_code = 6


class DoesNotFitError(CurateError):
    """Not enough disk or memory for what was asked."""

    exit_code = 7


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean "el2n"?` with its leading blank, or nothing where no known name is close."""
    close = get_close_matches(name, list(known), n=1)
    return f' Did you mean "{close[0]}"?' if close else ""
