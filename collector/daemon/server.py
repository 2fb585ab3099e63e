"""The collector as a whole: one data directory, one worker thread, one gRPC server, and a tick that lets time pass.

Concurrency: asyncio for the network; a worker thread owns journal, detection and the writing of state; a sealer thread makes
Parquet files; a few reader threads answer queries.
"""

import asyncio
import contextlib
import fcntl
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import grpc
from peerwatch.v1 import ingest_pb2_grpc, query_pb2_grpc

from collector.access.entrance import SERVER_OPTIONS as ACCESS_OPTIONS, Entrance
from collector.access.settings import AccessSettings
from collector.analysis.curated import CuratedAnalysis
from collector.archive.journal import SEGMENT_AGE_NS, SEGMENT_BYTES, Journal, ReadReport, Segment
from collector.archive.store import Archive
from collector.cluster.completing import Completion
from collector.cluster.watching import ClusterWatch
from collector.daemon.curation import CurationService
from collector.daemon.curator import Curator
from collector.daemon.query import QueryService, Sources
from collector.daemon.watchers import Watchers
from collector.errors import StorageError, UnavailableError
from collector.ingest.counters import Counters
from collector.ingest.patience import Patience
from collector.ingest.pipeline import Pipeline
from collector.ingest.service import IngestService
from collector.state import State

__all__ = ["CollectorSettings", "serve"]

LOG = logging.getLogger(__name__)

TICK_S = 0.2
"""How often held findings are looked at and the state is written: "within seconds" leaves room for a few of these."""

SEAL_RETRY_S = 60.0
"""After a failure to seal, the next try comes this much later."""

GRACE_S = 2.0
"""How long calls may take to end when the collector stops."""

END_SEAL_S = 5.0
"""How long sealing may go on when the collector stops: Kubernetes kills after 30 s. What is not sealed stays in the journal,
to be sealed by the next run."""

MESSAGE_MAX = 16 << 20
"""Largest message that is taken, bytes; agents send a hundred kilobytes."""

SERVER_OPTIONS = (
    *ACCESS_OPTIONS,
    ("grpc.so_reuseport", 0),  # a second collector on the port is an error, not a silent partner
    ("grpc.max_receive_message_length", MESSAGE_MAX),
    ("grpc.max_send_message_length", -1),  # a baseline or a list of incidents is as long as it is
    # Agents ping each 30 s (keepalive_time_ms); less than this between pings would earn them GOAWAY.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 60_000),  # a node that vanished without closing is noticed
    ("grpc.keepalive_timeout_ms", 20_000),
)


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """Where a collector listens and keeps its data."""

    data: Path
    listen: str = "127.0.0.1:7443"
    """HOST:PORT; port 0 is any free one."""
    segment_bytes: int = SEGMENT_BYTES
    segment_age_ns: int = SEGMENT_AGE_NS
    access: AccessSettings = field(default_factory=AccessSettings)
    watch: ClusterWatch | None = None
    """The cluster that events come from, if it is to say whose they are."""


@contextlib.contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Hold the data directory: two collectors on one would acknowledge what the other overwrites.

    Raises:
        UnavailableError: it cannot be written, or another collector holds it.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        handle = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UnavailableError(
            f"cannot write the data directory {data}: {error.strerror}; give --data a directory that this user can write"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise UnavailableError(
            f"another collector uses the data directory {data}; stop it or give --data another directory"
        ) from error
    try:
        yield
    finally:
        os.close(handle)


def _check_port(listen: str) -> None:
    """Say plainly why an address cannot be listened on; gRPC's own message does not.

    Raises:
        UnavailableError: the port is in use or the address is not this host's.
    """
    host, _, port = listen.rpartition(":")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise UnavailableError(
            f"cannot listen on {listen}: {error.strerror}; choose another --listen HOST:PORT (port 0: any free one)"
        ) from error


async def serve(settings: CollectorSettings, analysis: CuratedAnalysis, *, ready: Callable[[int], None]) -> None:
    """Run a collector until SIGINT or SIGTERM; `ready` is told the port.

    Raises:
        UnavailableError: the port or the data directory cannot be used.
    """
    with _locked(settings.data):
        _check_port(settings.listen)
        try:
            state = State.for_file(settings.data / "state.db")
            journal = Journal(
                settings.data / "journal",
                after=max(state.sealed(), default=0),
                segment_bytes=settings.segment_bytes,
                segment_age_ns=settings.segment_age_ns,
            )
            archive = Archive(settings.data / "archive", Completion(state, settings.watch))
        except (StorageError, OSError) as error:
            raise UnavailableError(f"cannot use the data directory {settings.data}: {error}") from error
        collector = _Collector(settings, journal, state, archive, analysis)
        try:
            await collector.run(ready)
        finally:
            state.close()


class _Collector:
    """One run."""

    def __init__(
        self, settings: CollectorSettings, journal: Journal, state: State, archive: Archive, analysis: CuratedAnalysis
    ) -> None:
        self._settings = settings
        self._archive = archive
        self._state = state
        self._counters = Counters()
        self._watchers = Watchers(self._counters)
        self._pipeline = Pipeline(
            journal=journal, state=state, analysis=analysis, counters=self._counters, watch=settings.watch
        )
        self._curator = Curator(state, analysis)
        self._entrance = Entrance(settings.access, count=self._counters.add)
        self._worker = ThreadPoolExecutor(1, "worker")
        self._sealer = ThreadPoolExecutor(1, "sealer")
        self._readers = ThreadPoolExecutor(4, "reader")
        self._seal_after = 0.0

    async def run(self, ready: Callable[[int], None]) -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        watch = self._settings.watch
        if watch is not None:
            watch.start()  # before anything else: lists take a while
        await loop.run_in_executor(self._worker, self._curator.load)  # first: recovery judges by what is decided
        await loop.run_in_executor(self._worker, self._pipeline.recover)
        ingest = IngestService(
            self._pipeline,
            worker=self._worker,
            publish=self._watchers.publish,
            counters=self._counters,
            cluster=self._settings.access.cluster,
            patience=None if watch is None else Patience(watch, time.monotonic()),
        )
        server = grpc.aio.server(interceptors=[self._entrance.gate], options=SERVER_OPTIONS)
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(ingest, server)
        query_pb2_grpc.add_QueryServiceServicer_to_server(QueryService(self._sources(ingest)), server)
        curation = CurationService(self._curator, worker=self._worker, counters=self._counters)
        query_pb2_grpc.add_CurationServiceServicer_to_server(curation, server)
        port = self._entrance.listen(server, self._settings.listen)
        await server.start()
        tasks = [asyncio.create_task(each) for each in (ingest.run(), self._ticks(), self._seals(), self._entrance.run())]
        ready(port)
        stop = asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
            await server.stop(GRACE_S)
        finally:
            for task in (stop, *tasks):
                task.cancel()
            results = await asyncio.gather(stop, *tasks, return_exceptions=True)
            await self._end()
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _sources(self, ingest: IngestService) -> Sources:
        return Sources(
            pipeline=self._pipeline,
            curator=self._curator,
            worker=self._worker,
            state=self._state,
            archive=self._archive,
            readers=self._readers,
            watchers=self._watchers,
            counters=self._counters,
            connected=ingest.connected,
            authority_ends=lambda: self._entrance.authority_ends,
            version=version("peerwatch"),
            started=time.time_ns(),
        )

    async def _ticks(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._watchers.publish(await loop.run_in_executor(self._worker, self._pipeline.tick, time.time_ns()))
            await asyncio.sleep(TICK_S)

    async def _seals(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if time.monotonic() >= self._seal_after:
                await self._seal_closed()

    async def _seal_closed(self, until: float = math.inf) -> None:
        """Seal what is closed; none is begun after `until` (monotonic seconds)."""
        loop = asyncio.get_running_loop()
        for segment in self._pipeline.closed_segments():
            if time.monotonic() > until:
                return
            report = ReadReport()
            try:
                files = await loop.run_in_executor(self._sealer, self._archive.write, segment, report)
                await loop.run_in_executor(self._worker, self._pipeline.sealed, segment, files, time.time_ns())
            except Exception as error:  # noqa: BLE001 — a segment that cannot be sealed stays readable in the journal
                self._seal_failed(segment, error)
                return
            self._counters.add("journal_damaged_at_sealing", report.damaged)

    def _seal_failed(self, segment: Segment, error: Exception) -> None:
        known = isinstance(error, StorageError | OSError)
        LOG.error("cannot seal %s: %s; trying again in %d s", segment.path, error, SEAL_RETRY_S, exc_info=not known)
        self._counters.add("seal_failed")
        self._seal_after = time.monotonic() + SEAL_RETRY_S

    async def _end(self) -> None:
        """Write everything that is still in memory, and seal the journal as far as there is time."""
        loop = asyncio.get_running_loop()
        if self._settings.watch is not None:
            self._settings.watch.stop()
        await loop.run_in_executor(self._worker, self._pipeline.tick, time.time_ns())
        await loop.run_in_executor(self._worker, self._pipeline.rotate, time.time_ns())
        await self._seal_closed(time.monotonic() + END_SEAL_S)
        for executor in (self._worker, self._sealer, self._readers):
            executor.shutdown(cancel_futures=True)
        self._entrance.close()
