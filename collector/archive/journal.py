"""The write-ahead log: what was received is on disk here before it is acknowledged, and until the archive has it.

A segment is a file of frames. A frame is a header (magic, length, CRC-32, plain length) and a zstd-compressed record: node,
session, sequence and the event columns as they came. A torn or corrupted frame costs its own record only: reading goes on at
the next magic. A collector never appends to a segment of an earlier run.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from google.protobuf.message import DecodeError
from peerwatch.v1 import ingest_pb2

from collector.errors import StorageError

__all__ = ["Journal", "JournalRecord", "ReadReport", "Segment", "read_segment"]

SEGMENT_BYTES = 8 << 20
"""A segment is closed at this size: about 400,000 events, which the archive seals in a second or two."""

SEGMENT_AGE_NS = 300 * 1_000_000_000
"""… or at this age, nanoseconds: a quiet cluster then gets twelve archive files an hour."""

PLAIN_MAX = 64 << 20
"""Largest record, bytes: four times the largest gRPC message. A header that says more is corrupt."""

_MAGIC = b"PWJ\x01"
_HEADER = struct.Struct("<4sIII")
_RECORD = struct.Struct("<qI")
_SUFFIX = ".journal"


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """One batch as it was accepted; `received` is the collector's wall clock, nanoseconds since 1970."""

    received: int
    hello: ingest_pb2.Hello
    batch: ingest_pb2.EventBatch

    def pack(self) -> bytes:
        """Return the bytes of the record."""
        hello = self.hello.SerializeToString()
        return _RECORD.pack(self.received, len(hello)) + hello + self.batch.SerializeToString()

    @classmethod
    def unpack(cls, data: bytes) -> "JournalRecord":
        """Return the record of these bytes.

        Raises:
            ValueError: they are none.
        """
        try:
            received, length = _RECORD.unpack_from(data)
            begin = _RECORD.size
            hello = ingest_pb2.Hello.FromString(data[begin : begin + length])
            batch = ingest_pb2.EventBatch.FromString(data[begin + length :])
        except (struct.error, DecodeError) as error:
            raise ValueError(f"not a journal record: {error}") from error
        return cls(received, hello, batch)


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the journal. Numbers rise and are never used twice."""

    number: int
    path: Path


@dataclass(slots=True)
class ReadReport:
    """What reading segments found: whole records, and damage in frames and bytes."""

    records: int = 0
    damaged: int = 0
    damaged_bytes: int = 0


class Journal:
    """Appends records to the newest segment and knows the closed ones. Not thread safe.

    Args:
        directory: holds the segments; made if missing.
        after: the highest segment number that was ever used, from the state.
    """

    def __init__(
        self, directory: Path, *, after: int = 0, segment_bytes: int = SEGMENT_BYTES, segment_age_ns: int = SEGMENT_AGE_NS
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._segment_age_ns = segment_age_ns
        self._codec = pa.Codec("zstd")
        self._closed = sorted(
            (Segment(int(path.stem), path) for path in directory.glob(f"*{_SUFFIX}") if path.stem.isdigit()),
            key=lambda segment: segment.number,
        )
        self._next = max([after, *(segment.number for segment in self._closed)]) + 1
        self._file: BinaryIO | None = None
        self._open: Segment | None = None
        self._size = 0
        self._since = 0

    @property
    def closed(self) -> tuple[Segment, ...]:
        """Segments that get no more records, oldest first."""
        return tuple(self._closed)

    def append(self, records: Sequence[JournalRecord]) -> None:
        """Write records and wait until they are on disk: all or none.

        Raises:
            StorageError: the disk is full or broken; nothing of `records` is kept.
        """
        if not records:
            return
        frames = b"".join(self._frame(record.pack()) for record in records)
        try:
            file = self._file or self._begin(records[0].received)
            rest = memoryview(frames)
            while rest:  # a disk that fills up takes a part without an error
                rest = rest[os.write(file.fileno(), rest) :]
            os.fsync(file.fileno())
        except OSError as error:
            self._abandon()
            raise StorageError(
                f"cannot write the journal in {self._directory}: {error.strerror or error}; nothing was acknowledged and"
                " agents keep their events; free space or repair the disk"
            ) from error
        self._size += len(frames)

    def _frame(self, plain: bytes) -> bytes:
        data = self._codec.compress(plain, asbytes=True)
        return _HEADER.pack(_MAGIC, len(data), zlib.crc32(data), len(plain)) + data

    def _begin(self, now: int) -> BinaryIO:
        segment = Segment(self._next, self._directory / f"{self._next:012d}{_SUFFIX}")
        self._next += 1
        self._file = segment.path.open("xb", buffering=0)
        self._open, self._size, self._since = segment, 0, now
        _sync_directory(self._directory)
        return self._file

    def _abandon(self) -> None:
        """Take back what a failed append may have written, and go on in a new segment: this file's tail is not known."""
        if self._file is None or self._open is None:
            return
        with contextlib.suppress(OSError):
            self._file.truncate(self._size)
            os.fsync(self._file.fileno())
        self._close()

    def _close(self) -> None:
        file, segment = self._file, self._open
        self._file = self._open = None
        if file is None or segment is None:
            return
        with contextlib.suppress(OSError):
            file.close()
        if self._size:
            self._closed.append(segment)
        else:
            segment.path.unlink(missing_ok=True)

    def rotate(self, now: int, *, force: bool = False) -> None:
        """Close the open segment if it is large or old enough, or in any case with `force`."""
        if force or self._size >= self._segment_bytes or now - self._since >= self._segment_age_ns:
            self._close()

    def close(self) -> None:
        """Close the open segment; the next run finds it."""
        self._close()

    def remove(self, segment: Segment) -> None:
        """Delete a closed segment that the archive holds now."""
        segment.path.unlink(missing_ok=True)
        self._closed = [each for each in self._closed if each != segment]

    def open_all(self) -> list[tuple[BinaryIO, int]]:
        """Return every segment, opened, with its length now: what is removed later can still be read from these."""
        opened: list[tuple[BinaryIO, int]] = [
            (segment.path.open("rb"), segment.path.stat().st_size) for segment in self._closed
        ]
        if self._open is not None:
            opened.append((self._open.path.open("rb"), self._size))
        return opened


def read_segment(file: BinaryIO, report: ReadReport, length: int | None = None) -> Iterator[JournalRecord]:
    """Yield the whole records of a segment in order; damage is counted in `report` and passed over."""
    data = file.read() if length is None else file.read(length)
    codec = pa.Codec("zstd")
    place = 0
    while place < len(data):
        record, end = _read_frame(codec, data, place)
        if record is not None:
            report.records += 1
            yield record
            place = end
            continue
        following = data.find(_MAGIC, place + 1)
        end = len(data) if following < 0 else following
        report.damaged += 1
        report.damaged_bytes += end - place
        place = end


def _read_frame(codec: pa.Codec, data: bytes, place: int) -> tuple[JournalRecord | None, int]:
    if len(data) - place < _HEADER.size:
        return None, place
    magic, length, checksum, plain = _HEADER.unpack_from(data, place)
    begin = place + _HEADER.size
    frame = data[begin : begin + length]
    if magic != _MAGIC or len(frame) != length or plain > PLAIN_MAX or zlib.crc32(frame) != checksum:
        return None, place
    try:
        return JournalRecord.unpack(codec.decompress(frame, decompressed_size=plain, asbytes=True)), begin + length
    except (ValueError, OSError):
        return None, place


def _sync_directory(directory: Path) -> None:
    """Make a new or renamed entry of the directory durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
