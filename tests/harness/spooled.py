"""What tests of the spool have in common: events that can be told apart, a collector without a network, a disk that is full."""

import resource
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from peerwatch.columns import ColumnsBuilder, EventColumns, EventKind
from peerwatch.subjects import Subject
from peerwatch.v1 import ingest_pb2
from peerwatch.wire import decode

from agent.outbox import Outbox
from agent.spool import Limits, Spool
from agent.spool.age import Uptime

__all__ = ["HOME", "REMEMBERED", "Collector", "after_a_crash", "execs", "full_disk", "open_outbox", "pids", "segments"]

HOME = Subject("c", "n")


def execs(numbers: Iterable[int], *, size: int = 0, count: int = 1, lost: int = 0) -> EventColumns:
    """Return one exec per number, which is its pid and its time; each stands for `count` events."""
    builder = ColumnsBuilder()
    subject = builder.subject(HOME)
    for pid in numbers:
        builder.exec(pid + 1, subject, builder.process(pid=pid, exe=f"/bin/{pid}".ljust(size, "x")), count=count)
    if lost:
        builder.loss(1, subject, reason="RING_FULL", count=lost, begin=1, end=1)
    return builder.build()


def pids(table: EventColumns) -> list[int]:
    """Return the numbers that a table was made of."""
    return [int(table.processes.pid[process]) for process in table.process[table.kind == EventKind.EXEC]]


REMEMBERED = 2
"""Sessions of a node that a collector knows: as few as can be, so that none is needed for longer than a real one's."""


class Collector:
    """Stores each number of a session once, if it is larger than those before; of older sessions it knows nothing any more."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[int, EventColumns]] = {}
        self.tables: list[EventColumns] = []
        """All batches in the order in which they came."""
        self._last: dict[str, int] = {}

    def last(self, session: str) -> int:
        """Return what is acknowledged."""
        return self._last.get(session, 0)

    def take(self, session: str, request: bytes) -> None:
        """Take a batch as it comes."""
        batch = ingest_pb2.StreamRequest.FromString(request).batch
        if batch.sequence <= self.last(session):
            return
        table = decode(batch.columns)
        self.sessions.setdefault(session, {})[batch.sequence] = table
        self.tables.append(table)
        self._last.pop(session, None)
        self._last[session] = batch.sequence
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]

    def drain(self, outbox: Outbox) -> "Collector":
        """Take all that an outbox has, then close it; return itself."""
        connected, written = "", 0
        while outbox:
            if connected != outbox.session:
                connected, written = outbox.session, 0
            elif (batch := outbox.next(written)) is not None:
                written = batch.sequence
                self.take(connected, batch.request)
                continue
            outbox.acknowledge(self.last(connected))
        outbox.close()
        return self

    @property
    def pids(self) -> list[int]:
        """The numbers of all events."""
        return [pid for table in self.tables for pid in pids(table)]

    @property
    def losses(self) -> dict[str, int]:
        """What was reported lost, by reason."""
        lost: Counter[str] = Counter()
        for table in self.tables:
            for reason, count in zip(table.losses.reason.tolist(), table.losses.count.tolist(), strict=True):
                lost[table.strings[reason]] += count
        return dict(+lost)


def open_outbox(
    folder: Path,
    session: str = "s",
    *,
    max_bytes: int = 64 << 20,
    memory_bytes: int = 1 << 20,
    max_age_s: float = 86_400,
    uptime: Uptime | None = None,
) -> tuple[Outbox, Spool]:
    """Return an outbox of node n in cluster c with its spool."""
    limits = Limits(folder=folder, max_bytes=max_bytes, max_age_s=max_age_s)
    spool = Spool(limits, cluster="c", node="n", session=session, uptime=uptime)
    return Outbox("c", "n", memory_bytes, session=session, spool=spool), spool


def after_a_crash(folder: Path) -> Path:
    """Return a copy of the folder as it is now: what an agent that died in this moment leaves."""
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, copy)
    return copy


def segments(folder: Path) -> list[Path]:
    """Return the files of a spool, oldest first."""
    return sorted(folder.glob("*.spool"))


@contextmanager
def full_disk() -> Iterator[None]:
    """Let the kernel refuse whatever makes a file longer, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
