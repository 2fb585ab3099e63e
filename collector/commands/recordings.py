"""Recorded events: files of event lines, plain or gzip, or standard input."""

import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from peerwatch.columns import EventColumns
from peerwatch.jsonlines import BadLineError, Reader

from collector.archive.timeorder import Source, in_order, merge
from collector.commands.terminal import escape
from collector.errors import InputError

__all__ = ["STDIN", "check_files", "read_file", "read_files"]

STDIN: Final = "-"

_GZIP = b"\x1f\x8b"


def check_files(names: Sequence[str]) -> None:
    """See that every file can be read, before work begins.

    Raises:
        InputError: one cannot.
    """
    for name in names:
        if name != STDIN:
            with _opened(name):
                pass


@contextmanager
def _opened(name: str) -> Iterator[Iterable[bytes]]:
    if name == STDIN:
        yield sys.stdin.buffer
        return
    try:
        with Path(name).open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            if packed:
                with gzip.open(file, "rb") as lines:
                    yield lines
            else:
                yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name}: damaged gzip file: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error


def read_file(name: str, *, skip_bad_lines: bool = False) -> Iterator[EventColumns]:
    """Yield the events of one file in time order.

    Raises:
        InputError: it cannot be read, or a line is no event and bad lines are not to be skipped.
    """
    reader = Reader(skip_bad_lines=skip_bad_lines)
    with _opened(name) as lines:
        try:
            yield from in_order(reader.read(lines))
        except BadLineError as error:
            raise InputError(
                f"{'standard input' if name == STDIN else name}, {error}; correct it or use --skip-bad-lines"
            ) from error
        if reader.bad:
            sys.stderr.write(f"peerwatch: {escape(name)}: {reader.bad} bad lines skipped\n")


def read_files(names: Sequence[str], *, skip_bad_lines: bool = False) -> Iterator[EventColumns]:
    """Yield the events of all files in time order, as if they were one recording.

    Raises:
        InputError: see `read_file`.
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
