"""Events whose names were not known when they came: they are on disk as they are, and wait here to be judged under their names.

What waits, and what was found, is written to the state together with what was concluded from it: across a restart, too, each
event is judged once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from peerwatch import wire
from peerwatch.columns import NANOSECONDS, ColumnsBuilder, EventColumns
from peerwatch.subjects import Subject
from peerwatch.v1 import ingest_pb2

from collector.cluster import naming
from collector.state.late import Key, LateName, Waiting

__all__ = ["Late", "key_of", "subject_from_bytes"]

LATE_MAX = 50_000
"""Rows that wait at a time, some 25 MB; beyond, the oldest go unjudged."""

LATE_FOR_NS = 4200 * NANOSECONDS
"""How long a row waits: an hour, as long as an API server may be away, and what it then takes to hear of everything."""

NAMES_MAX = 50_000
"""Names that wait to be written: more than one write finds only if writing fails for long."""

AT_ONCE = 512
"""Rows that are kept as one table: a table of one row has forty columns, and each column an overhead."""


@dataclass(slots=True)
class _Chunk:
    table: EventColumns
    until: int


class Late:
    """What waits. `expired` counts events that waited in vain."""

    def __init__(self, *, rows_max: int = LATE_MAX, for_ns: int = LATE_FOR_NS) -> None:
        self.expired = 0
        self._rows_max = rows_max
        self._at_once = min(AT_ONCE, rows_max // 20)  # what is dropped is dropped as a table
        self._for_ns = for_ns
        self._rows = 0
        self._next = 1
        self._chunks: dict[int, _Chunk] = {}
        # What the state does not know yet.
        self._changed: set[int] = set()
        self._gone: set[int] = set()
        self._names: dict[Key, LateName] = {}

    def __len__(self) -> int:
        """Return how many rows wait."""
        return self._rows

    def restore(self, waiting: Iterable[Waiting]) -> None:
        """Take back what an earlier run left."""
        for each in waiting:
            table = wire.decode(ingest_pb2.EventColumns.FromString(each.events))
            self._chunks[each.number] = _Chunk(table, each.until)
            self._rows += len(table)
            self._next = max(self._next, each.number + 1)

    def put(self, table: EventColumns, now: int) -> None:
        """Keep those events of a table whose names are not complete."""
        rest = _rows(table, ~naming.complete(table))
        if rest is None:
            return
        until = now + self._for_ns
        last = self._chunks.get(self._next - 1)
        if last is not None and len(last.table) + len(rest) <= self._at_once:
            last.table, last.until = EventColumns.concatenate([last.table, rest]), max(last.until, until)
        else:
            self._chunks[self._next] = _Chunk(rest, until)
            self._next += 1
        self._changed.add(self._next - 1)
        self._rows += len(rest)
        while self._rows > self._rows_max:
            self._drop(next(iter(self._chunks)))

    def take(self, named: Callable[[EventColumns], EventColumns], now: int) -> list[EventColumns]:
        """Return the events whose names `named` completes, the oldest first; forget what has waited too long."""
        ready = []
        for number, chunk in list(self._chunks.items()):
            table = named(chunk.table)
            if table is not chunk.table:
                self._remember(chunk.table, table, now)
                complete = naming.complete(table)
                found, rest = _rows(table, complete), _rows(table, ~complete)
                if found is not None:
                    ready.append(found)
                    self._rows -= len(found)
                if rest is None:
                    self._remove(number)
                    continue
                chunk.table = rest
                self._changed.add(number)
            if chunk.until <= now:
                self._drop(number)
        return ready

    def changes(self) -> tuple[list[Waiting], list[int], list[LateName]]:
        """Return what the state does not know yet: what waits, which numbers wait no longer, and names that were found."""
        waiting = [
            Waiting(number, chunk.until, wire.encode(chunk.table).SerializeToString())
            for number, chunk in ((each, self._chunks[each]) for each in sorted(self._changed))
        ]
        return waiting, sorted(self._gone), list(self._names.values())

    def written(self) -> None:
        """Take note that the state knows all of it."""
        for each in (self._changed, self._gone, self._names):
            each.clear()

    def _remember(self, before: EventColumns, after: EventColumns, now: int) -> None:
        for was, subject in zip(before.subjects, after.subjects, strict=True):
            if was != subject and len(self._names) < NAMES_MAX:
                self._names[key_of(was)] = LateName(key_of(was), now, _bytes(subject))

    def _drop(self, number: int) -> None:
        table = self._chunks[number].table
        self._rows -= len(table)
        self.expired += int(table.counts().sum())
        self._remove(number)

    def _remove(self, number: int) -> None:
        del self._chunks[number]
        self._changed.discard(number)
        self._gone.add(number)


def key_of(subject: Subject) -> Key:
    """Return what the kernel alone says of a container, by which a late name is found again."""
    return subject.cluster, subject.node, subject.pod.uid, subject.container.id


def subject_from_bytes(data: bytes) -> Subject:
    """Return the subject of a late name."""
    return wire.decode(ingest_pb2.EventColumns.FromString(data)).subjects[0]


def _bytes(subject: Subject) -> bytes:
    builder = ColumnsBuilder()
    builder.subject(subject)
    return wire.encode(builder.build()).SerializeToString()


def _rows(table: EventColumns, wanted: npt.NDArray[np.bool_]) -> EventColumns | None:
    """Return these events, without what only the others refer to; None if there are none."""
    rows = np.flatnonzero(wanted)
    return table.take(rows).compact() if len(rows) else None
