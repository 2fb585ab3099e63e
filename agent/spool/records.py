"""The bytes of a record: a header, what the record says in JSON, and its batches and waiting tables one after the other.

Every record also says all that is small and that the next agent must know, so the newest one alone will do. Checksums begin
with a seed, random for each segment: containers choose bytes that end up in records, an address for example, and without the
seed they could write a record into one that a search behind damage would take for ours.

Pure functions of bytes. What is read is not trusted: it is whole and makes sense, or it is no record.
"""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.spool.losses import Loss

__all__ = [
    "HEADER",
    "MAGIC",
    "Acknowledged",
    "BatchEntry",
    "HeldEntry",
    "Item",
    "Record",
    "State",
    "meta_size",
    "pack",
    "unpack",
]

MAGIC = b"\xf5PW\x01"
"""Begins each record. 0xf5 is in no text that is UTF-8."""

HEADER = struct.Struct("<4sIQII")
"""Magic, length of the JSON, length of what follows it, checksum of the JSON, checksum of this header up to here."""

_SUMMED = HEADER.size - 4

_ENCODER = json.JSONEncoder(separators=(",", ":"))

MOST_META = 64 << 20
"""Longest JSON, bytes: 100 bytes for each batch of a record make it a few MiB at worst."""


@dataclass(slots=True)
class Item:
    """A batch of events under its number in the stream of a session, and where its bytes are: in memory, on disk, or both.

    One that has bytes in neither place is what `losses` say, if it has no events; otherwise its events are lost.
    """

    session: str
    number: int
    events: int
    begin: int
    end: int
    losses: tuple[Loss, ...] = ()
    """Those among the rows of the batch; they are no events."""
    size: int = 0
    data: bytes | None = None
    first: int = 0
    """It also stands for the numbers from here on, whose batches were given up."""
    segment: int = 0
    """The segment that has it, 0 if none has."""
    record: int = 0
    """Where in the segment its record begins."""
    offset: int = -1
    """Where in the segment its bytes are; negative: nowhere."""
    checksum: int = 0
    after: int = 0
    """How many events the session had written to the disk with it."""

    @property
    def before(self) -> int:
        """How many events the session had written to the disk before it."""
        return self.after - self.events


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """What a record says of one of its batches."""

    size: int
    checksum: int
    events: int
    begin: int
    end: int
    losses: tuple[Loss, ...]


@dataclass(frozen=True, slots=True)
class HeldEntry:
    """What a record says of a table that waits: its number, which no other in the spool's life has, and until when."""

    id: int
    until: int
    size: int
    checksum: int
    events: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """How far the collector has everything: session, number, and how many events the session had written up to there.

    `segment` is the newest that had anything of it: nothing in those before is to be delivered, whatever else keeps them, and
    also when nothing of the session is left. A collector forgets old sessions, and would take what it has once more.
    """

    session: str = ""
    number: int = 0
    events: int = 0
    segment: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What holds at the time of a record and is repeated by each."""

    acknowledged: Acknowledged = Acknowledged()
    cursor: dict[str, int] = field(default_factory=dict)
    live: tuple[tuple[int, int], ...] = ()
    """Which tables wait, as ranges of their ids, both ends included."""
    next_id: int = 1
    sent: int = 0
    """Number of the last segment of which something may have been sent."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a record says. Its batches are numbered up to `last`; `first` is smaller where some were given up before them."""

    cluster: str
    node: str
    session: str
    boot: str
    time: int
    """Boot clock, ns."""
    age: int
    """How long the spool was in use, ns: see `agent.spool.age`."""
    first: int
    last: int
    before: int
    """How many events the session had written before this record."""
    after: int
    replaces: int
    """This record stands in place of the segments from this one up to its own; 0 if it replaces none."""
    state: State
    batches: tuple[BatchEntry, ...] = ()
    held: tuple[HeldEntry, ...] = ()

    @property
    def size(self) -> int:
        """How many bytes batches and tables have together."""
        return sum(each.size for each in self.batches) + sum(each.size for each in self.held)


def pack(record: Record, payloads: Sequence[bytes], seed: int) -> bytes:
    """Return the bytes of a record; `payloads` are those of its batches, then those of its tables."""
    meta = _meta(record)
    head = HEADER.pack(MAGIC, len(meta), record.size, zlib.crc32(meta, seed), 0)[:_SUMMED]
    return b"".join((head, zlib.crc32(head, seed).to_bytes(4, "little"), meta, *payloads))


def meta_size(header: bytes, seed: int) -> int | None:
    """Return the length of the JSON after this header, or None if this is no header."""
    if len(header) < HEADER.size or not header.startswith(MAGIC):
        return None
    _, size, _, _, checksum = HEADER.unpack_from(header)
    known: bool = checksum == zlib.crc32(header[:_SUMMED], seed) and size <= MOST_META
    return int(size) if known else None


def unpack(header: bytes, meta: bytes, seed: int) -> Record | None:
    """Return the record of a header that `meta_size` took and of its JSON, or None if they are none."""
    _, _, size, checksum, _ = HEADER.unpack_from(header)
    if zlib.crc32(meta, seed) != checksum:
        return None
    try:
        record = _record(json.loads(meta))
    except (ValueError, TypeError, KeyError, AttributeError):  # written by another version: its own business
        return None
    return record if record.size == size and record.first <= record.last + 1 - len(record.batches) else None


def _meta(record: Record) -> bytes:
    state = record.state
    acknowledged = state.acknowledged
    said = {
        "cluster": record.cluster,
        "node": record.node,
        "session": record.session,
        "boot": record.boot,
        "time": record.time,
        "age": record.age,
        "numbers": [record.first, record.last],
        "events": [record.before, record.after],
        "replaces": record.replaces,
        "acknowledged": [acknowledged.session, acknowledged.number, acknowledged.events, acknowledged.segment],
        "cursor": state.cursor,
        "live": state.live,
        "next": state.next_id,
        "sent": state.sent,
        "batches": [[each.size, each.checksum, each.events, each.begin, each.end, each.losses] for each in record.batches],
        "held": [[each.id, each.until, each.size, each.checksum, each.events, each.begin, each.end] for each in record.held],
    }
    return _ENCODER.encode(said).encode()


def _record(said: dict[str, Any]) -> Record:
    session, *acknowledged = said["acknowledged"]
    first, last = map(_whole, said["numbers"])
    before, after = map(_whole, said["events"])
    return Record(
        cluster=str(said["cluster"]),
        node=str(said["node"]),
        session=str(said["session"]),
        boot=str(said["boot"]),
        time=_whole(said["time"]),
        age=_whole(said["age"]),
        first=first,
        last=last,
        before=before,
        after=after,
        replaces=_whole(said["replaces"]),
        state=State(
            acknowledged=Acknowledged(str(session), *map(_whole, acknowledged)),
            cursor={str(key): int(value) for key, value in said["cursor"].items()},
            live=tuple((_whole(begin), _whole(end)) for begin, end in said["live"]),
            next_id=_whole(said["next"]),
            sent=_whole(said["sent"]),
        ),
        batches=tuple(
            BatchEntry(*_wholes(size, checksum, count, begin, end), tuple(_loss(*loss) for loss in losses))
            for size, checksum, count, begin, end, losses in said["batches"]
        ),
        held=tuple(HeldEntry(*map(_whole, numbers)) for numbers in said["held"]),
    )


def _loss(reason: str, count: int, begin: int, end: int) -> Loss:
    return str(reason), _whole(count), _whole(begin), _whole(end)


def _wholes(size: int, checksum: int, events: int, begin: int, end: int) -> tuple[int, int, int, int, int]:
    return _whole(size), _whole(checksum), _whole(events), _whole(begin), _whole(end)


def _whole(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count, time or size")
    return value
