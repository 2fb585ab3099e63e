"""Segments, the files of the spool: which there are, and the records in them, found again behind damage.

A name says the place in the order, which is never used again, and the seed of the checksums. A segment is written by one agent;
the next one begins its own.
"""

import re
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from agent.spool.folder import Folder
from agent.spool.losses import Losses
from agent.spool.records import HEADER, MAGIC, Record, meta_size, unpack

__all__ = ["EVENTS", "Found", "Segment", "content_of", "crosses_end", "find", "new_segment", "records"]

_NAME = re.compile(r"(\d{12,18})-[0-9a-f]{16}\.spool")

_MOST_SIZE = 512 << 20
"""A larger file is none of ours, bytes: a segment is closed at 8 MiB, and one step is far from this."""

EVENTS = ""
"""Stands for the reason why events are given up, which is not known before."""

_AT_ONCE = 4096
"""Bytes read for a header: most records say what they say within."""

_SEARCHED = 1 << 20
"""Bytes read at a time in search of the next record."""


@dataclass(slots=True)
class Segment:
    """One file, and what is known of its records; numbers and counts are of `session`, to which all of them belong."""

    number: int
    name: str
    size: int = 0
    session: str = ""
    first: int = 1
    last: int = 0
    """Smaller than `first` if it has no batches."""
    before: int = 0
    after: int = 0
    begun: int = 0
    """Age of the spool at the first record."""
    ended: int = 0
    """… at the last one."""
    is_gap: bool = False
    """It only says what was given up where it stands."""
    content: Losses | None = None
    """What would be lost with it: its events, as `EVENTS`, and the losses that it reports. None: nobody has looked."""

    @property
    def seed(self) -> int:
        """With what its checksums begin."""
        return zlib.crc32(self.name.encode())


class Found(NamedTuple):
    """A record, where it begins, and where its batches do."""

    begin: int
    record: Record
    payload: int

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.payload + self.record.size


def new_segment(number: int) -> Segment:
    """Return a segment without a file."""
    return Segment(number, f"{number:012d}-{secrets.token_hex(8)}.spool")


def find(folder: Folder) -> list[Segment]:
    """Return the segments of a folder in order."""
    segments = []
    for name in folder.names():
        match = _NAME.fullmatch(name)
        size = folder.size(name) if match else None
        if match and size is not None and size <= _MOST_SIZE:
            segments.append(Segment(int(match[1]), name, size))
    return sorted(segments, key=lambda segment: segment.number)


def records(folder: Folder, segment: Segment, begin: int = 0) -> Iterator[Found]:
    """Yield the records from a place on; what is none is passed over up to the next that is one."""
    while begin < segment.size:
        found = _at(folder, segment, begin) or _behind(folder, segment, begin + 1)
        if found is None:
            return
        yield found
        # What a torn record lacks may hide the next one, written after the disk refused the rest of it.
        begin = found.end if not crosses_end(segment, found) else found.payload


def crosses_end(segment: Segment, found: Found) -> bool:
    """Say whether a record is torn: not all of its batches are there."""
    return found.end > segment.size


def content_of(folder: Folder, segment: Segment) -> Losses:
    """Return what the batches of a segment have: see `Segment.content`."""
    content = Losses()
    for found in records(folder, segment):
        for batch in found.record.batches:
            content.update(batch.losses)
            content.add(EVENTS, batch.events, batch.begin, batch.end)
    return content


def _at(folder: Folder, segment: Segment, begin: int) -> Found | None:
    data = folder.read(segment.name, begin, _AT_ONCE)
    size = meta_size(data, segment.seed)
    payload = begin + HEADER.size + (size or 0)
    if size is None or payload > segment.size:
        return None
    meta = data[HEADER.size :][:size]
    if len(meta) < size:
        meta += folder.read(segment.name, begin + HEADER.size + len(meta), size - len(meta))
    record = unpack(data[: HEADER.size], meta, segment.seed)
    return None if record is None else Found(begin, record, payload)


def _behind(folder: Folder, segment: Segment, begin: int) -> Found | None:
    """Return the first record from a place on."""
    while begin < segment.size:
        data = folder.read(segment.name, begin, _SEARCHED)
        place = data.find(MAGIC)
        while place >= 0:
            found = _at(folder, segment, begin + place)
            if found is not None:
                return found
            place = data.find(MAGIC, place + 1)
        if len(data) < len(MAGIC):
            break
        begin += len(data) - len(MAGIC) + 1
    return None
