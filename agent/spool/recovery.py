"""Finds out what an earlier agent left in the folder. Reads the first record of each segment, and all of the newest ones."""

import contextlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from peerwatch.columns import EventColumns
from peerwatch.v1 import ingest_pb2
from peerwatch.wire import decode

from agent.spool.folder import Folder
from agent.spool.losses import Losses
from agent.spool.records import HeldEntry, Item, Record
from agent.spool.segments import EVENTS, Found, Segment, content_of, crosses_end, find, records
from agent.step import Held

__all__ = ["SPOOL_CORRUPT", "Recovery", "held_of", "in_ranges", "recover"]

SPOOL_CORRUPT = "SPOOL_CORRUPT"
"""Reason of a loss: the disk does not give back what was written."""


@dataclass(slots=True)
class Recovery:
    """What was found."""

    segments: list[Segment] = field(default_factory=list)
    newest: Record | None = None
    begin: Item = field(default_factory=lambda: Item("", 1, 0, 0, 0))
    """Where the batches begin that are not acknowledged, as `Reader` takes it."""
    events: int = 0
    """How many events they have, those that damage took among them."""
    held: dict[int, tuple[Held, int]] = field(default_factory=dict)
    """What waits, by id, and which segment has it."""
    losses: Losses = field(default_factory=Losses)
    """What waited and cannot be read."""
    damaged: int = 0
    """Places that are no records."""


def recover(folder: Folder, boot: str) -> Recovery:
    """Return what the segments say. Removes those that say nothing, and those that others replace."""
    out = Recovery()
    out.segments = _without_replaced(folder, [segment for segment in find(folder) if _begin(folder, segment, boot, out)])
    for segment, following in zip(out.segments, [*out.segments[1:], None], strict=False):
        if following is not None and following.session == segment.session:
            if not segment.is_gap:
                segment.last, segment.after, segment.ended = following.first - 1, following.before, following.begun
        else:
            out.newest = _end(folder, segment, boot, out)
    if out.newest is not None:
        _count(folder, out, out.newest)
        _hold(folder, out, out.newest.state.live)
    return out


def _begin(folder: Folder, segment: Segment, boot: str, out: Recovery) -> bool:
    """Note what the first record of a segment says; return whether there is one."""
    found = next(records(folder, segment), None)
    if found is None or _was_never_written(segment, found, boot):
        if (
            folder.read(segment.name, 0, 1) or not segment.size
        ):  # else the disk refuses to read it now, and perhaps not for ever
            out.damaged += found is None and segment.size > 0
            with contextlib.suppress(OSError):
                folder.remove(segment.name)
        return False
    record = found.record
    segment.session, segment.is_gap = record.session, record.replaces > 0
    segment.first, segment.last, segment.before, segment.after = record.first, record.last, record.before, record.after
    segment.begun = segment.ended = record.age
    return True


def _end(folder: Folder, segment: Segment, boot: str, out: Recovery) -> Record:
    """Note what the last record of a segment says, and return it."""
    last = next(records(folder, segment))
    for found in records(folder, segment):
        if _was_never_written(segment, found, boot):
            segment.size = found.begin
            with contextlib.suppress(OSError):  # after a reboot, the next agent would think that it was written
                folder.cut(segment.name, segment.size)
            break
        last = found
    segment.last, segment.after, segment.ended = last.record.last, last.record.after, last.record.age
    out.damaged += last.end < segment.size
    return last.record


def _was_never_written(segment: Segment, found: Found, boot: str) -> bool:
    """Say whether an agent was killed while it wrote this record: then the kernel's buffers still have what is in it.

    After a reboot they have not: then the record stands, and what it lacks is lost.
    """
    return crosses_end(segment, found) and found.record.boot == boot


def _without_replaced(folder: Folder, segments: list[Segment]) -> list[Segment]:
    """Remove what an agent that died had just replaced."""
    kept: list[Segment] = []
    for segment in segments:
        if segment.is_gap:
            begin = next(records(folder, segment)).record.replaces
            replaced = [each for each in segments if begin <= each.number <= segment.number and each is not segment]
            for each in replaced:
                with contextlib.suppress(OSError):
                    folder.remove(each.name)
            kept = [each for each in kept if each not in replaced]
        if not any(each.is_gap and each.number == segment.number for each in kept):
            kept.append(segment)
    return kept


def _count(folder: Folder, out: Recovery, newest: Record) -> None:
    """Find where what is not acknowledged begins, and how many events it has.

    What damage took counts as part of the segment before it, or after it if there is none: all that was written is in one.
    """
    acknowledged = newest.state.acknowledged
    # Sessions follow each other: what is before the acknowledged one is acknowledged, too. Of that one nothing may be left,
    # while tables that wait have kept segments of sessions before it.
    start = next((index for index, each in enumerate(out.segments) if each.session == acknowledged.session), None)
    session, number, events = "", 0, 0
    if start is None:
        start = next((at for at, each in enumerate(out.segments) if each.number > acknowledged.segment), len(out.segments))
        out.begin = Item("", 1, 0, 0, 0, segment=acknowledged.segment + 1)
    else:
        session, number, events = acknowledged.session, acknowledged.number, acknowledged.events
        out.begin = Item(session, number + 1, 0, 0, 0, after=events, segment=out.segments[start].number)
    for segment in out.segments[start:]:
        if segment.session != session:
            session, number, events = segment.session, 0, 0
        missing = segment.before - events if segment.first > number + 1 else 0
        if missing > 0:
            segment.first, segment.before = number + 1, events
            if segment.is_gap:
                segment.content = content_of(folder, segment)
                segment.content.add(EVENTS, missing, 0, 0)
        out.events += max(0, missing if segment.is_gap else segment.after - max(segment.before, events))
        number, events = max(number, segment.last), max(events, segment.after)


def _hold(folder: Folder, out: Recovery, live: Sequence[tuple[int, int]]) -> None:
    """Find the tables that wait. They wait for seconds only, so they are in the newest segments."""
    left = sum(end - begin + 1 for begin, end in live)
    for segment in reversed(out.segments):
        if not left:
            return
        for entry, data in held_of(folder, segment, records(folder, segment), live):
            left -= 1
            table = _table(data, entry.checksum)
            if table is None:
                out.losses.add(SPOOL_CORRUPT, entry.events, entry.begin, entry.end)
            else:
                out.held[entry.id] = (Held(table, entry.until), segment.number)
    out.damaged += left > 0


def _table(data: bytes, checksum: int) -> EventColumns | None:
    if zlib.crc32(data) != checksum:
        return None
    try:
        return decode(ingest_pb2.EventColumns.FromString(data))
    except (ValueError, DecodeError):  # written by another version
        return None


def held_of(
    folder: Folder, segment: Segment, found: Iterable[Found], live: Sequence[tuple[int, int]]
) -> Iterator[tuple[HeldEntry, bytes]]:
    """Yield those tables of a segment's records that wait, and their bytes as they are on the disk."""
    for each in found:
        offset = each.payload + sum(batch.size for batch in each.record.batches)
        for entry in each.record.held:
            if in_ranges(live, entry.id):
                yield entry, folder.read(segment.name, offset, entry.size)
            offset += entry.size


def in_ranges(ranges: Sequence[tuple[int, int]], number: int) -> bool:
    """Say whether a number is in one of the ranges."""
    return any(begin <= number <= end for begin, end in ranges)
