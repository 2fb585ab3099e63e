"""Events as numpy columns: what travels between agent and collector and what both work on.

A table of n events holds each distinct string, string list, subject and process once and refers to them by index, so that work
on a batch is a few array operations. `ColumnsBuilder` makes a table from parts; `peerwatch.wire` has its wire form.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from peerwatch.subjects import NO_WORKLOAD, Subject, Workload

__all__ = [
    "ARGS_TRUNCATED",
    "ColumnsBuilder",
    "ConnectResult",
    "Connects",
    "EventColumns",
    "EventKind",
    "Losses",
    "Peer",
    "ProcessFlag",
    "Processes",
    "Protocol",
    "StringLists",
]

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
I64 = npt.NDArray[np.int64]

NANOSECONDS = 1_000_000_000

ARGS_TRUNCATED = np.uint32(1 << 31)
"""Bit of `Processes.flags`: the argument list was longer than what a record carries."""


class EventKind(enum.IntEnum):
    """What happened; numbers as in `peerwatch.v1.EventKind`."""

    EXEC = 1
    CONNECT = 2
    LOSS = 3


class Protocol(enum.IntEnum):
    """Transport protocol of a connect; numbers as in `peerwatch.v1.Connect.Protocol`."""

    UNSPECIFIED = 0
    TCP = 1
    UDP = 2


class ConnectResult(enum.IntEnum):
    """How a connect ended; numbers as in `peerwatch.v1.Connect.Result`."""

    UNSPECIFIED = 0
    OK = 1
    IN_PROGRESS = 2
    REFUSED = 3
    TIMEOUT = 4
    UNREACHABLE = 5
    ERROR = 6


class ProcessFlag(enum.IntEnum):
    """Bit numbers in `Processes.flags`; numbers as in `peerwatch.v1.Process.Flag`."""

    UPPER_LAYER = 1
    MEMFD = 2
    STDIO_SOCKET = 3
    TTY = 4
    INJECTED = 5
    HOST_NAMESPACE = 6


@dataclass(frozen=True, slots=True)
class Peer:
    """What an address was: namespace, kind and name."""

    namespace: str = ""
    workload: Workload = NO_WORKLOAD


@dataclass(frozen=True, slots=True)
class StringLists:
    """Lists of strings: list i is `values[offsets[i]:offsets[i + 1]]`, each an index into the table's strings."""

    offsets: U32
    values: U32

    def __len__(self) -> int:
        """Return how many lists there are."""
        return len(self.offsets) - 1

    def take(self, index: npt.NDArray[np.integer[Any]]) -> Self:
        """Return the lists at `index`, in that order."""
        lengths = np.diff(self.offsets)[index]
        offsets = np.zeros(len(index) + 1, np.uint32)
        np.cumsum(lengths, out=offsets[1:])
        # Position of each value: start of its source list plus its place in the list.
        places = np.arange(offsets[-1], dtype=np.int64) + np.repeat(
            self.offsets[index].astype(np.int64) - offsets[:-1], lengths
        )
        return type(self)(offsets, self.values[places])


@dataclass(frozen=True, slots=True)
class Processes:
    """Process images, one per row. `exe`, `cwd`, `parent_exe`: strings; `args`, `ancestors`: string lists."""

    pid: U32
    start_time: I64
    exe: U32
    args: U32
    cwd: U32
    uid: U32
    parent_pid: U32
    parent_start_time: I64
    parent_exe: U32
    ancestors: U32
    flags: U32

    def __len__(self) -> int:
        """Return how many processes there are."""
        return len(self.pid)


@dataclass(frozen=True, slots=True)
class Connects:
    """What is special to connects; row i belongs to the i-th CONNECT. `address` is (n, 16), IPv4 as IPv4-mapped."""

    protocol: U8
    address: U8
    port: U16
    result: U8
    count: U32
    last_time: I64
    peer: U32
    """Index into the table's peers plus 1; 0 where the address is unknown."""

    def __len__(self) -> int:
        """Return how many connects there are."""
        return len(self.port)


@dataclass(frozen=True, slots=True)
class Losses:
    """What is special to losses; row i belongs to the i-th LOSS. `reason`: string."""

    reason: U32
    count: U32
    begin: I64
    end: I64

    def __len__(self) -> int:
        """Return how many losses there are."""
        return len(self.count)


PROCESS_TYPES: dict[str, type[np.generic]] = {
    "pid": np.uint32,
    "start_time": np.int64,
    "exe": np.uint32,
    "args": np.uint32,
    "cwd": np.uint32,
    "uid": np.uint32,
    "parent_pid": np.uint32,
    "parent_start_time": np.int64,
    "parent_exe": np.uint32,
    "ancestors": np.uint32,
    "flags": np.uint32,
}
CONNECT_TYPES: dict[str, type[np.generic]] = {
    "protocol": np.uint8,
    "address": np.uint8,
    "port": np.uint16,
    "result": np.uint8,
    "count": np.uint32,
    "last_time": np.int64,
    "peer": np.uint32,
}
LOSS_TYPES: dict[str, type[np.generic]] = {"reason": np.uint32, "count": np.uint32, "begin": np.int64, "end": np.int64}


@dataclass(frozen=True, slots=True)
class EventColumns:
    """A table of events. Index 0 of `strings` is the empty string; list 0 is the empty list."""

    strings: Sequence[str]
    lists: StringLists
    subjects: Sequence[Subject]
    processes: Processes
    time: I64
    kind: U8
    subject: U32
    process: U32
    connects: Connects
    losses: Losses
    peers: Sequence[Peer]

    def __len__(self) -> int:
        """Return how many events there are."""
        return len(self.time)

    def string_list(self, index: int) -> list[str]:
        """Return one string list as Python strings."""
        begin, end = self.lists.offsets[index], self.lists.offsets[index + 1]
        return [self.strings[value] for value in self.lists.values[begin:end]]

    def rows_of(self, kind: EventKind) -> npt.NDArray[np.intp]:
        """Return the rows of one kind: its i-th belongs to row i of `connects` or `losses`."""
        return np.flatnonzero(self.kind == kind)

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Self:
        """Return a table of these rows in this order; dictionaries are kept whole."""
        kind = self.kind[rows]
        # Row r is the ordinal[r]-th event of its kind.
        ordinal = np.zeros(len(self), np.int64)
        for each in (EventKind.CONNECT, EventKind.LOSS):
            of_kind = self.rows_of(each)
            ordinal[of_kind] = np.arange(len(of_kind))
        return type(self)(
            strings=self.strings,
            lists=self.lists,
            subjects=self.subjects,
            processes=self.processes,
            time=self.time[rows],
            kind=kind,
            subject=self.subject[rows],
            process=self.process[rows],
            connects=_take(self.connects, ordinal[rows[kind == EventKind.CONNECT]]),
            losses=_take(self.losses, ordinal[rows[kind == EventKind.LOSS]]),
            peers=self.peers,
        )

    def sorted_by_time(self) -> Self:
        """Return the same events in time order; equal times keep their order."""
        if len(self) < 2 or bool(np.all(self.time[1:] >= self.time[:-1])):
            return self
        return self.take(np.argsort(self.time, kind="stable"))

    @classmethod
    def concatenate(cls, tables: Sequence["EventColumns"]) -> "EventColumns":
        """Return one table of all events in order, with common dictionaries."""
        if len(tables) == 1:
            return tables[0]
        builder = ColumnsBuilder()
        for table in tables:
            builder.extend(table)
        return builder.build()


class ColumnsBuilder:
    """Builds an `EventColumns`: intern strings, lists, subjects and processes, then add events by their indexes."""

    def __init__(self) -> None:
        """Start with no events."""
        self._strings: dict[str, int] = {"": 0}
        self._lists: dict[tuple[int, ...], int] = {(): 0}
        self._subjects: dict[Subject, int] = {}
        self._peers: dict[Peer, int] = {}
        self._processes: dict[tuple[int, ...], int] = {}
        self._events: list[tuple[int, int, int, int]] = []
        self._connects: list[tuple[int, bytes, int, int, int, int, int]] = []
        self._losses: list[tuple[int, int, int, int]] = []

    def __len__(self) -> int:
        """Return how many events were added."""
        return len(self._events)

    def string(self, text: str) -> int:
        """Return the index of a string."""
        return self._strings.setdefault(text, len(self._strings))

    def string_list(self, texts: Sequence[str]) -> int:
        """Return the index of a list of strings."""
        return self._lists.setdefault(tuple(map(self.string, texts)), len(self._lists))

    def subject(self, subject: Subject) -> int:
        """Return the index of a subject."""
        return self._subjects.setdefault(subject, len(self._subjects))

    def peer(self, peer: Peer | None) -> int:
        """Return what `Connects.peer` holds for this peer."""
        return 0 if peer is None else self._peers.setdefault(peer, len(self._peers)) + 1

    def process(
        self,
        *,
        pid: int,
        start_time: int = 0,
        exe: str = "",
        args: Sequence[str] = (),
        cwd: str = "",
        uid: int = 0,
        parent_pid: int = 0,
        parent_start_time: int = 0,
        parent_exe: str = "",
        ancestors: Sequence[str] = (),
        flags: int = 0,
    ) -> int:
        """Return the index of a process image."""
        key = (
            pid,
            start_time,
            self.string(exe),
            self.string_list(args),
            self.string(cwd),
            uid,
            parent_pid,
            parent_start_time,
            self.string(parent_exe),
            self.string_list(ancestors),
            flags,
        )
        return self._processes.setdefault(key, len(self._processes))

    def exec(self, time: int, subject: int, process: int) -> None:
        """Add an exec."""
        self._events.append((time, EventKind.EXEC, subject, process))

    def connect(
        self,
        time: int,
        subject: int,
        process: int,
        *,
        protocol: int,
        address: bytes,
        port: int,
        result: int,
        count: int = 1,
        last_time: int = 0,
        peer: int = 0,
    ) -> None:
        """Add a connect; `address` is 16 bytes, IPv4 as IPv4-mapped IPv6."""
        self._events.append((time, EventKind.CONNECT, subject, process))
        self._connects.append((protocol, address, port, result, count, last_time or time, peer))

    def loss(self, time: int, subject: int, *, reason: str, count: int, begin: int, end: int) -> None:
        """Add a loss of `count` events between two times."""
        self._events.append((time, EventKind.LOSS, subject, 0))
        self._losses.append((self.string(reason), count, begin, end))

    def extend(self, table: EventColumns) -> None:
        """Add all events of another table; what it holds and no event uses is left behind."""
        process_rows, process_of = np.unique(table.process[table.kind != EventKind.LOSS], return_inverse=True)
        columns = table.processes
        processes = [
            self.process(
                pid=int(columns.pid[row]),
                start_time=int(columns.start_time[row]),
                exe=table.strings[columns.exe[row]],
                args=table.string_list(int(columns.args[row])),
                cwd=table.strings[columns.cwd[row]],
                uid=int(columns.uid[row]),
                parent_pid=int(columns.parent_pid[row]),
                parent_start_time=int(columns.parent_start_time[row]),
                parent_exe=table.strings[columns.parent_exe[row]],
                ancestors=table.string_list(int(columns.ancestors[row])),
                flags=int(columns.flags[row]),
            )
            for row in process_rows
        ]
        subject_rows, subject_of = np.unique(table.subject, return_inverse=True)
        subjects = np.array([self.subject(table.subjects[row]) for row in subject_rows], np.int64)
        process = np.zeros(len(table), np.int64)
        process[table.kind != EventKind.LOSS] = np.array(processes, np.int64)[process_of]
        self._events.extend(
            zip(table.time.tolist(), table.kind.tolist(), subjects[subject_of].tolist(), process.tolist(), strict=True)
        )
        connects = table.connects
        peers = [0, *(self.peer(peer) for peer in table.peers)]
        self._connects.extend(
            zip(
                connects.protocol.tolist(),
                (row.tobytes() for row in connects.address),
                connects.port.tolist(),
                connects.result.tolist(),
                connects.count.tolist(),
                connects.last_time.tolist(),
                (peers[peer] for peer in connects.peer.tolist()),
                strict=True,
            )
        )
        losses = table.losses
        self._losses.extend(
            zip(
                (self.string(table.strings[reason]) for reason in losses.reason.tolist()),
                losses.count.tolist(),
                losses.begin.tolist(),
                losses.end.tolist(),
                strict=True,
            )
        )

    def build(self) -> EventColumns:
        """Return the table of all events added so far."""
        offsets = np.zeros(len(self._lists) + 1, np.uint32)
        np.cumsum([len(each) for each in self._lists], out=offsets[1:])
        values = np.fromiter((value for each in self._lists for value in each), np.uint32, int(offsets[-1]))
        processes = np.array(list(self._processes), np.int64).reshape(-1, len(PROCESS_TYPES)).T
        events = np.array(self._events, np.int64).reshape(-1, 4).T
        connects = list(zip(*self._connects, strict=True)) or [()] * len(CONNECT_TYPES)
        losses = list(zip(*self._losses, strict=True)) or [()] * len(LOSS_TYPES)
        return EventColumns(
            strings=list(self._strings),
            lists=StringLists(offsets, values),
            subjects=list(self._subjects),
            processes=Processes(
                **{name: column.astype(dtype) for (name, dtype), column in zip(PROCESS_TYPES.items(), processes, strict=True)}
            ),
            time=events[0].copy(),
            kind=events[1].astype(np.uint8),
            subject=events[2].astype(np.uint32),
            process=events[3].astype(np.uint32),
            connects=Connects(
                **{
                    name: np.frombuffer(b"".join(column), np.uint8).reshape(-1, 16)
                    if name == "address"
                    else np.array(column, dtype)  # type: ignore[arg-type]  # the table gives the types
                    for (name, dtype), column in zip(CONNECT_TYPES.items(), connects, strict=True)
                }
            ),
            losses=Losses(
                **{name: np.array(column, dtype) for (name, dtype), column in zip(LOSS_TYPES.items(), losses, strict=True)}
            ),
            peers=list(self._peers),
        )


_Part = TypeVar("_Part", Connects, Losses)  # Python 3.11 has no type parameter lists


def _take(part: _Part, rows: npt.NDArray[np.integer[Any]]) -> _Part:
    return type(part)(**{field.name: getattr(part, field.name)[rows] for field in fields(part)})
