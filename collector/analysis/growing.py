"""Named columns that grow together: the form of everything that is kept one row per thing and read as arrays."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

__all__ = ["Columns", "Numbers"]

I64 = npt.NDArray[np.int64]


class Columns:
    """Columns of one length, each an attribute with some room at its end.

    Rows that were dropped are used again, where rows are dropped one by one; else `keep` forgets many and numbers anew.
    """

    def __init__(self, types: Mapping[str, type[np.generic]], room: int = 64) -> None:
        self._names = tuple(types)
        self._room = room
        self._free: list[int] = []
        self.size = 0
        """Rows that are or were in use."""
        # Attributes of their own and no lookup in between: columns are read more often than anything else.
        self.__dict__.update({name: np.zeros(room, dtype) for name, dtype in types.items()})

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> npt.NDArray[Any]:
            """Return a column."""

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self.size - len(self._free)

    def add(self, **values: float) -> int:
        """Add a row and return its number; what is not given is 0."""
        if self._free:
            number = self._free.pop()
            for name in self._names:
                self.__dict__[name][number] = 0
        else:
            number = self.size
            self.size += 1
            if number == self._room:
                self._room *= 2
                for name in self._names:
                    column = self.__dict__[name]
                    self.__dict__[name] = np.concatenate([column, np.zeros_like(column)])
        for name, value in values.items():
            self.__dict__[name][number] = value
        return number

    def drop(self, number: int) -> None:
        """Let a row's place be another's."""
        self._free.append(number)

    def keep(self, which: npt.NDArray[np.bool_]) -> I64:
        """Forget all other rows; return the new number of each row, -1 for those forgotten."""
        rows = np.flatnonzero(which[: self.size])
        number = np.full(self.size, -1, np.int64)
        number[rows] = np.arange(len(rows))
        room = np.zeros(64, np.int64)
        for name in self._names:
            column = self.__dict__[name]
            self.__dict__[name] = np.concatenate([column[rows], room.astype(column.dtype)])
        self.size, self._room = len(rows), len(rows) + len(room)
        return number


class Numbers:
    """A list of numbers that is read as an array."""

    def __init__(self, numbers: npt.ArrayLike = ()) -> None:
        self._numbers: I64 = np.array(numbers, np.int64)
        self._size = len(self._numbers)

    def append(self, number: int) -> None:
        """Add a number at the end."""
        if self._size == len(self._numbers):
            self._numbers = np.concatenate([self._numbers, np.zeros(max(8, self._size // 2), np.int64)])
        self._numbers[self._size] = number
        self._size += 1

    def array(self) -> I64:
        """Return all; what is added later is not in it."""
        return self._numbers[: self._size]
