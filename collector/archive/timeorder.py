"""Time order from what is nearly in order: one recording with late lines, or several archive files side by side."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from peerwatch.columns import Accepts, Connects, EventColumns, EventKind, Listens

__all__ = ["SLACK_NS", "Lateness", "Source", "in_order", "merge", "ties_in_order"]

SLACK_NS = 5_000_000_000
"""How late a line of a recording may be, nanoseconds (the contract of the event lines)."""


Rows = npt.NDArray[np.intp]

_Value = TypeVar("_Value", str, tuple[str, ...])  # Python 3.11 has no type parameter lists


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
    order = np.arange(len(table))
    order[rows] = rows[_order_of_ties(table, rows)]
    return table.take(order)


def _order_of_ties(table: EventColumns, rows: Rows) -> Rows:
    """Return the order of rows by time, replica, process, kind, program and destination; a replica's losses come first."""
    names = [(each.cluster, each.node, each.pod.uid or each.pod.name, each.container.name) for each in table.subjects]
    kind, process = table.kind[rows], table.process[rows]
    pid, start, exe, port = np.zeros((4, len(rows)), np.int64)
    address = np.zeros((len(rows), 2), np.uint64)
    pid[:] = -1
    with_process = kind != EventKind.LOSS
    which = process[with_process]
    pid[with_process], start[with_process] = table.processes.pid[which], table.processes.start_time[which]
    exe[with_process] = _ranks(table.strings, table.processes.exe[which])
    places = table.places()[rows]
    sockets: dict[EventKind, Connects | Listens | Accepts] = {
        EventKind.CONNECT: table.connects,
        EventKind.LISTEN: table.listens,
        EventKind.ACCEPT: table.accepts,
    }
    for number, columns in sockets.items():
        own = kind == number
        port[own] = columns.port[places[own]]
        address[own] = np.ascontiguousarray(columns.address[places[own]]).view(">u8")
    return np.lexsort(
        (port, address[:, 1], address[:, 0], exe, kind, start, pid, _ranks(names, table.subject[rows]), table.time[rows])
    )


def _ranks(values: Sequence[_Value], used: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Return for each number which one in order its value is, among the distinct ones."""
    some = np.unique(used)
    rank_of = {value: rank for rank, value in enumerate(sorted({values[each] for each in some.tolist()}))}
    ranks = np.zeros(len(values), np.int64)
    ranks[some] = [rank_of[values[each]] for each in some.tolist()]
    return ranks[used]


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
