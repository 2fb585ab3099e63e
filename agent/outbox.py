"""Events on their way to the collector: what waits, what was sent and is not acknowledged, and what had to be given up.

    put ──▶ waiting (oldest is given up first) ──▶ next ──▶ unacknowledged (never given up) ──▶ acknowledge
      └───▶ spool (the same, on disk) ──▶ backlog ──▶┘

Each batch has its number in the stream from the beginning, and the spool has it before it is sent. In memory are those that
were written last, so that a collector that keeps up causes no reading; and those that the disk refuses, until it takes them.
What is older is read back. Memory is bounded in bytes, and so is the disk. What is given up leaves a gap at its place in the
stream: loss events that say how many, from when to when and why, under the last of the missing numbers. So produced + recovered
= acknowledged + held + lost holds at each moment, and once nothing is held, produced + recovered = delivered + reported lost.

Numbers count within a session, and each agent process has its own. What an earlier one left is sent first, in its own session
and under its own numbers, since the collector may have had it.
"""

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile

from peerwatch.subjects import Subject
from peerwatch.wire import encode

from agent.batches import MAX_BATCH, UNSENDABLE, batches, request
from agent.spool import (
    SPOOL_CORRUPT,
    SPOOL_EXPIRED,
    SPOOL_FULL,
    Acknowledged,
    Disk,
    End,
    Item,
    Losses,
    Reader,
    Segment,
    Spool,
    SpoolStatus,
    Update,
)
from agent.step import Held, Step

__all__ = ["Batch", "Counters", "Outbox", "UnknownSequenceError"]

MAX_BYTES = 32 << 20
"""Default bound of what is held in memory, bytes: at 170 bytes an event some 200,000, minutes of a busy node."""

RECENT_BYTES = 4 << 20
"""Most that is kept in memory although it is on the disk, bytes: a second of a busy node."""

OVERHEAD = 512
"""What holding a batch costs beyond its bytes, so that many tiny tables cannot break the bound."""

QUEUE_FULL = "QUEUE_FULL"
"""Reason of a loss: the collector was away or slow for longer than memory is large, and there is no disk to write to."""


class UnknownSequenceError(ValueError):
    """A batch was acknowledged that was never sent: the other side is broken or is no collector."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch under its final sequence number, ready to be written: `request` is a serialised `StreamRequest`."""

    sequence: int
    request: bytes
    events: int


@dataclass(slots=True)
class Counters:
    """Events since the start, loss events not among them. `recovered`: found in the spool. `lost`: given up here, by reason."""

    produced: int = 0
    recovered: int = 0
    acknowledged: int = 0
    lost: dict[str, int] = field(default_factory=dict)

    def lose(self, reason: str, events: int) -> None:
        """Count events as lost."""
        if events:
            self.lost[reason] = self.lost.get(reason, 0) + events


class Outbox:
    """Holds tables until they are acknowledged. Not thread safe: it belongs to one event loop."""

    def __init__(
        self,
        cluster: str,
        node: str,
        max_bytes: int = MAX_BYTES,
        *,
        session: str = "",
        spool: Spool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`cluster` and `node` are whose losses are reported; `max_bytes` bounds what is held in memory, sent or not."""
        self.counters = Counters()
        self._home = Subject(cluster, node)
        self._max_bytes = max_bytes
        # Half for what is under way, so that there is always room for what is new.
        self._window_bytes = max_bytes // 2
        self._recent_bytes = min(RECENT_BYTES, max_bytes // 4)
        self._max_batch = min(MAX_BATCH, max(1, max_bytes // 4))
        self._own = self._session = session
        self._number = 1
        self._waiting: deque[Item] = deque()
        self._unacknowledged: deque[Item] = deque()
        self._memory_bytes = self._flight_bytes = 0
        self._sent = 0  # number of the last batch that was sent
        self._spool = spool
        self._disk = Disk(clock)
        self._reader: Reader | None = None  # of what is on the disk only: after what was sent, before what waits in memory
        self._backlog_events = 0
        self._sent_segment = 0  # up to here segments have batches that may have been sent, and are not given up
        self._acknowledged = Acknowledged()
        self._cursor: dict[str, int] = {}
        self._held: dict[int, Held] = {}
        self._settled: list[int] = []
        if spool is not None:
            self._recover(spool)

    def _recover(self, spool: Spool) -> None:
        self._acknowledged = spool.state.acknowledged
        self._reader = spool.reader(spool.begin)
        self._backlog_events = self.counters.recovered = spool.events
        # What the last agent sent, the collector may have: given up, it would be lost and delivered.
        self._sent_segment = spool.state.sent
        if losses := tuple(spool.losses):
            lost = sum(count for _, count, _, _ in losses)
            self.counters.recovered += lost
            self.counters.lose(SPOOL_CORRUPT, lost)
            self._add(Item(self._own, 0, 0, 0, 0, losses))
        self._store(always=True)
        self._go_on()

    @property
    def held_bytes(self) -> int:
        """What is held in memory now, sent or not, bytes."""
        return self._memory_bytes

    @property
    def held_events(self) -> int:
        """How many events are held now, sent or not, without losses."""
        in_memory = sum(each.events for each in self._waiting) + sum(each.events for each in self._unacknowledged)
        return in_memory + self._backlog_events

    @property
    def unacknowledged(self) -> int:
        """How many batches were sent and not acknowledged."""
        return len(self._unacknowledged)

    @property
    def behind(self) -> bool:
        """Whether more waits than a collector that keeps up would leave."""
        return self._reader is not None or self._memory_bytes > self._recent_bytes

    @property
    def session(self) -> str:
        """The session of what is to be sent now, or was sent and is not acknowledged."""
        return self._session

    @property
    def spool_status(self) -> SpoolStatus:
        """How the spool is."""
        if self._spool is None:
            return SpoolStatus()
        oldest = self._unacknowledged[0] if self._unacknowledged else self._peek()
        age = self._spool.age_s(oldest.segment) if oldest is not None and oldest.segment else 0.0
        state = "ok" if self._disk.refuses_since is None else "refused"
        return SpoolStatus(state, self._spool.size, age, self._disk.errors, self._spool.damaged)

    def __bool__(self) -> bool:
        """Whether anything is left to be delivered, a gap included."""
        return bool(self._unacknowledged) or self._peek() is not None

    def put(self, step: Step) -> int:
        """Take a step in: it is on the disk then, or in memory while the disk refuses. If there is no room, the oldest goes.

        Returns:
            how many bytes it adds to the stream.
        """
        added = 0
        for table in step.ready:
            for item in batches(table, self._own, self._max_batch):
                self.counters.produced += item.events
                if item.data is None:
                    self._lose(item, UNSENDABLE)
                self._add(item)
                added += item.size
        if self._spool is not None:
            self._cursor.update(step.cursor)
            self._settled += [number for number in step.settled if self._held.pop(number, None) is None]
            self._held.update(step.held)
        self._store()
        self._keep_bounds()
        return added

    def tick(self) -> None:
        """Do what is due, about once a second: give up what is too old, try a disk that refused, note acknowledgements."""
        spool = self._spool
        if spool is None or not self._disk.may_be_tried:
            return
        while (expired := spool.expired(self._sent_segment)) and self._give_up(expired, SPOOL_EXPIRED):
            pass
        self._store(always=not self and self._acknowledged != spool.state.acknowledged)
        self._keep_bounds()

    def next(self, after: int) -> Batch | None:
        """Return the batch to write after the one with sequence `after` (0: from the beginning), None if there is none now.

        That is an unacknowledged one when a new connection repeats, else the oldest that waits. None also means that the window
        is full, half of the bound being under way, or that what comes next is of another session, when this one is done.
        """
        under_way = self._unacknowledged
        if under_way and under_way[-1].number > after:
            return self._batch(under_way[bisect_right(under_way, after, key=lambda item: item.number)])
        if under_way and self._flight_bytes >= self._window_bytes:
            return None
        item = self._peek()
        if item is None or item.session != self._session:
            return None
        self._pop()
        if self._spool is not None and item.segment > self._spool.state.sent:
            self._store(always=True)  # that it may have been sent
        batch = self._batch(item)
        under_way.append(item)
        self._flight_bytes += item.size + OVERHEAD
        self._memory_bytes += OVERHEAD
        self._sent = item.number
        return batch

    def acknowledge(self, sequence: int) -> bool:
        """Forget all batches up to this one; return whether there were any. An old acknowledgement changes nothing.

        Raises:
            UnknownSequenceError: no batch was sent under this number.
        """
        if sequence > self._sent and self._session == self._own:
            raise UnknownSequenceError(f"batch {sequence} was acknowledged, but the last one sent is {self._sent}")
        news = False
        while self._unacknowledged and self._unacknowledged[0].number <= sequence:
            item = self._unacknowledged.popleft()
            self._flight_bytes -= item.size + OVERHEAD
            self._memory_bytes -= OVERHEAD
            self._keep(item, None)
            self._note_acknowledged(item)
            news = True
        # An earlier agent may have sent more than this one, even what the disk did not keep.
        while (
            not self._unacknowledged
            and self._session != self._own
            and (known := self._peek()) is not None
            and known.session == self._session
            and known.number <= sequence
        ):
            self._note_acknowledged(self._pop())
            news = True
        if news:
            self._go_on()
        return news

    def close(self) -> None:
        """Note on the disk what was acknowledged, and let go of it; a disk that refused is tried a last time."""
        if self._spool is not None:
            self._disk.retry()
            self._store(always=self._acknowledged != self._spool.state.acknowledged)
            self._spool.close()
            self._spool = None

    def _note_acknowledged(self, item: Item) -> None:
        self.counters.acknowledged += item.events
        if self._spool is not None:
            after = item.after if item.segment else self._spool.written
            self._acknowledged = Acknowledged(item.session, item.number, after, item.segment or self._spool.newest)

    def _go_on(self) -> None:
        """After an acknowledgement: forget what is done, and turn to the next session when this one is."""
        item = self._unacknowledged[0] if self._unacknowledged else self._peek()
        session = self._own if item is None else item.session
        turned = session != self._session
        if turned:
            self._session, self._sent = session, 0
        if self._spool is not None:
            done = self._spool.done(item.segment or None if item is not None else None)
            # First, so that what is gone then is not missed. And the collector remembers a few sessions only: it must not be
            # asked for one that it has long had all of.
            if (done or turned) and self._acknowledged != self._spool.state.acknowledged:
                self._store(always=True)
            self._spool.forget(done)

    # What waits: first the backlog, which is on the disk only, then what is in memory.

    def _peek(self) -> Item | None:
        first = self._waiting[0] if self._waiting else None
        if self._reader is not None and self._spool is not None:
            number = first.first if first is not None else self._number
            before = first.before if first is not None and first.segment else self._spool.written
            item = self._reader.peek(End(self._own, number, before))
            if item is not None and (item.session != self._own or item.number < number):
                return item
            self._reader = None
        return first

    def _pop(self) -> Item:
        if self._reader is not None:
            item = self._reader.pop()
            self._backlog_events -= item.events
        else:
            item = self._waiting.popleft()
            self._memory_bytes -= OVERHEAD
        self._sent_segment = max(self._sent_segment, item.segment)
        return item

    def _add(self, item: Item) -> None:
        item.number = item.first = self._number
        self._number += 1
        self._waiting.append(item)
        self._memory_bytes += len(item.data or b"") + OVERHEAD

    def _keep(self, item: Item, data: bytes | None) -> None:
        """Let an item have these bytes in memory."""
        self._memory_bytes += len(data or b"") - len(item.data or b"")
        item.data = data

    def _batch(self, item: Item) -> Batch:
        data = item.data
        if data is None and self._spool is not None:
            data = self._spool.read(item)
        if data is None:
            data = self._losses_of(item)
        if item.offset >= 0:
            self._keep(item, None)  # the disk has it
        return Batch(item.number, request(item.number, data), item.events)

    def _losses_of(self, item: Item) -> bytes:
        """Return what is to be sent for an item that has no bytes: its losses. If it has events, they are lost."""
        self._lose(item, SPOOL_CORRUPT)
        data = encode(Losses(item.losses).table(self._home, time.time_ns())).SerializeToString()
        self._keep(item, data)
        if not item.segment:
            item.size = len(data)
        return data

    def _lose(self, item: Item, reason: str) -> None:
        """Let an item say that its events are lost, instead of having them."""
        self.counters.lose(reason, item.events)
        losses = Losses(item.losses)
        losses.add(reason, item.events, item.begin, item.end)
        item.losses = tuple(losses)
        item.events, item.offset = 0, -1

    # What the disk has.

    def _store(self, *, always: bool = False) -> None:
        """Write what is not on the disk yet, if it can be written."""
        spool = self._spool
        if spool is None or not self._disk.may_be_tried:
            return
        items = self._unstored()
        changed = self._held or self._settled or not self._cursor.items() <= spool.state.cursor.items()
        if not (items or changed or always):
            return
        # What the disk refused when it was sent comes to be where this record is.
        under_way = bool(self._unacknowledged) and not self._unacknowledged[-1].segment
        sent = None if under_way else self._sent_segment
        update = Update(self._cursor, self._acknowledged, self._held, self._settled, sent)
        try:
            *parts, last = _parts(items, spool.limits.segment_bytes)
            for part in parts:
                spool.append(part, part[-1].number + 1)
            spool.append(last, self._number, update)
        except OSError as error:
            self._disk.refused(error, spool.limits.folder, self._max_bytes)
        else:
            self._disk.took(spool.limits.folder)
            self._cursor, self._held, self._settled = {}, {}, []
        for item in takewhile(lambda each: each.data is not None, reversed(self._unacknowledged)):
            if item.segment:
                self._keep(item, None)
                self._sent_segment = max(self._sent_segment, item.segment)

    def _unstored(self) -> list[Item]:
        """Return what the disk has not: it is newer than all that it has."""
        items = [*takewhile(lambda item: not item.segment, reversed(self._waiting))]
        if len(items) == len(self._waiting) and self._reader is None:
            items += takewhile(lambda item: not item.segment, reversed(self._unacknowledged))
        for item in items:
            if item.data is None:
                self._losses_of(item)
        return items[::-1]

    def _keep_bounds(self) -> None:
        if self._spool is not None:
            # What is on the disk need not be in memory, unless it is what is sent next.
            if self._reader is not None or self._memory_bytes > self._recent_bytes:
                self._spill(self._spool)
            while self._spool.size > self._spool.limits.max_bytes and (oldest := self._spool.oldest(self._sent_segment)):
                if not self._give_up(oldest, SPOOL_FULL):
                    break
        while self._memory_bytes > self._max_bytes and self._give_up_waiting():
            pass

    def _spill(self, spool: Spool) -> None:
        """Let what waits and is on the disk be on the disk only."""
        while self._waiting and self._waiting[0].segment:
            item = self._waiting.popleft()
            self._memory_bytes -= len(item.data or b"") + OVERHEAD
            self._backlog_events += item.events
            if self._reader is None:
                self._reader = spool.reader(item)

    def _give_up(self, segments: list[Segment], reason: str) -> bool:
        """Give up what only the disk has, oldest first; return whether that could be done."""
        if self._spool is None or not self._disk.may_be_tried:
            return False
        self._spill(self._spool)
        try:
            given_up = self._spool.give_up(segments, reason)
        except OSError as error:
            self._disk.refused(error, self._spool.limits.folder, self._max_bytes)
            return False
        self.counters.lose(reason, given_up.events)
        self._backlog_events -= given_up.events
        if self._reader is not None:
            self._reader.rewind(given_up.segments)
        self._go_on()
        return True

    def _give_up_waiting(self) -> bool:
        """Give up what is in memory only, oldest first; return whether there was anything."""
        gap = self._waiting.popleft() if self._waiting and self._waiting[0].data is None else None
        if not self._waiting:
            self._waiting.extend([] if gap is None else [gap])
            return False
        oldest = self._waiting.popleft()
        self._keep(oldest, None)
        self._lose(oldest, QUEUE_FULL)
        if gap is not None:
            self._memory_bytes -= OVERHEAD
            oldest.first = gap.first
            oldest.losses = tuple(Losses((*gap.losses, *oldest.losses)))
        self._waiting.appendleft(oldest)
        return True


def _parts(items: list[Item], most: int) -> list[list[Item]]:
    """Return what fits into a record each, at least one part; a gap in the numbers begins a new one."""
    parts: list[list[Item]] = [[]]
    size = 0
    for item in items:
        if parts[-1] and (size + item.size > most or item.first < item.number):
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += item.size
    return parts
