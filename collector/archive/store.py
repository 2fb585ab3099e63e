"""The archive: sealed Parquet files by hour, made from closed segments of the journal, never changed afterwards.

`write` makes the files of a segment under names that follow from the segment's number: doing it again after a crash gives the
same files. Only files that the state names belong to the archive.
"""

import datetime
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from peerwatch import wire
from peerwatch.columns import NANOSECONDS, EventColumns

from collector.archive.decode import from_arrow
from collector.archive.encode import to_arrow
from collector.archive.journal import JournalRecord, ReadReport, Segment, read_segment
from collector.archive.schema import SCHEMA
from collector.archive.selection import Selection
from collector.archive.timeorder import Source, merge
from collector.archive.unsettled import without_marks
from collector.state import ArchiveFile

__all__ = ["Archive", "Snapshot"]

HOUR_NS = 3600 * NANOSECONDS

HOURS_MAX = 48
"""A segment spans minutes; events of a clock that runs wild make no more files than this, the rest go into one."""

MIXED = "mixed"
"""Folder of files whose events belong to too many hours."""

ROW_GROUP = 65_536
BATCH_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What exists at one moment: sealed files, and opened segments of the journal that are not among them."""

    files: Sequence[ArchiveFile]
    segments: Sequence[tuple[BinaryIO, int]]


class Archive:
    """Writes and reads the Parquet files of one directory."""

    def __init__(self, directory: Path, complete: Callable[[EventColumns], EventColumns] = lambda table: table) -> None:
        """`complete` gives names to events that had none when they came: on their way into the archive, and out of it."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._complete = complete

    def write(self, segment: Segment, report: ReadReport) -> list[ArchiveFile]:
        """Write the events of a closed segment; they are durable when this returns.

        Raises:
            OSError: the disk is full or broken; the segment stays.
        """
        with segment.path.open("rb") as file:
            table = _arrow(map(self._complete, _tables(read_segment(file, report))))
        if not table.num_rows:
            return []
        hours = pc.cast(table.column("time"), pa.int64()).to_numpy() // HOUR_NS
        distinct = np.unique(hours)
        own, rest = distinct[-HOURS_MAX:], distinct[:-HOURS_MAX]
        written = [self._put(segment, _partition(int(hour)), table.filter(pa.array(hours == hour))) for hour in own]
        if len(rest):
            written.append(self._put(segment, MIXED, table.filter(pa.array(np.isin(hours, rest)))))
        return written

    def _put(self, segment: Segment, folder: str, table: pa.Table) -> ArchiveFile:
        table = table.sort_by("time")
        path = self._directory / folder / f"{segment.number:012d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd", row_group_size=ROW_GROUP)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        temporary.replace(path)
        for directory in (path.parent, path.parent.parent, self._directory):
            _sync(directory)
        times = pc.cast(table.column("time"), pa.int64()).to_numpy()
        return ArchiveFile(
            f"{folder}/{path.name}", segment.number, table.num_rows, size, min_time=int(times[0]), max_time=int(times[-1])
        )

    def scan(self, snapshot: Snapshot, selection: Selection) -> Generator[EventColumns, None, None]:
        """Yield the selected events in time order, sealed or not. Closes the snapshot's segments."""
        sources = [Source(file.min_time, partial(self._read, file, selection)) for file in snapshot.files]
        for file, length in snapshot.segments:
            with file:
                held = list(selection.filter(map(self._told, _tables(read_segment(file, ReadReport(), length)))))
            if held:
                table = EventColumns.concatenate(held).sorted_by_time()
                sources.append(Source(int(table.time[0]), partial(iter, (table,))))
        yield from merge(sources)

    def _read(self, file: ArchiveFile, selection: Selection) -> Iterator[EventColumns]:
        dataset = ds.dataset(self._directory / file.path, schema=SCHEMA, format="parquet")
        batches = dataset.to_batches(
            filter=_expression(selection), batch_size=BATCH_ROWS, batch_readahead=1, fragment_readahead=1, use_threads=False
        )
        for batch in batches:
            if batch.num_rows:
                # The Parquet filter sees names as they were written; whose an event is by now is decided in one place.
                yield selection.apply(self._told(from_arrow(pa.Table.from_batches([batch]))))

    def _told(self, table: EventColumns) -> EventColumns:
        return without_marks(self._complete(table))


def _partition(hour: int) -> str:
    begin = datetime.datetime.fromtimestamp(hour * 3600, datetime.UTC)
    return f"date={begin:%Y-%m-%d}/hour={begin:%H}"


def _tables(records: Iterable[JournalRecord]) -> Iterator[EventColumns]:
    return (wire.decode(record.batch.columns) for record in records if record.batch.columns.rows)


def _arrow(tables: Iterable[EventColumns]) -> pa.Table:
    """Return all events of a segment as one Arrow table; subjects that several batches share are numbered once."""
    numbers: dict[object, int] = {}
    processes = 0
    parts = []
    for table in tables:
        ids = [numbers.setdefault(subject, len(numbers)) for subject in table.subjects]
        parts.append(to_arrow(table, subject_ids=ids, first_process=processes))
        processes += len(table.processes)
    return pa.concat_tables(parts).unify_dictionaries() if parts else SCHEMA.empty_table()


def _expression(selection: Selection) -> ds.Expression | None:
    """Return what Parquet's statistics can rule out."""
    time = ds.field("time")
    kind = SCHEMA.field("time").type
    terms = [
        # A name that was not known when the file was made is empty there: what it is may be known by now.
        (ds.field(column) == value) | (ds.field(column) == "")
        for column, value in {
            "namespace": selection.namespace,
            "workload": selection.workload.rpartition("/")[2],
            "pod": selection.pod,
            "container": selection.container,
        }.items()
        if value
    ]
    if selection.cluster:
        terms.append(ds.field("cluster") == selection.cluster)
    if selection.since:
        terms.append(time >= pa.scalar(selection.since, kind))
    if selection.until:
        terms.append(time < pa.scalar(selection.until, kind))
    expression = None
    for term in terms:
        expression = term if expression is None else expression & term
    return expression


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
