"""From events to observations: which behaviour each event of a table shows.

Work is per distinct combination of what a key is made of; per event there are only array operations. Text forms are in
`behaviour_keys`. Success and failure of a connect are the same behaviour: an attempt says as much about the program.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from peerwatch.columns import NANOSECONDS, EventColumns, EventKind, ProcessFlag

from collector.analysis import behaviour_keys
from collector.records import BehaviourType

__all__ = ["Behaviour", "Observations", "observe"]

I64 = npt.NDArray[np.int64]

FIRST_PROCESS = 60 * NANOSECONDS
"""An exec without ancestors this long after its container's start is not the container's first process (which may replace
itself while it starts): its recorder gives no ancestors, so the parent's file is taken at its word."""

_KEY_FLAGS = np.uint32(
    1 << ProcessFlag.UPPER_LAYER
    | 1 << ProcessFlag.MEMFD
    | 1 << ProcessFlag.STDIO_SOCKET
    | 1 << ProcessFlag.TTY
    | 1 << ProcessFlag.INJECTED
    | 1 << ProcessFlag.HOST_NAMESPACE
)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one kind of event shows, with what is needed to judge and to explain it."""

    type: BehaviourType
    key: str
    exe: str
    """The program's name as in the key (`/bin/busybox[wget]`)."""
    parent: str
    """The parent's file, empty when it is outside of the container."""
    target: str
    """A connect's destination as in the key, else empty."""
    flags: int
    example: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Observations:
    """One entry per event that shows a behaviour, in the table's order."""

    behaviours: list[Behaviour]
    row: I64
    """Row of the table."""
    behaviour: I64
    """Index into `behaviours`."""
    count: I64
    """How often it happened: a folded event stands for several."""


def observe(events: EventColumns) -> Observations:
    """Return what each exec and connect of a table shows. Other kinds are not judged, nor is what the agent does for a test."""
    own = ~events.flagged(ProcessFlag.CANARY)
    execs, connects = (np.flatnonzero(own & (events.kind == kind)) for kind in (EventKind.EXEC, EventKind.CONNECT))
    behaviours: list[Behaviour] = []
    exec_index = _execs(events, execs, behaviours)
    connect_index = _connects(events, connects, behaviours)
    row = np.concatenate([execs, connects])
    order = np.argsort(row, kind="stable")
    behaviour = np.concatenate([exec_index, connect_index])
    return Observations(behaviours, row[order], behaviour[order], events.counts()[row[order]])


def _distinct(*columns: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], I64]:
    """Return the first row of each distinct combination and, per row, which combination it is; by order of first row."""
    length = len(columns[0])
    code = np.zeros(length, np.int64)
    for column in columns:
        _, place = np.unique(column, return_inverse=True)
        # Both factors stay below the number of rows, so that their product fits.
        _, code = np.unique(code * (int(place.max(initial=0)) + 1) + place, return_inverse=True)
    _, first, code = np.unique(code, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[code].astype(np.int64)


def _first_of(events: EventColumns, lists: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the string index of each list's first value, 0 (the empty string) for empty lists."""
    begin, end = events.lists.offsets[lists], events.lists.offsets[lists.astype(np.int64) + 1]
    if not len(events.lists.values):
        return np.zeros(len(lists), np.int64)
    return np.where(end > begin, events.lists.values[np.minimum(begin, len(events.lists.values) - 1)], 0)


class _Programs:
    """What is asked of the processes of a table, worked out once for those that its events name."""

    def __init__(self, events: EventColumns, rows: npt.NDArray[np.intp]) -> None:
        self.events = events
        self.process = events.process[rows].astype(np.int64)
        columns = events.processes
        self.exe = columns.exe[self.process].astype(np.int64)
        self.args = columns.args[self.process].astype(np.int64)
        self.flags = (columns.flags[self.process] & _KEY_FLAGS).astype(np.int64)
        ancestor = _first_of(events, columns.ancestors[self.process]).astype(np.int64)
        started = np.array([subject.container.started_at for subject in events.subjects] or [0], np.int64)
        started = started[events.subject[rows]] if len(rows) else started[:0]
        entered = (self.flags >> ProcessFlag.INJECTED & 1) == 1
        first = (columns.ancestors[self.process] == 0) & (
            entered | ((started > 0) & (events.time[rows] - started < FIRST_PROCESS))
        )
        # The nearest ancestor inside the container is the parent. A process that came from outside has none: what its parent
        # is called on the node (a runtime's shim, whose process id may meanwhile be another's) says nothing about it.
        self.parent = np.where(first, 0, np.where(ancestor > 0, ancestor, columns.parent_exe[self.process]))
        names = [text.rpartition("/")[2] for text in events.strings]
        multi_call = np.array([name in behaviour_keys.MULTI_CALL or name == "exe" for name in names], bool)
        self.argv0 = np.where(multi_call[self.exe], _first_of(events, self.args), 0)

    def name(self, row: int) -> tuple[str, str]:
        """Return program and parent of one row as text."""
        strings = self.events.strings
        parent = strings[self.parent[row]]
        name = behaviour_keys.program(strings[self.exe[row]], strings[self.argv0[row]], parent, int(self.flags[row]))
        return name, behaviour_keys.path(parent)


def _execs(events: EventColumns, rows: npt.NDArray[np.intp], behaviours: list[Behaviour]) -> I64:
    if not len(rows):
        return np.zeros(0, np.int64)
    programs = _Programs(events, rows)
    first, code = _distinct(programs.exe, programs.argv0, programs.parent, programs.flags)
    base = len(behaviours)
    for row in first.tolist():
        exe, parent = programs.name(row)
        flags = int(programs.flags[row])
        key = f"{exe} <- {parent}" if parent else exe
        if not parent and flags >> ProcessFlag.INJECTED & 1:
            key += " (injected)"
        example = tuple(events.string_list(int(programs.args[row])))
        behaviours.append(Behaviour(BehaviourType.EXEC, key, exe, parent, "", flags, example))
    return code + base


def _connects(events: EventColumns, rows: npt.NDArray[np.intp], behaviours: list[Behaviour]) -> I64:
    if not len(rows):
        return np.zeros(0, np.int64)
    programs, columns = _Programs(events, rows), events.connects.take(events.places()[rows])
    address = np.ascontiguousarray(columns.address).view(np.dtype((np.void, 16))).ravel()
    first, code = _distinct(
        programs.exe, programs.argv0, programs.parent, programs.flags, columns.port, columns.protocol, columns.peer, address
    )
    base = len(behaviours)
    for row in first.tolist():
        exe, parent = programs.name(row)
        peer = events.peers[columns.peer[row] - 1] if columns.peer[row] else None
        target = behaviour_keys.destination(
            columns.address[row].tobytes(), int(columns.port[row]), int(columns.protocol[row]), peer
        )
        example = tuple(events.string_list(int(programs.args[row])))
        behaviours.append(
            Behaviour(BehaviourType.CONNECT, f"{exe} -> {target}", exe, parent, target, int(programs.flags[row]), example)
        )
    return code + base
