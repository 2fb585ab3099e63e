"""What can go wrong in a way that a person can act on.

    PeerwatchError
    ├── InputError        the call or its input is wrong: exit code 2
    ├── UnavailableError  the environment cannot do it: exit code 3
    └── StorageError      the data directory cannot be written now; what was not stored is not acknowledged

Each text says what, where and what to do next, in one line.
"""

from typing import ClassVar

__all__ = ["InputError", "PeerwatchError", "StorageError", "UnavailableError"]


class PeerwatchError(Exception):
    """The root; `exit_code` is what a command ends with."""

    exit_code: ClassVar[int] = 3


class InputError(PeerwatchError):
    """The call or its input is wrong."""

    exit_code: ClassVar[int] = 2


class UnavailableError(PeerwatchError):
    """The environment cannot do it: a port in use, a collector that does not answer, a directory without rights."""


class StorageError(PeerwatchError):
    """The journal or the state could not be written. Try again later: nothing of the failed write was kept."""
