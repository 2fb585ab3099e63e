"""Lines into tables, with what is wrong with a line and in which one it is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from itertools import chain, islice

from peerwatch.columns import EventColumns
from peerwatch.jsonlines.fields import WrongError
from peerwatch.jsonlines.line import MAX_LINE, LineTable, Remembered

__all__ = ["MAX_LINE", "BadLineError", "Reader", "lines", "read"]

ROWS_PER_TABLE = 16_384
"""How many events `read` puts into one table: large enough for column work, small enough to keep memory flat."""

_BLOCK = 1 << 18
"""Bytes that are read and cut into lines at once: to ask a file for one line after the other takes three times as long."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BadLineError(ValueError):
    """A line is no event. The text says what is wrong; `line` counts from 1."""

    def __init__(self, line: int, why: str) -> None:
        """Say which line and why."""
        super().__init__(f"line {line}: {why}")
        self.line = line


@dataclass(slots=True)
class Reader:
    """Reads lines into tables; `unknown` counts lines whose kind of event it does not know, `bad` those it skipped."""

    skip_bad_lines: bool = False
    unknown: int = 0
    bad: int = 0
    lines: int = 0

    def read(self, lines: Iterable[bytes]) -> Iterator[EventColumns]:
        """Yield tables of up to `ROWS_PER_TABLE` events in the order of the lines. Empty lines are passed over.

        Raises:
            BadLineError: a line is no event, and bad lines are not to be skipped.
        """
        remembered = Remembered()
        left = _without_mark(iter(lines))
        while True:
            table = LineTable(remembered)
            for number, line in table.add(islice(left, ROWS_PER_TABLE)):
                if not line.strip():
                    continue
                try:
                    self.unknown += not table.add_any(line)
                except WrongError as wrong:
                    if not self.skip_bad_lines:
                        raise BadLineError(self.lines + number, str(wrong)) from None
                    self.bad += 1
            if len(table):
                yield table.build()
            if not table.lines:
                return
            self.lines += table.lines


def _without_mark(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Return the same lines without the mark that some editors and shells begin files with."""
    first = next(lines, b"")
    return chain([first.removeprefix(BYTE_ORDER_MARK)], lines)


def lines(file: BufferedIOBase) -> Iterator[bytes]:
    """Yield the lines of a file, of one that is too long only its beginning: no more of it than a block is held in memory."""
    begun = b""
    while block := file.read1(_BLOCK):
        end, newline, block = block.partition(b"\n")
        if len(begun) <= MAX_LINE:
            begun += end
        if newline:
            yield (begun + newline)[: MAX_LINE + 1]
            whole = block.rfind(b"\n") + 1
            yield from BytesIO(block[:whole])
            begun = block[whole:]
    if begun:
        yield begun[: MAX_LINE + 1]


def read(lines: Iterable[bytes]) -> Iterator[EventColumns]:
    """Yield tables of the lines' events; see `Reader` for counters and for skipping bad lines."""
    return Reader().read(lines)
