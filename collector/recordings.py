"""Recorded events as they lie around: files of event lines, plain or gzip, pipes, standard input. The same for all commands.

Files of the archive are recordings, too, where speed matters.
"""

import gzip
import io
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, cast

from peerwatch import jsonlines
from peerwatch.columns import EventColumns

from collector.errors import InputError

__all__ = ["STDIN", "RecordingError", "archived", "check_files", "is_archived", "lines_of", "shown_name"]

STDIN: Final = "-"

_GZIP = b"\x1f"
"""How gzip begins and no event line does. One byte, because a pipe may not have more yet."""

_UNPACKED = 1 << 18
"""Bytes that are unpacked at once: what 8 KiB of a packed recording come to, so that each block is one call."""

_PARQUET = b"PAR1"
"""How Parquet files begin."""

_ARCHIVED = {"time", "kind", "subject_id", "process_id"}
"""Columns of every version of the archive."""

_ROWS = 65_536
"""Events of an archive's file that are read at once, as many as its row groups have."""


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
            lines: io.BufferedIOBase = file
            if file.peek(1).startswith(_GZIP):
                lines = stack.enter_context(io.BufferedReader(gzip.GzipFile(fileobj=file), _UNPACKED))
            yield from jsonlines.lines(lines)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise RecordingError(f"{shown_name(name)}: damaged gzip file: {error}; gzip -dc gives what is left of it") from error
    except OSError as error:
        raise _unreadable(name, error) from error


def is_archived(name: str) -> bool:
    """Return whether a file is one of the archive's; pipes are not, and what cannot be read is for others to say."""
    try:
        if name == STDIN or stat.S_ISFIFO(Path(name).stat().st_mode):
            return False
        with Path(name).open("rb") as file:
            return file.read(len(_PARQUET)) == _PARQUET
    except (OSError, ValueError):
        return False


def archived(name: str) -> Iterator[EventColumns]:
    """Yield the events of a Parquet file of the archive, without what no verdict rests on.

    Raises:
        RecordingError: it cannot be read, or is not of the archive.
    """
    import pyarrow as pa  # noqa: PLC0415 — 50 MB and a third of a second, which lines do not need
    import pyarrow.dataset as ds  # noqa: PLC0415 — as above

    from collector.archive.decode import from_arrow  # noqa: PLC0415 — as above
    from collector.archive.schema import SCHEMA, SHOWN_ONLY  # noqa: PLC0415 — as above
    from collector.archive.unsettled import without_marks  # noqa: PLC0415 — as above

    try:
        columns = ds.dataset(name, format="parquet").schema.names
        if not _ARCHIVED.issubset(columns):
            raise RecordingError(
                f"{name}: a Parquet file, but none of the archive: it has the columns {', '.join(columns[:5])} …"
            )
        # Each column is read when it is wanted: to have threads fetch them before costs a third more, and a disk is no store.
        at_once = ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False))
        dataset = ds.dataset(name, schema=SCHEMA, format=at_once)
        judged = [name for name in SCHEMA.names if name not in SHOWN_ONLY]
        for batch in dataset.to_batches(columns=judged, batch_size=_ROWS, batch_readahead=1, use_threads=False):
            if batch.num_rows:
                yield without_marks(from_arrow(pa.Table.from_batches([batch])))
    except pa.ArrowException as error:
        raise RecordingError(f"{name}: damaged Parquet file: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise _unreadable(name, error) from error


def _standard_input() -> io.BufferedReader:
    if sys.stdin is None:
        raise RecordingError("standard input is closed; give a file, or a pipe into -")
    return cast("io.BufferedReader", sys.stdin.buffer)


def _unreadable(name: str, error: Exception) -> RecordingError:
    return RecordingError(f"cannot read {shown_name(name)}: {getattr(error, 'strerror', None) or error}")
