"""Recorded events for the commands that show them: files as tables in time order."""

import sys
from collections.abc import Iterator, Sequence

from peerwatch.columns import EventColumns
from peerwatch.jsonlines import BadLineError, Reader

from collector.archive.timeorder import Lateness, Source, in_order, merge
from collector.commands.terminal import escape
from collector.recordings import RecordingError, check_files, lines_of, shown_name

__all__ = ["read_file", "read_files"]


def read_file(name: str, *, skip_bad_lines: bool = False) -> Iterator[EventColumns]:
    """Yield the events of one file in time order.

    Raises:
        RecordingError: it cannot be read, or a line is no event and bad lines are not to be skipped.
    """
    reader, lateness = Reader(skip_bad_lines=skip_bad_lines), Lateness()
    try:
        yield from in_order(lateness.count(reader.read(lines_of(name))))
    except BadLineError as error:
        raise RecordingError(f"{shown_name(name)}, {error}; correct it or use --skip-bad-lines") from error
    for count, what in ((reader.bad, "bad lines skipped"), (lateness.late, "events late by more than 5 s")):
        if count:
            sys.stderr.write(f"peerwatch: {escape(shown_name(name))}: {count} {what}\n")


def read_files(names: Sequence[str], *, skip_bad_lines: bool = False) -> Iterator[EventColumns]:
    """Yield the events of all files in time order, as if they were one recording.

    Raises:
        RecordingError: see `read_file`.
    """
    check_files(names)
    if len(names) == 1:
        return read_file(names[0], skip_bad_lines=skip_bad_lines)
    return merge([_source(read_file(name, skip_bad_lines=skip_bad_lines)) for name in names])


def _source(tables: Iterator[EventColumns]) -> Source:
    first = next(tables, None)

    def whole() -> Iterator[EventColumns]:
        if first is not None:
            yield first
            yield from tables

    return Source(int(first.time[0]) if first is not None and len(first) else 0, whole)
