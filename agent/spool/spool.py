"""The spool: steps go in at the end, acknowledgements remove segments at the beginning, limits the oldest that was not sent.

A segment that is given up becomes a segment with one batch that says what is missing, at the same place, in one rename. Disk
errors are raised to those who call, as OSError: nothing has happened then.
"""

import contextlib
import os
import time
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from peerwatch.subjects import Subject
from peerwatch.wire import encode

from agent.errors import ConfigError
from agent.spool.age import Age, Uptime
from agent.spool.folder import Folder, write
from agent.spool.gaps import sum_up
from agent.spool.losses import Losses
from agent.spool.reader import Reader
from agent.spool.records import Acknowledged, BatchEntry, HeldEntry, Item, Record, State, pack
from agent.spool.recovery import SPOOL_CORRUPT, Recovery, held_of, recover
from agent.spool.segments import EVENTS, Segment, new_segment, records
from agent.step import Held, Recovered

__all__ = ["SPOOL_CORRUPT", "SPOOL_EXPIRED", "SPOOL_FULL", "GivenUp", "Limits", "Spool", "Update"]

SPOOL_FULL = "SPOOL_FULL"
"""Reason of a loss: the collector was away or slow for longer than the spool is large."""

SPOOL_EXPIRED = "SPOOL_EXPIRED"
"""Reason of a loss: the collector was away for longer than events are kept."""

SEGMENT_BYTES = 8 << 20
"""A segment is closed at this size: it is what is given up at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where the spool is, and how much of it."""

    folder: Path
    max_bytes: int = 256 << 20
    """At 170 bytes an event 1.5 million events. A step that is written may exceed it before the oldest is given up."""
    max_age_s: float = 86_400
    """What happened longer ago than this is of no use to who looks at alerts, seconds."""

    @property
    def segment_bytes(self) -> int:
        """Size of a segment: a small share of the spool, which loses one at a time."""
        return min(SEGMENT_BYTES, self.max_bytes // 16)

    @property
    def segment_age_ns(self) -> int:
        """A segment is closed at this age: what expires is then this much too old at most."""
        return int(self.max_age_s * 1e9 / 24)


@dataclass(frozen=True, slots=True)
class Update:
    """What a record says beside its batches: see `Step`."""

    cursor: Mapping[str, int] = field(default_factory=dict)
    acknowledged: Acknowledged = field(default_factory=Acknowledged)
    held: Mapping[int, Held] = field(default_factory=dict)
    settled: Sequence[int] = ()
    sent: int | None = None
    """The last segment of which something may have been sent; None: the one with this record."""


class GivenUp(NamedTuple):
    """What was given up: events, not those among them that were known to be lost before; from which segment to which."""

    events: int
    segments: range


class Spool:
    """Owns the folder until `close`. Not thread safe: it belongs to one event loop.

    What was found when it was opened: `recovered` for the agent's loop, `begin` for a reader of what is not acknowledged,
    `events` that this holds, `losses` among what waited. `damaged` counts places that are no records. `written` counts the
    events of this session that are on the disk or were.
    """

    def __init__(self, limits: Limits, *, cluster: str, node: str, session: str, uptime: Uptime | None = None) -> None:
        """Take the folder and find what is in it; `session` is this agent's own.

        Raises:
            ConfigError: the folder cannot be used, or holds events of another node.
        """
        self.limits = limits
        self.written = 0
        self._cluster, self._node, self._session = cluster, node, session
        self._age = Age(uptime or Uptime.of_this_node())
        self._folder = Folder(limits.folder)
        self._handle = -1
        try:
            self._recover()
        except BaseException:
            self._folder.close()
            raise

    def _recover(self) -> None:
        found = recover(self._folder, self._age.uptime.boot)
        newest = found.newest
        rebooted = False
        if newest is not None:
            if (newest.cluster, newest.node) != (self._cluster, self._node):
                if found.events or found.held:
                    raise ConfigError(
                        f"the spool folder {self._folder.path} holds {found.events} events of node {newest.node!r} in cluster"
                        f" {newest.cluster!r}: run as that node to send them, remove the folder, or give another --spool"
                    )
                for segment in found.segments:
                    self._folder.remove(segment.name)
                found = Recovery()
            rebooted = self._age.resume(newest.boot, newest.time, newest.age)
        state = newest.state if newest is not None and found.segments else State()
        self._segments = found.segments
        self._next_number = max((segment.number for segment in self._segments), default=0) + 1
        # The ids of what waits are this agent's numbers for it, too; new ones get ids of their own.
        self._live = {id_: (id_, segment) for id_, (_, segment) in found.held.items()}
        self._state = replace(state, cursor={} if rebooted else state.cursor, live=_ranges(self._live.keys()))
        self.recovered = Recovered(dict(self._state.cursor), {id_: held for id_, (held, _) in found.held.items()})
        self.begin, self.events, self.losses, self.damaged = found.begin, found.events, found.losses, found.damaged

    def close(self) -> None:
        """Let go of the folder."""
        self._close_segment()
        self._folder.close()

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(segment.size for segment in self._segments)

    @property
    def newest(self) -> int:
        """Number of the newest segment, 0 if there is none."""
        return self._segments[-1].number if self._segments else 0

    @property
    def state(self) -> State:
        """What the newest record says beside batches."""
        return self._state

    def age_s(self, segment: int) -> float:
        """Return how long ago the first record was written from this segment on, seconds of uptime; 0 if there is none."""
        index = self._index(segment)
        return (self._age.now() - self._segments[index].begun) / 1e9 if index < len(self._segments) else 0.0

    def reader(self, begin: Item) -> Reader:
        """Return a reader from this place on."""
        return Reader(self._segments, lambda segment, offset: records(self._folder, segment, offset), begin=begin)

    def read(self, item: Item) -> bytes | None:
        """Return the bytes of a batch, None if they are not what was written."""
        index = self._index(item.segment)
        if item.offset < 0 or index == len(self._segments) or self._segments[index].number != item.segment:
            return None
        data = self._folder.read(self._segments[index].name, item.offset, item.size)
        return data if zlib.crc32(data) == item.checksum and len(data) == item.size else None

    def append(self, items: Sequence[Item], number: int, update: Update | None = None) -> None:
        """Write a record. The items, which follow each other and have their bytes, then know where they are.

        Args:
            items: batches of this session.
            number: the session's next number after these.
            update: None: nothing else has changed.

        Raises:
            OSError: nothing was written.
        """
        first = items[0].first if items else number
        segment, content = self._open_segment(first)
        state, live, tables = self._updated(update, segment.number)
        batches = [BatchEntry(each.size, zlib.crc32(each.data or b""), *_what(each)) for each in items]
        after = self.written + sum(each.events for each in items)
        record = self._record(
            session=self._session,
            numbers=(first, number - 1),
            events=(self.written, after),
            state=state,
            batches=tuple(batches),
            held=tuple(entry for entry, _ in tables),
        )
        data = pack(record, [*(each.data or b"" for each in items), *(data for _, data in tables)], segment.seed)
        self._write(segment, data)
        offset = segment.size + len(data) - record.size
        for item, batch in zip(items, batches, strict=True):
            item.segment, item.record, item.offset, item.checksum = segment.number, segment.size, offset, batch.checksum
            self.written += item.events
            item.after = self.written
            offset += batch.size
        for item in items:
            content.update(item.losses)
            content.add(EVENTS, item.events, item.begin, item.end)
        segment.last, segment.after, segment.ended = record.last, after, record.age
        segment.size += len(data)
        self._state = state
        self._live = {number: (id_, where or segment.number) for number, (id_, where) in live.items()}

    def _updated(
        self, update: Update | None, segment: int
    ) -> tuple[State, dict[int, tuple[int, int]], list[tuple[HeldEntry, bytes]]]:
        """Return what holds after an update; what begins to wait with it has segment 0."""
        if update is None:
            return self._state, self._live, []
        settled = set(update.settled)
        live = {number: place for number, place in self._live.items() if number not in settled}
        next_id, tables = self._state.next_id, []
        for number, held in update.held.items():
            try:
                entry, data = _entry(next_id, held)
            except ValueError:  # a string that has no wire form: it waits in memory only
                continue
            tables.append((entry, data))
            live[number] = (next_id, 0)
            next_id += 1
        cursor = self._state.cursor | dict(update.cursor)
        ranges = _ranges(id_ for id_, _ in live.values())
        sent = segment if update.sent is None else update.sent
        return State(update.acknowledged, cursor, ranges, next_id, sent), live, tables

    def _record(
        self,
        *,
        session: str,
        numbers: tuple[int, int],
        events: tuple[int, int],
        batches: tuple[BatchEntry, ...],
        held: tuple[HeldEntry, ...],
        state: State | None = None,
        replaces: int = 0,
    ) -> Record:
        return Record(
            cluster=self._cluster,
            node=self._node,
            session=session,
            boot=self._age.uptime.boot,
            time=self._age.uptime.now(),
            age=self._age.now(),
            first=numbers[0],
            last=numbers[1],
            before=events[0],
            after=events[1],
            replaces=replaces,
            state=state or self._state,
            batches=batches,
            held=held,
        )

    def _open_segment(self, first: int) -> tuple[Segment, Losses]:
        """Return the segment that is written and its content; a new one, that begins with batch `first`, if it is time."""
        if self._handle >= 0:
            segment = self._segments[-1]
            old = self._age.now() - segment.begun > self.limits.segment_age_ns
            if segment.size < self.limits.segment_bytes and not old and segment.content is not None:
                return segment, segment.content
            self._close_segment()
        segment = new_segment(self._next_number)
        segment.session, segment.first, segment.last = self._session, first, first - 1
        segment.before = segment.after = self.written
        segment.begun = segment.ended = self._age.now()
        self._handle = self._folder.create(segment.name)
        self._next_number += 1
        self._segments.append(segment)
        segment.content = content = Losses()
        return segment, content

    def _write(self, segment: Segment, data: bytes) -> None:
        try:
            write(self._handle, data)
        except OSError:
            try:
                os.ftruncate(self._handle, segment.size)
            except OSError:
                self._close_segment()  # nobody knows how it ends: what comes next goes into another one
            if not segment.size:
                self._close_segment()
                self._segments.remove(segment)
                with contextlib.suppress(OSError):
                    self._folder.remove(segment.name)
            raise

    def _close_segment(self) -> None:
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                os.close(self._handle)
            self._handle = -1

    def done(self, before: int | None) -> list[Segment]:
        """Return what nobody needs: all segments before this one, or all of them, since their batches are acknowledged.

        The newest stays, since it says what holds now, and so do those with tables that wait. Others without batches go, too.
        """
        if len(self._segments) < 2:
            return []
        needed = {segment for _, segment in self._live.values()}
        return [
            segment
            for segment in self._segments[:-1]
            if before is None or segment.number < before or segment.last < segment.first
            if segment.number not in needed
        ]

    def forget(self, segments: Iterable[Segment]) -> None:
        """Remove segments."""
        for segment in segments:
            with contextlib.suppress(OSError):  # the next agent finds it, and the collector says that it knows
                self._folder.remove(segment.name)
            self._segments.remove(segment)

    def oldest(self, sent: int) -> list[Segment]:
        """Return the oldest segment with batches after that which is `sent`, and the gap before it; empty if there is none."""
        gaps: list[Segment] = []
        for segment in self._segments[self._index(sent + 1) :]:
            if segment.is_gap:
                gaps.append(segment)
            elif segment.last >= segment.first:
                return [*gaps, segment]
            else:
                gaps = []
        return []

    def expired(self, sent: int) -> list[Segment]:
        """Return what `oldest` does, if all in it is too old."""
        oldest = self.oldest(sent)
        too_old = bool(oldest) and self._age.now() - oldest[-1].ended > self.limits.max_age_s * 1e9
        return oldest if too_old else []

    def give_up(self, victims: Sequence[Segment], reason: str) -> GivenUp:
        """Put a segment that says what is missing in place of these.

        Raises:
            OSError: they are still there.
        """
        last = victims[-1]
        if self._handle >= 0 and last is self._segments[-1]:
            self._close_segment()
        events, losses = sum_up(self._folder, victims, reason)
        held = [kept for segment in victims for kept in self._waiting_in(segment)]
        begin = next(each for each in victims if each.session == last.session)
        gap = replace(last, name=new_segment(last.number).name, is_gap=True, first=begin.first, before=begin.before)
        data = encode(losses.table(Subject(self._cluster, self._node), time.time_ns())).SerializeToString()
        record = self._record(
            session=last.session,
            numbers=(begin.first, last.last),
            events=(begin.before, last.after),
            replaces=victims[0].number,
            batches=(BatchEntry(len(data), zlib.crc32(data), 0, *losses.span(), tuple(losses)),),
            held=tuple(entry for entry, _ in held),
        )
        packed = pack(record, [data, *(data for _, data in held)], gap.seed)
        self._folder.put(gap.name, packed)
        gap.size, gap.content = len(packed), losses
        for segment in victims:
            with contextlib.suppress(OSError):  # the next agent removes it
                self._folder.remove(segment.name)
        place = self._segments.index(victims[0])
        self._segments[place : place + len(victims)] = [gap]
        numbers = range(victims[0].number, last.number + 1)
        self._live = {number: (id_, gap.number if where in numbers else where) for number, (id_, where) in self._live.items()}
        return GivenUp(events, numbers)

    def _waiting_in(self, segment: Segment) -> Iterator[tuple[HeldEntry, bytes]]:
        """Yield the tables of a segment that wait, as they are on the disk."""
        ids = [(id_, id_) for id_, where in self._live.values() if where == segment.number]
        if ids:
            yield from held_of(self._folder, segment, records(self._folder, segment), ids)

    def _index(self, number: int) -> int:
        return bisect_left(self._segments, number, key=lambda segment: segment.number)


def _entry(id_: int, held: Held) -> tuple[HeldEntry, bytes]:
    data, table = encode(held.table).SerializeToString(), held.table
    begin, end = max(0, int(table.time.min())), max(0, int(table.time.max()))
    return HeldEntry(id_, max(0, held.until), len(data), zlib.crc32(data), int(table.counts().sum()), begin, end), data


def _what(item: Item) -> tuple[int, int, int, tuple[tuple[str, int, int, int], ...]]:
    return item.events, item.begin, item.end, item.losses


def _ranges(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return numbers as ranges, both ends included."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)
