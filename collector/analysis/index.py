"""Numbers by 64-bit keys, in sorted arrays: a dictionary of as many takes six times the memory and a Python call for each."""

import numpy as np
import numpy.typing as npt

__all__ = ["Index"]

I64 = npt.NDArray[np.int64]

SHARE = 32
"""What is new is merged when it is this part of all: a key is moved so often on average, and few are asked for one by one."""


MOST_NEW = 4096
"""And not before there is so much of it: a merge takes as long as some hundred keys."""


class Index:
    """A number for each key. What is new waits in a dictionary until there is enough of it to be merged."""

    def __init__(self, keys: I64 | None = None, numbers: I64 | None = None) -> None:
        self._keys: I64 = np.zeros(0, np.int64)
        self._numbers: I64 = np.zeros(0, np.int64)
        self._new: dict[int, int] = {}
        if keys is not None and numbers is not None:
            self._put(keys, numbers)

    def __len__(self) -> int:
        """Return how many keys there are, at most: what was given another number may count twice."""
        return len(self._keys) + len(self._new)

    def add(self, key: int, number: int) -> None:
        """Give a key a number."""
        self._new[key] = number
        if len(self._new) > max(MOST_NEW, len(self._keys) // SHARE):
            self._merge()

    def get(self, key: int) -> int:
        """Return the number of a key, -1 if it has none."""
        number = self._new.get(key)
        if number is not None:
            return number
        at = int(self._keys.searchsorted(key))
        return self._numbers.item(at) if at < len(self._keys) and self._keys.item(at) == key else -1

    def find(self, keys: I64) -> I64:
        """Return the number of each key, -1 for those that have none."""
        if max(len(self._new), len(keys)) > len(self._keys) // SHARE:  # as much work as to ask for each of these
            self._merge()
        found = self._look_up(keys)
        if self._new:
            new = np.array([self._new.get(key, -1) for key in keys.tolist()], np.int64)
            found = np.where(new < 0, found, new)
        return found

    def keep(self, which: npt.NDArray[np.bool_]) -> None:
        """Forget the keys whose numbers are not wanted; `which` is about `numbers()`."""
        self._keys, self._numbers = self._keys[which], self._numbers[which]

    def numbers(self) -> I64:
        """Return all numbers."""
        self._merge()
        return self._numbers

    def _look_up(self, keys: I64) -> I64:
        if not len(self._keys):
            return np.full(len(keys), -1, np.int64)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[at] == keys, self._numbers[at], -1)

    def _merge(self) -> None:
        if self._new:
            size = len(self._new)
            self._put(np.fromiter(self._new, np.int64, size), np.fromiter(self._new.values(), np.int64, size))
            self._new = {}

    def _put(self, keys: I64, numbers: I64) -> None:
        keys, numbers = np.concatenate([self._keys, keys]), np.concatenate([self._numbers, numbers])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        latest = np.append(keys[1:] != keys[:-1], True)  # of equal keys the last one given
        self._keys, self._numbers = keys[latest], numbers[order][latest]
