"""Events whose pod nobody knew when they came: they are on disk without a name, and wait here to be judged under it.

Kept in memory only: after a restart those that waited stay in the archive, where their names are completed, and are not judged.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from peerwatch.columns import NANOSECONDS, EventColumns

from collector.cluster.naming import unnamed

__all__ = ["Late"]

LATE_MAX = 50_000
"""Rows that wait at a time, some 25 MB; beyond, the oldest go unjudged."""

LATE_FOR_NS = 3600 * NANOSECONDS
"""How long a row waits: as long as an API server may be away."""


@dataclass(slots=True)
class _Waiting:
    table: EventColumns
    until: int


class Late:
    """What waits. `expired` counts events that waited in vain."""

    def __init__(self, *, rows_max: int = LATE_MAX, for_ns: int = LATE_FOR_NS) -> None:
        self.expired = 0
        self._rows_max = rows_max
        self._for_ns = for_ns
        self._rows = 0
        self._waiting: deque[_Waiting] = deque()

    def __len__(self) -> int:
        """Return how many rows wait."""
        return self._rows

    def put(self, table: EventColumns, now: int) -> None:
        """Keep those events of a table that have no name."""
        rest = _rows(table, [unnamed(subject) for subject in table.subjects])
        if rest is None:
            return
        self._waiting.append(_Waiting(rest, now + self._for_ns))
        self._rows += len(rest)
        while self._rows > self._rows_max:
            self._drop(self._waiting.popleft())

    def take(self, named: Callable[[EventColumns], EventColumns], now: int) -> list[EventColumns]:
        """Return what `named` gives names to by now, the oldest first; forget what has waited too long."""
        ready = []
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            table = named(each.table)
            missing = [unnamed(subject) for subject in table.subjects]
            found = _rows(table, [not one for one in missing])
            if found is not None:
                ready.append(found)
                self._rows -= len(found)
                rest = _rows(table, missing)
                if rest is None:
                    continue
                each.table = rest
            if each.until <= now:
                self._drop(each)
            else:
                self._waiting.append(each)
        return ready

    def _drop(self, waiting: _Waiting) -> None:
        self._rows -= len(waiting.table)
        self.expired += int(waiting.table.counts().sum())


def _rows(table: EventColumns, wanted: list[bool]) -> EventColumns | None:
    """Return the events of these subjects, without what only the others refer to; None if there are none."""
    rows = np.flatnonzero(np.array(wanted, bool)[table.subject]) if any(wanted) else np.zeros(0, np.int64)
    return table.take(rows).compact() if len(rows) else None
