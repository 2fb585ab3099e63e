"""Time order from what is nearly in order: one recording with late lines, or several archive files side by side."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from peerwatch.columns import Accepts, Connects, EventColumns, EventKind, Listens

__all__ = ["SLACK_NS", "Lateness", "Source", "in_order", "merge", "ties_in_order"]

SLACK_NS = 5_000_000_000
"""How late a line of a recording may be, nanoseconds (the contract of the event lines)."""


@dataclass(slots=True)
class Lateness:
    """Counts the events that come more than `SLACK_NS` after a younger one, whatever the cut into tables."""

    late: int = 0
    newest: int = -(2**63) + SLACK_NS
    """The youngest time so far."""

    def add(self, table: EventColumns) -> None:
        """Count those of the next table of a recording."""
        if len(table):
            newest = np.maximum(np.maximum.accumulate(table.time), self.newest)
            self.late += int(np.count_nonzero(table.time < newest - SLACK_NS))
            self.newest = int(newest[-1])

    def count(self, tables: Iterable[EventColumns]) -> Iterator[EventColumns]:
        """Yield the tables, counting."""
        for table in tables:
            self.add(table)
            yield table


def ties_in_order(table: EventColumns) -> EventColumns:
    """Return a sorted table in which events of the same time stand in an order that is their own.

    Not that of the lines: recordings are split, merged and shuffled, and what is concluded from them must not change. Within a
    replica processes come in the order of their ids, parents mostly before their children.
    """
    same = table.time[1:] == table.time[:-1]
    if not bool(np.any(same)):
        return table
    rows = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
    names = [(each.cluster, each.node, each.pod.uid or each.pod.name, each.container.name) for each in table.subjects]
    processes, places = table.processes, table.places()
    sockets: dict[EventKind, Connects | Listens | Accepts] = {
        EventKind.CONNECT: table.connects,
        EventKind.LISTEN: table.listens,
        EventKind.ACCEPT: table.accepts,
    }

    def key(row: int) -> tuple[object, ...]:
        kind, who, process = EventKind(table.kind[row]), names[table.subject[row]], int(table.process[row])
        if kind is EventKind.LOSS:
            return int(table.time[row]), who, -1
        target: tuple[object, ...] = ()
        if kind in sockets:
            place, columns = places[row], sockets[kind]
            target = columns.address[place].tobytes(), int(columns.port[place])
        what = int(processes.start_time[process]), kind, table.strings[processes.exe[process]], *target
        return int(table.time[row]), who, int(processes.pid[process]), *what

    order = np.arange(len(table))
    order[rows] = sorted(rows.tolist(), key=key)
    return table.take(order)


def in_order(tables: Iterable[EventColumns], slack: int = SLACK_NS) -> Iterator[EventColumns]:
    """Yield the events of one recording in time order; what is later than `slack` comes as early as it still can."""
    held: EventColumns | None = None
    newest = 0
    for table in tables:
        if not len(table):
            continue
        held = (table if held is None else EventColumns.concatenate([held, table])).sorted_by_time()
        newest = max(newest, int(held.time[-1]))
        ready = int(np.searchsorted(held.time, newest - slack, "left"))
        if ready:
            yield held.take(np.arange(ready))
            held = held.take(np.arange(ready, len(held)))
    if held is not None and len(held):
        yield held


@dataclass(frozen=True, slots=True)
class Source:
    """Tables in time order, none of their events before `begin`; opened when the merge comes to that time."""

    begin: int
    open: Callable[[], Iterator[EventColumns]]


def merge(sources: Sequence[Source]) -> Iterator[EventColumns]:
    """Yield all events in time order. Held in memory: one table of each source that overlaps the present time."""
    waiting = sorted(sources, key=lambda source: source.begin, reverse=True)
    heads: list[tuple[EventColumns, Iterator[EventColumns]]] = []
    while waiting or heads:
        # What all open sources have shown up to here can go out; a source that begins before must be opened first.
        mark = min((int(table.time[-1]) for table, _ in heads), default=None)
        if mark is None or (waiting and waiting[-1].begin <= mark):
            _pull(heads, waiting.pop().open())
            continue
        ready: list[EventColumns] = []
        rest: list[tuple[EventColumns, Iterator[EventColumns]]] = []
        for table, following in heads:
            split = int(np.searchsorted(table.time, mark, "right"))
            if split:
                ready.append(table if split == len(table) else table.take(np.arange(split)))
            if split == len(table):
                _pull(rest, following)
            else:
                rest.append((table.take(np.arange(split, len(table))) if split else table, following))
        heads = rest
        if ready:
            yield EventColumns.concatenate(ready).sorted_by_time()


def _pull(heads: list[tuple[EventColumns, Iterator[EventColumns]]], tables: Iterator[EventColumns]) -> None:
    for table in tables:
        if len(table):
            heads.append((table, tables))
            return
