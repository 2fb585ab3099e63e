"""Recorded events as they lie around: files of event lines, plain or gzip, pipes, standard input. The same for all commands."""

import gzip
import io
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, cast

from peerwatch import jsonlines

from collector.errors import InputError

__all__ = ["STDIN", "RecordingError", "check_files", "lines_of", "shown_name"]

STDIN: Final = "-"

_GZIP = b"\x1f"
"""How gzip begins and no event line does. One byte, because a pipe may not have more yet."""


class RecordingError(InputError):
    """A recording cannot be used. The text names the file, the line where there is one, and what is wrong."""


def shown_name(name: str) -> str:
    """Return how messages call a file."""
    return "standard input" if name == STDIN else name


def check_files(names: Sequence[str]) -> None:
    """See that every file can be read, before work begins; pipes are left alone, what is read of them is gone.

    Raises:
        RecordingError: one cannot.
    """
    for name in names:
        try:
            if name != STDIN and not stat.S_ISFIFO(Path(name).stat().st_mode):
                with Path(name).open("rb"):
                    pass
        except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
            raise _unreadable(name, error) from error


def lines_of(name: str) -> Iterator[bytes]:
    """Yield the lines of a file; gzip is recognised by its content, and no line takes more memory than an event may.

    Raises:
        RecordingError: it cannot be read.
    """
    try:
        with ExitStack() as stack:
            file = _standard_input() if name == STDIN else stack.enter_context(Path(name).open("rb"))
            lines: IO[bytes] = file
            if file.peek(1).startswith(_GZIP):
                lines = stack.enter_context(io.BufferedReader(gzip.GzipFile(fileobj=file)))
            yield from jsonlines.lines(lines)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise RecordingError(f"{shown_name(name)}: damaged gzip file: {error}; gzip -dc gives what is left of it") from error
    except OSError as error:
        raise _unreadable(name, error) from error


def _standard_input() -> io.BufferedReader:
    if sys.stdin is None:
        raise RecordingError("standard input is closed; give a file, or a pipe into -")
    return cast("io.BufferedReader", sys.stdin.buffer)


def _unreadable(name: str, error: Exception) -> RecordingError:
    return RecordingError(f"cannot read {shown_name(name)}: {getattr(error, 'strerror', None) or error}")
