"""Events on their way to the collector: what waits, what was sent and is not acknowledged, and what had to be given up. No I/O.

    put ──▶ waiting (oldest is given up first) ──▶ next ──▶ unacknowledged (never given up) ──▶ acknowledge

Memory is bounded in bytes. What is given up leaves a gap at its place in the stream: loss events that say how many, from when
to when and why. So produced = acknowledged + held + lost holds at each moment, and once nothing is held, produced = delivered +
reported lost.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from peerwatch.columns import ColumnsBuilder, EventColumns, EventKind
from peerwatch.subjects import Subject
from peerwatch.v1 import ingest_pb2
from peerwatch.wire import encode

__all__ = ["Batch", "Counters", "Outbox", "UnknownSequenceError"]

MAX_BYTES = 32 << 20
"""Default bound of all that is held, bytes: at 170 bytes an event some 200,000, minutes of a busy node."""

MAX_BATCH = 1 << 20
"""Larger tables are cut in two, bytes: gRPC servers refuse messages over 4 MiB by default, and a stream should flow."""

OVERHEAD = 512
"""What holding a batch costs beyond its bytes, so that many tiny tables cannot break the bound."""

MAX_COUNT = 2**32 - 1
"""Most events that one loss event can report: its column is a uint32."""

QUEUE_FULL = "QUEUE_FULL"
"""Reason of a loss: the collector was away or slow for longer than the outbox is large."""

UNSENDABLE = "UNSENDABLE"
"""Reason of a loss: an event has no wire form, or one larger than a batch may be."""


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
    """Events since the start, loss events not among them. `lost`: given up here, by reason."""

    produced: int = 0
    acknowledged: int = 0
    lost: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Missing:
    count: int
    begin: int
    end: int


class _Gap:
    """Events that are missing before the oldest that waits, by reason."""

    def __init__(self) -> None:
        self.missing: dict[str, _Missing] = {}

    def add(self, reason: str, count: int, begin: int, end: int) -> None:
        known = self.missing.get(reason)
        if known is None:
            self.missing[reason] = _Missing(count, begin, end)
        else:
            known.count += count
            known.begin = min(known.begin, begin)
            known.end = max(known.end, end)

    def table(self, home: Subject) -> EventColumns:
        """Return loss events, each at the time of the last event that it stands for."""
        builder = ColumnsBuilder()
        subject = builder.subject(home)
        for reason, missing in self.missing.items():
            left = missing.count
            while left:
                count = min(left, MAX_COUNT)
                builder.loss(missing.end, subject, reason=reason, count=count, begin=missing.begin, end=missing.end)
                left -= count
        return builder.build()


@dataclass(frozen=True, slots=True)
class _Waiting:
    columns: bytes
    events: int
    begin: int
    end: int
    losses: tuple[tuple[str, int, int, int], ...]

    @property
    def size(self) -> int:
        return len(self.columns) + OVERHEAD


class Outbox:
    """Holds tables until they are acknowledged. Not thread safe: it belongs to one event loop."""

    def __init__(self, cluster: str, node: str, max_bytes: int = MAX_BYTES) -> None:
        """`cluster` and `node` are whose losses are reported; `max_bytes` bounds what is held, sent or not."""
        self.counters = Counters()
        self._home = Subject(cluster, node)
        self._max_bytes = max_bytes
        # Half for what is under way, so that there is always room for what is new.
        self._window_bytes = max_bytes // 2
        self._max_batch = min(MAX_BATCH, max(1, max_bytes // 4))
        self._gap = _Gap()
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._unacknowledged: deque[Batch] = deque()
        self._unacknowledged_bytes = 0
        self._sequence = 0

    @property
    def held_bytes(self) -> int:
        """What is held now, sent or not, bytes."""
        return self._waiting_bytes + self._unacknowledged_bytes

    @property
    def held_events(self) -> int:
        """How many events are held now, sent or not, without losses."""
        return sum(each.events for each in self._waiting) + sum(each.events for each in self._unacknowledged)

    @property
    def unacknowledged(self) -> int:
        """How many batches were sent and not acknowledged."""
        return len(self._unacknowledged)

    def __bool__(self) -> bool:
        """Whether anything is left to be delivered, a gap included."""
        return bool(self._unacknowledged or self._waiting or self._gap.missing)

    def put(self, table: EventColumns) -> None:
        """Take a table in. The oldest that waits is given up when the bound is passed, at worst this one."""
        self.counters.produced += int(np.count_nonzero(table.kind != EventKind.LOSS))
        for part in self._parts(table):
            self._waiting.append(part)
            self._waiting_bytes += part.size
        while self._waiting and self.held_bytes > self._max_bytes:
            oldest = self._waiting.popleft()
            self._waiting_bytes -= oldest.size
            self._give_up(QUEUE_FULL, oldest.events, oldest.begin, oldest.end, oldest.losses)

    def next(self, after: int) -> Batch | None:
        """Return the batch to write after the one with sequence `after` (0: from the beginning), None if there is none now.

        That is an unacknowledged one when a new connection repeats, else the oldest that waits, which has its number from now
        on. None also means that the window is full: half of the bound is under way.
        """
        if self._unacknowledged and self._unacknowledged[-1].sequence > after:
            first = self._unacknowledged[0].sequence
            return self._unacknowledged[max(0, after + 1 - first)]
        if self._unacknowledged and self._unacknowledged_bytes >= self._window_bytes:
            return None
        if self._gap.missing:
            gap, self._gap = self._gap.table(self._home), _Gap()
            return self._send(encode(gap).SerializeToString(), 0)
        if not self._waiting:
            return None
        oldest = self._waiting.popleft()
        self._waiting_bytes -= oldest.size
        return self._send(oldest.columns, oldest.events)

    def acknowledge(self, sequence: int) -> bool:
        """Forget all batches up to this one; return whether there were any. An old acknowledgement changes nothing.

        Raises:
            UnknownSequenceError: no batch was sent under this number.
        """
        if sequence > self._sequence:
            raise UnknownSequenceError(f"batch {sequence} was acknowledged, but the last one sent is {self._sequence}")
        news = False
        while self._unacknowledged and self._unacknowledged[0].sequence <= sequence:
            batch = self._unacknowledged.popleft()
            self._unacknowledged_bytes -= len(batch.request) + OVERHEAD
            self.counters.acknowledged += batch.events
            news = True
        return news

    def _send(self, columns: bytes, events: int) -> Batch:
        self._sequence += 1
        message = ingest_pb2.EventBatch(sequence=self._sequence, columns=ingest_pb2.EventColumns.FromString(columns))
        batch = Batch(self._sequence, ingest_pb2.StreamRequest(batch=message).SerializeToString(), events)
        self._unacknowledged.append(batch)
        self._unacknowledged_bytes += len(batch.request) + OVERHEAD
        return batch

    def _parts(self, table: EventColumns) -> Iterator[_Waiting]:
        """Yield the table, in parts if it is too large for one batch; what no batch can hold is given up."""
        if not len(table):
            return
        try:
            columns = encode(table).SerializeToString()
        except ValueError:  # a string that is not UTF-8
            columns = None
        if columns is not None and len(columns) <= self._max_batch:
            yield _waiting(table, columns)
        elif len(table) == 1:
            alone = _waiting(table, b"")
            self._give_up(UNSENDABLE, alone.events, alone.begin, alone.end, alone.losses)
        else:
            for rows in np.array_split(np.arange(len(table)), 2):
                half = ColumnsBuilder()
                half.extend(table.take(rows))  # leaves behind what only the other half refers to
                yield from self._parts(half.build())

    def _give_up(self, reason: str, events: int, begin: int, end: int, losses: tuple[tuple[str, int, int, int], ...]) -> None:
        if events:
            self._gap.add(reason, events, begin, end)
            self.counters.lost[reason] = self.counters.lost.get(reason, 0) + events
        # Losses that were on their way keep their own reason: they are told with this gap.
        for loss in losses:
            if loss[1]:
                self._gap.add(*loss)


def _waiting(table: EventColumns, columns: bytes) -> _Waiting:
    losses = table.losses
    return _Waiting(
        columns=columns,
        events=int(np.count_nonzero(table.kind != EventKind.LOSS)),
        begin=int(table.time.min()),
        end=int(table.time.max()),
        losses=tuple(
            zip(
                (table.strings[reason] for reason in losses.reason.tolist()),
                losses.count.tolist(),
                losses.begin.tolist(),
                losses.end.tolist(),
                strict=True,
            )
        ),
    )
