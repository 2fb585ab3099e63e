"""Reads batches in the order of the stream, and notices those that are missing between them."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from agent.spool.records import Item
from agent.spool.segments import Found, Segment, crosses_end

__all__ = ["End", "Reader", "items_of"]

Records = Callable[[Segment, int], Iterable[Found]]


class End(NamedTuple):
    """Where what is on the disk only ends: in this session, with the batch before this number, after so many events."""

    session: str
    number: int
    events: int


class Reader:
    """Walks over the segments, which may become more, or be replaced where it has not been, on its way.

    `session`, `number` and `events` are what comes next: a session's next number, and what it had written before that. Damage
    takes records away, but the next one says how many events it has before it, and a segment is known to have so many: the
    difference is an item without bytes.
    """

    def __init__(self, segments: Sequence[Segment], records: Records, *, begin: Item) -> None:
        """Begin with the batch that `begin` tells, or what follows it: session, number, events before, segment and record."""
        self._segments = segments
        self._records = records
        self._place = (begin.segment, begin.record)
        self.session, self.number, self.events = begin.session, begin.number, begin.before
        self._items: deque[Item] = deque()
        self._back = (self.session, self.number, self.events)

    def peek(self, end: End) -> Item | None:
        """Return the next batch, None at the end, which is where those go on that are in memory."""
        while not self._items:
            if not self._read_on(end):
                return None
        return self._items[0]

    def pop(self) -> Item:
        """Return the next batch and pass it; there must be one."""
        return self._items.popleft()

    def rewind(self, segments: range) -> None:
        """Begin again with these segments, of which nothing was passed: they were replaced."""
        if self._place[0] in segments:
            self._place = (segments.start, 0)
            if self._items:  # read ahead
                self.session, self.number, self.events = self._back
                self._items.clear()

    def _read_on(self, end: End) -> bool:
        """Take the next record, or note what is missing where one should be; return whether there was either."""
        number, offset = self._place
        for index in range(bisect_left(self._segments, number, key=lambda each: each.number), len(self._segments)):
            segment = self._segments[index]
            for found in self._records(segment, offset if segment.number == number else 0):
                following = self._segments[index + 1] if index + 1 < len(self._segments) else None
                limit = following.first if following is not None and following.session == segment.session else None
                self._take(segment, found, limit)
                return True
            if segment.session == self.session and self._miss(segment.number, segment.last, segment.after, end):
                return True
        if self.session != end.session:
            self.session, self.number, self.events = end.session, 1, 0
        return bool(self._segments) and self._miss(self._segments[-1].number, end.number - 1, end.events, end)

    def _take(self, segment: Segment, found: Found, limit: int | None) -> None:
        self._back = (self.session, self.number, self.events)
        record = found.record
        self._place = (segment.number, found.end if not crosses_end(segment, found) else found.payload)
        if limit is not None and record.batches and record.first >= limit:
            return  # torn, and written again into the next segment
        if record.session != self.session:
            self.session, self.number, self.events = record.session, 1, 0
        if record.last < self.number - 1:
            return  # before the beginning
        self._items += items_of(segment, found, number=self.number, events=self.events)
        self.number, self.events = record.last + 1, record.after

    def _miss(self, segment: int, last: int, after: int, end: End) -> bool:
        """Note that there should be batches up to this number, with so many events; return whether there should."""
        if self.session == end.session:
            last, after = min(last, end.number - 1), min(after, end.events)
        missing = after > self.events and last >= self.number
        if missing:
            self._back = (self.session, self.number, self.events)
            self._items.append(
                Item(self.session, last, after - self.events, 0, 0, first=self.number, segment=segment, after=after)
            )
            self.number, self.events = last + 1, after
        return missing


def items_of(segment: Segment, found: Found, *, number: int, events: int) -> list[Item]:
    """Return a record's batches from `number` on, and before them what is missing since its session had written `events`."""
    record, items = found.record, []
    begin = min((each.begin for each in record.batches), default=0)
    if record.before > events and record.first > number:
        lost = Item(record.session, record.first - 1, record.before - events, begin, begin, first=number)
        lost.segment, lost.record, lost.after = segment.number, found.begin, record.before
        items.append(lost)
    offset, after = found.payload, record.before
    each_number = record.last - len(record.batches)
    for index, batch in enumerate(record.batches):
        each_number += 1
        after += batch.events
        if each_number >= number:
            items.append(
                Item(
                    record.session,
                    each_number,
                    batch.events,
                    batch.begin,
                    batch.end,
                    batch.losses,
                    batch.size,
                    first=record.first if index == 0 else each_number,
                    segment=segment.number,
                    record=found.begin,
                    offset=offset,
                    checksum=batch.checksum,
                    after=after,
                )
            )
        offset += batch.size
    if items:  # a gap has no events, and yet there were some where it stands
        items[-1].after = record.after
    return items
