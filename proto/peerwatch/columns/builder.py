"""Makes event tables from single events and from whole tables."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from peerwatch.columns.kinds import I64, NOT_RECORDED, EventKind, Peer
from peerwatch.columns.parts import PARTS, AncestorIds, Processes, Rows, StringLists, columns_of, empty
from peerwatch.columns.table import EventColumns, join
from peerwatch.subjects import Subject

__all__ = ["ColumnsBuilder", "rows_of"]


class _Events:
    """Events added one by one, not yet columns."""

    def __init__(self) -> None:
        self.events: list[tuple[int, int, int, int]] = []
        self.parts: dict[EventKind, list[tuple[Any, ...]]] = {kind: [] for kind in PARTS}


class ColumnsBuilder:
    """Builds an `EventColumns`: intern strings, lists, subjects and processes, then add events by their indexes.

    The indexes hold for the table that is built, unless other tables were added: then all are numbered anew.
    """

    def __init__(self) -> None:
        """Start with no events."""
        self._strings: dict[str, int] = {"": 0}
        self._lists: dict[tuple[int, ...], int] = {(): 0}
        self._ancestor_ids: dict[tuple[tuple[int, int], ...], int] = {(): 0}
        self._subjects: dict[Subject, int] = {}
        self._peers: dict[Peer, int] = {}
        self._processes: dict[tuple[int, ...], int] = {}
        self._images: list[tuple[int, ...]] = []
        self._before: list[_Events | EventColumns] = []
        self._rows_before = 0
        self._open = _Events()

    def __len__(self) -> int:
        """Return how many events were added."""
        return self._rows_before + len(self._open.events)

    def string(self, text: str) -> int:
        """Return the index of a string."""
        return self._strings.setdefault(text, len(self._strings))

    def string_list(self, texts: Sequence[str]) -> int:
        """Return the index of a list of strings."""
        return self._lists.setdefault(tuple(map(self.string, texts)), len(self._lists))

    def ancestor_ids(self, ids: Sequence[tuple[int, int]]) -> int:
        """Return the index of a list of ancestors: pid and start time of each."""
        return self._ancestor_ids.setdefault(tuple(ids), len(self._ancestor_ids))

    def subject(self, subject: Subject) -> int:
        """Return the index of a subject."""
        return self._subjects.setdefault(subject, len(self._subjects))

    def peer(self, peer: Peer | None) -> int:
        """Return what `Connects.peer` and `Accepts.peer` hold for this peer."""
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
        gid: int = 0,
        effective_uid: int | None = None,
        effective_gid: int | None = None,
        capabilities: int = NOT_RECORDED,
        gained_capabilities: int = 0,
        script: str = "",
        parent_pid: int = 0,
        parent_start_time: int = 0,
        parent_exe: str = "",
        ancestors: Sequence[str] = (),
        ancestor_ids: Sequence[tuple[int, int]] = (),
        flags: int = 0,
    ) -> int:
        """Return the index of a process image; effective user and group are the others where they are not given."""
        image = (  # in the order of the fields of Processes
            pid,
            start_time,
            self.string(exe),
            self.string_list(args),
            self.string(cwd),
            uid,
            gid,
            uid if effective_uid is None else effective_uid,
            gid if effective_gid is None else effective_gid,
            capabilities,
            gained_capabilities,
            self.string(script),
            parent_pid,
            parent_start_time,
            self.string(parent_exe),
            self.string_list(ancestors),
            self.ancestor_ids(ancestor_ids),
            flags,
        )
        known = self._processes.get(image)
        if known is None:
            known = self._processes[image] = len(self._images)
            self._images.append(image)
        return known

    def image(self, process: int) -> tuple[int, ...]:
        """Return the row of a process image."""
        return self._images[process]

    def images(self) -> Processes:
        """Return all process images."""
        return rows_of(Processes, self._images)

    def exec(self, time: int, subject: int, process: int, *, count: int = 1, last_time: int = 0) -> None:
        """Add an exec."""
        self._add(time, EventKind.EXEC, subject, process, (count, last_time or time))

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
        row = (protocol, address, port, result, count, last_time or time, peer)
        self._add(time, EventKind.CONNECT, subject, process, row)

    def loss(self, time: int, subject: int, *, reason: str, count: int, begin: int, end: int) -> None:
        """Add a loss of `count` events between two times."""
        self._add(time, EventKind.LOSS, subject, 0, (self.string(reason), count, begin, end))

    def exit(
        self,
        time: int,
        subject: int,
        process: int,
        *,
        code: int,
        signal: int,
        lifetime: int,
        count: int = 1,
        last_time: int = 0,
    ) -> None:
        """Add an exit; `lifetime` is from exec to exit, nanoseconds, the mean of `count`."""
        self._add(time, EventKind.EXIT, subject, process, (code, signal, lifetime, count, last_time or time))

    def listen(self, time: int, subject: int, process: int, *, protocol: int, address: bytes, port: int) -> None:
        """Add a listen; `address` as in `connect`."""
        self._add(time, EventKind.LISTEN, subject, process, (protocol, address, port))

    def accept(
        self,
        time: int,
        subject: int,
        process: int,
        *,
        protocol: int,
        address: bytes,
        port: int,
        count: int = 1,
        last_time: int = 0,
        peer: int = 0,
    ) -> None:
        """Add an accept; `address` is the other side's, `port` this side's."""
        self._add(time, EventKind.ACCEPT, subject, process, (protocol, address, port, count, last_time or time, peer))

    def extend(self, table: EventColumns) -> None:
        """Add all events of another table; what it holds and no event uses is left behind."""
        self._rows_before = len(self) + len(table)
        self._before += [self._open, table]
        self._open = _Events()

    def build(self) -> EventColumns:
        """Return the table of all events added so far."""
        dictionaries = self._dictionaries()
        if not self._before:
            return _table(self._open, dictionaries)
        return join(
            each if isinstance(each, EventColumns) else _table(each, dictionaries) for each in (*self._before, self._open)
        )

    def table(
        self, *, time: I64, kind: I64, subject: I64, process: I64, processes: Processes, parts: dict[str, Any]
    ) -> EventColumns:
        """Return a table of these events and processes, which refer to what was added so far, and none of those added."""
        return EventColumns(
            time=time.astype(np.int64),
            kind=kind.astype(np.uint8),
            subject=subject.astype(np.uint32),
            process=process.astype(np.uint32),
            **parts,
            **self._dictionaries() | {"processes": processes},
        )

    def _dictionaries(self) -> dict[str, Any]:
        ids = list(chain.from_iterable(self._ancestor_ids))
        return {
            "strings": list(self._strings),
            "lists": StringLists(_offsets(map(len, self._lists)), np.array(list(chain.from_iterable(self._lists)), np.uint32)),
            "ancestor_ids": AncestorIds(
                _offsets(map(len, self._ancestor_ids)),
                np.array([pid for pid, _ in ids], np.uint32),
                np.array([start_time for _, start_time in ids], np.int64),
            ),
            "subjects": list(self._subjects),
            "peers": list(self._peers),
            "processes": self.images(),
        }

    def _add(self, time: int, kind: EventKind, subject: int, process: int, row: tuple[Any, ...]) -> None:
        self._open.events.append((time, kind, subject, process))
        self._open.parts[kind].append(row)


def _table(added: _Events, dictionaries: dict[str, Any]) -> EventColumns:
    events = np.array(added.events, np.int64).reshape(-1, 4).T
    parts: dict[str, Any] = {part.name: rows_of(part.of, added.parts[kind]) for kind, part in PARTS.items()}
    return EventColumns(
        time=events[0].copy(),
        kind=events[1].astype(np.uint8),
        subject=events[2].astype(np.uint32),
        process=events[3].astype(np.uint32),
        **parts,
        **dictionaries,
    )


_Rows = TypeVar("_Rows", bound=Rows)  # Python 3.11 has no type parameter lists


def rows_of(of: type[_Rows], rows: Sequence[tuple[Any, ...]]) -> _Rows:
    """Return a part of rows that are given one by one, in the order of its columns."""
    if not rows:
        return empty(of)
    return of(**{column.name: column.array(each) for column, each in zip(columns_of(of), zip(*rows, strict=True), strict=True)})


def _offsets(lengths: "map[int]") -> "np.ndarray[Any, np.dtype[np.uint32]]":
    return np.cumsum([0, *lengths], dtype=np.uint32)
