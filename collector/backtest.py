"""Learning and detection over recorded events: offline, in event time, deterministic.

Files are merged in time order. Lines may be a few seconds late, as from several nodes: events are sorted within that; what is
later is still used, where it stands, and counted. Parquet files of the collector's archive are read as well, four times as fast
as lines.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from peerwatch import jsonlines
from peerwatch.columns import EventColumns

from collector.analysis import Analysis, Settings
from collector.archive.timeorder import SLACK_NS, Lateness, ties_in_order
from collector.recordings import RecordingError, archived, is_archived, lines_of, shown_name
from collector.records import Incident

__all__ = ["RecordingError", "run"]

REPORT_EVERY = 1_000_000
"""Events between two lines of progress: some seconds of work."""


def run(
    files: Sequence[Path | str],
    settings: Settings | None = None,
    *,
    skip_bad_lines: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[Incident]:
    """Yield the incidents of recorded events, each revision once, in the order in which they could be raised.

    Args:
        files: JSON Lines of the event contract, plain or gzip, or Parquet files of an archive; `-` is standard input.
        settings: of the analysis; None: the defaults.
        skip_bad_lines: count lines that are no events instead of stopping.
        report: is given sentences about progress and, at the end, the summary.

    Raises:
        RecordingError: a file cannot be read or a line is no event.
    """
    began = time.perf_counter()
    analysis = Analysis(settings or Settings())
    sources = [_Source(str(file), skip_bad_lines=skip_bad_lines) for file in files]
    events = reported = 0
    for table in _Merge(sources).tables():
        events += len(table)
        yield from analysis.observe(table)
        if events - reported >= REPORT_EVERY:
            reported = events
            report(f"{events:,} events, {events / (time.perf_counter() - began):,.0f} a second")
    # What is still held at the end of a recording is decided as if it went on quietly.
    yield from analysis.finish()
    seconds = time.perf_counter() - began
    report(
        f"{events:,} events in {seconds:.1f} s ({events / max(seconds, 1e-9):,.0f} a second); "
        f"{analysis.counters.unresolved:,} of unknown pods, "
        f"{sum(source.reader.unknown for source in sources):,} lines of unknown kinds, "
        f"{sum(source.reader.bad for source in sources):,} bad lines skipped, "
        f"{sum(source.lateness.late for source in sources):,} events late by more than 5 s"
    )


class _Source:
    """One file, as tables."""

    def __init__(self, name: str, *, skip_bad_lines: bool) -> None:
        self.name = shown_name(name)
        self.reader = jsonlines.Reader(skip_bad_lines=skip_bad_lines)
        self.lateness = Lateness()
        self._tables = self.lateness.count(archived(name) if is_archived(name) else self.reader.read(lines_of(name)))

    @property
    def newest(self) -> int:
        """The youngest time read so far."""
        return self.lateness.newest

    def read(self) -> EventColumns | None:
        """Return the next table, None at the end."""
        try:
            return next(self._tables, None)
        except jsonlines.BadLineError as error:
            raise RecordingError(f"{self.name}, {error}; correct it or use --skip-bad-lines") from error


class _Merge:
    """Several sources as one stream in time order."""

    def __init__(self, sources: list[_Source]) -> None:
        self._open = list(sources)
        self._waiting: list[EventColumns] = []

    def tables(self) -> Iterator[EventColumns]:
        """Yield tables, each sorted and, save for what is late, after those before."""
        while self._open:
            source = min(self._open, key=lambda each: each.newest)
            table = source.read()
            if table is None:
                self._open.remove(source)
            else:
                self._waiting.append(table.sorted_by_time())
            if self._open:
                yield from self._until(min(each.newest for each in self._open) - SLACK_NS)
        yield from self._until(None)

    def _until(self, horizon: int | None) -> Iterator[EventColumns]:
        """Yield what is waiting and not younger than the horizon."""
        ready: list[EventColumns] = []
        rest: list[EventColumns] = []
        for table in self._waiting:
            cut = len(table) if horizon is None else int(np.searchsorted(table.time, horizon, side="right"))
            if cut == len(table):
                ready.append(table)
            elif not cut:
                rest.append(table)
            else:
                ready.append(table.take(np.arange(cut)))
                rest.append(table.take(np.arange(cut, len(table))))
        self._waiting = rest
        yield from _in_order(ready)


def _in_order(tables: list[EventColumns]) -> Iterator[EventColumns]:
    """Yield sorted tables in time order, merging those that overlap."""
    tables.sort(key=lambda each: int(each.time[0]))
    together: list[EventColumns] = []
    newest = 0
    for table in tables:
        if together and int(table.time[0]) > newest:
            yield ties_in_order(EventColumns.concatenate(together).sorted_by_time())
            together = []
        together.append(table)
        newest = max(newest, int(table.time[-1]))
    if together:
        yield ties_in_order(EventColumns.concatenate(together).sorted_by_time())
