"""The event table: rows that refer to dictionaries, and what is done with it as a whole."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from peerwatch.columns.kinds import I64, U8, U32, EventKind, Peer, ProcessFlag
from peerwatch.columns.parts import (
    PARTS,
    Accepts,
    AncestorIds,
    Connects,
    Execs,
    Exits,
    Listens,
    Losses,
    Part,
    Processes,
    Refers,
    Rows,
    StringLists,
    columns_of,
    empty,
)
from peerwatch.subjects import Subject

__all__ = ["EventColumns", "join"]


@dataclass(frozen=True, slots=True)
class EventColumns:
    """A table of events. Index 0 of `strings` is the empty string; list 0 of `lists` and `ancestor_ids` is the empty list."""

    strings: Sequence[str]
    lists: StringLists
    ancestor_ids: AncestorIds
    subjects: Sequence[Subject]
    processes: Processes
    time: I64
    kind: U8
    subject: U32
    process: U32
    """A loss has no process: what stands there means nothing."""
    execs: Execs
    connects: Connects
    losses: Losses
    exits: Exits
    listens: Listens
    accepts: Accepts
    peers: Sequence[Peer]

    def __len__(self) -> int:
        """Return how many events there are."""
        return len(self.time)

    def string_list(self, index: int) -> list[str]:
        """Return one string list as Python strings."""
        begin, end = self.lists.offsets[index], self.lists.offsets[index + 1]
        return [self.strings[value] for value in self.lists.values[begin:end].tolist()]

    def ancestor_id_list(self, index: int) -> list[tuple[int, int]]:
        """Return one list of ancestors as pairs of pid and start time."""
        ids = self.ancestor_ids
        span = slice(ids.offsets[index], ids.offsets[index + 1])
        return list(zip(ids.pid[span].tolist(), ids.start_time[span].tolist(), strict=True))

    def part(self, kind: EventKind) -> Part:
        """Return what is special to one kind."""
        part: Part = getattr(self, PARTS[kind].name)
        return part

    def rows_of(self, kind: EventKind) -> npt.NDArray[np.intp]:
        """Return the rows of one kind: its i-th belongs to row i of `part(kind)`."""
        return np.flatnonzero(self.kind == kind)

    def places(self) -> I64:
        """Return for each row which one of its kind it is: its row in `part(kind)`."""
        places = np.zeros(len(self), np.int64)
        for kind in self._kinds():
            rows = self.rows_of(kind)
            places[rows] = np.arange(len(rows))
        return places

    def _kinds(self) -> list[EventKind]:
        """Return the kinds that there are."""
        return [kind for kind, part in PARTS.items() if len(getattr(self, part.name))]

    def counts(self) -> I64:
        """Return for each row how many events it stands for; a loss, which says what is missing, for none."""
        counts = np.ones(len(self), np.int64)
        for kind in self._kinds():
            part = self.part(kind)
            if isinstance(part, Losses):
                counts[self.kind == kind] = 0
            elif not isinstance(part, Listens):
                # Who writes 0 has seen one: a row stands for something. A table of one kind needs no places.
                rows = slice(None) if len(part) == len(self) else self.kind == kind
                counts[rows] = np.maximum(part.count, np.uint32(1))
        return counts

    def flagged(self, flag: ProcessFlag) -> npt.NDArray[np.bool_]:
        """Say of each row whether its process has a flag; a loss has no process."""
        flagged: npt.NDArray[np.bool_] = self.kind != EventKind.LOSS
        flagged[flagged] = self.processes.flags[self.process[flagged]] >> np.uint32(flag) & 1 == 1
        return flagged

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Self:
        """Return a table of these rows in this order; dictionaries are kept whole."""
        kind = self.kind[rows]
        taken = self.places()[rows]
        present = self._kinds()
        parts: dict[str, Any] = {
            part.name: self.part(number).take(taken[kind == number]) if number in present else empty(part.of)
            for number, part in PARTS.items()
        }
        return type(self)(
            strings=self.strings,
            lists=self.lists,
            ancestor_ids=self.ancestor_ids,
            subjects=self.subjects,
            processes=self.processes,
            time=self.time[rows],
            kind=kind,
            subject=self.subject[rows],
            process=self.process[rows],
            peers=self.peers,
            **parts,
        )

    def sorted_by_time(self) -> Self:
        """Return the same events in time order; equal times keep their order."""
        if len(self) < 2 or bool(np.all(self.time[1:] >= self.time[:-1])):
            return self
        return self.take(np.argsort(self.time, kind="stable"))

    def compact(self) -> "EventColumns":
        """Return the same events without what the dictionaries hold and no event uses."""
        return join([self])

    @classmethod
    def concatenate(cls, tables: Sequence["EventColumns"]) -> "EventColumns":
        """Return one table of all events in order, with common dictionaries."""
        return tables[0] if len(tables) == 1 else join(tables)


def join(tables: Iterable[EventColumns]) -> EventColumns:
    """Return one table of all events in order; what no event uses is left behind.

    Strings, subjects and peers are there once. Processes and lists are taken as each table has them: finding equal ones would
    cost more than their few bytes. No step calls Python once per event or process.
    """
    joined = _Joined()
    parts = [joined.add(table) for table in tables]
    concatenated: dict[str, Any] = {
        part.name: _stack(part.of, [getattr(each, part.name) for each in parts]) for part in PARTS.values()
    }
    return EventColumns(
        strings=list(joined.strings),
        lists=StringLists(
            _offsets([each.lists.offsets for each in parts]), np.concatenate([_NO_U32, *(each.lists.values for each in parts)])
        ),
        ancestor_ids=AncestorIds(
            _offsets([each.ancestor_ids.offsets for each in parts]),
            np.concatenate([_NO_U32, *(each.ancestor_ids.pid for each in parts)]),
            np.concatenate([_NO_I64, *(each.ancestor_ids.start_time for each in parts)]),
        ),
        subjects=list(joined.subjects),
        processes=_stack(Processes, [each.processes for each in parts]),
        time=np.concatenate([_NO_I64, *(each.time for each in parts)]),
        kind=np.concatenate([_NO_U8, *(each.kind for each in parts)]),
        subject=np.concatenate([_NO_U32, *(each.subject for each in parts)]),
        process=np.concatenate([_NO_U32, *(each.process for each in parts)]),
        peers=list(joined.peers),
        **concatenated,
    )


_NO_U8, _NO_U32, _NO_I64 = np.empty(0, np.uint8), np.empty(0, np.uint32), np.empty(0, np.int64)


class _Joined:
    """The dictionaries of the table to come."""

    def __init__(self) -> None:
        self.strings: dict[str, int] = {"": 0}
        self.subjects: dict[Subject, int] = {}
        self.peers: dict[Peer, int] = {}
        self._lists = self._ancestor_ids = 1
        self._processes = 0

    def add(self, table: EventColumns) -> EventColumns:
        """Return the table's events with the numbers of the common dictionaries, its own ones cut to what is used."""
        with_process = table.kind != EventKind.LOSS
        used, process_of = _renumber(len(table.processes), [table.process[with_process]], self._processes)
        processes = table.processes.take(used)
        self._processes += len(used)
        process = np.zeros(len(table), np.uint32)
        process[with_process] = process_of[table.process[with_process]]

        parts = {part.name: getattr(table, part.name) for part in PARTS.values()}
        holders = [processes, *parts.values()]
        used, list_of = _renumber(len(table.lists), _referring(holders, Refers.STRING_LIST), self._lists, keep=1)
        lists = table.lists.take(used)
        self._lists += len(used)
        used, ids_of = _renumber(len(table.ancestor_ids), _referring(holders, Refers.ANCESTOR_IDS), self._ancestor_ids, keep=1)
        ancestor_ids = table.ancestor_ids.take(used)
        self._ancestor_ids += len(used)
        string_of = _intern(table.strings, [lists.values, *_referring(holders, Refers.STRING)], self.strings)
        peer_of = np.zeros(len(table.peers) + 1, np.uint32)  # 0 is nobody
        peer_of[1:] = _intern(table.peers, [each[each > 0] - 1 for each in _referring(holders, Refers.PEER)], self.peers) + 1
        new = {
            Refers.STRING: string_of,
            Refers.STRING_LIST: list_of,
            Refers.ANCESTOR_IDS: ids_of,
            Refers.PEER: peer_of,
        }
        renumbered: dict[str, Any] = {name: _refer(part, new) for name, part in parts.items()}
        return EventColumns(
            strings=(),
            lists=StringLists(lists.offsets, string_of[lists.values]),
            ancestor_ids=ancestor_ids,
            subjects=(),
            processes=_refer(processes, new),
            time=table.time,
            kind=table.kind,
            subject=_intern(table.subjects, [table.subject], self.subjects)[table.subject],
            process=process,
            peers=(),
            **renumbered,
        )


_Part = TypeVar("_Part", bound=Rows)  # Python 3.11 has no type parameter lists
_Value = TypeVar("_Value", bound=Hashable)


def _renumber(size: int, columns: Iterable[U32], first: int, *, keep: int = 0) -> tuple[npt.NDArray[np.intp], U32]:
    """Return which of `size` entries the columns use, and the new number of each of these, from `first` on.

    The first `keep` entries have the same number everywhere and are not among those used.
    """
    mask = np.zeros(size, bool)
    for column in columns:
        mask[column] = True
    mask[:keep] = False
    used = np.flatnonzero(mask)
    numbers = np.arange(size, dtype=np.uint32)
    numbers[used] = np.arange(first, first + len(used), dtype=np.uint32)
    return used, numbers


def _intern(values: Sequence[_Value], columns: Iterable[U32], known: dict[_Value, int]) -> U32:
    """Return the number of each value that the columns use; new ones come to those known."""
    used, numbers = _renumber(len(values), columns, 0)
    numbers[used] = [known.setdefault(values[each], len(known)) for each in used.tolist()]
    return numbers


def _referring(parts: Iterable[Processes | Part], refers: Refers) -> Iterator[U32]:
    for part in parts:
        for column in columns_of(type(part)):
            if column.refers is refers:
                yield getattr(part, column.name)


def _refer(part: _Part, new: dict[Refers, U32]) -> _Part:
    """Return the part with new numbers where it refers to something."""
    columns: dict[str, Any] = {column.name: getattr(part, column.name) for column in columns_of(type(part))}
    for column in columns_of(type(part)):
        if column.refers is not None:
            columns[column.name] = new[column.refers][columns[column.name]]
    return type(part)(**columns)


def _stack(of: type[_Part], parts: Sequence[_Part]) -> _Part:
    """Return all rows of these parts, one after the other."""
    parts = [each for each in parts if len(each)]
    if len(parts) < 2:
        return parts[0] if parts else empty(of)
    return of(**{column.name: np.concatenate([getattr(part, column.name) for part in parts]) for column in columns_of(of)})


def _offsets(parts: Iterable[U32]) -> U32:
    """Return the offsets of all lists one after the other, after the empty list."""
    lengths = np.concatenate([np.zeros(1, np.uint32), *map(np.diff, parts)])
    return np.concatenate([np.zeros(1, np.uint32), np.cumsum(lengths, dtype=np.uint32)])
