"""The sender: events to the collector over one gRPC stream, kept until they are acknowledged.

A connection begins with Hello and the collector's answer, which says up to which batch it has everything; what it lacks is sent
again under the same sequence numbers, then what is new. Whatever breaks, the next connection begins the same way, so nothing
here needs to know why it broke. What is held meanwhile is `agent.outbox`'s business, and which session is to be continued: when
what an earlier agent left is delivered, the next connection begins with this one's own.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NoReturn

import grpc
from peerwatch.backoff import Backoff
from peerwatch.v1 import ingest_pb2

from agent.credentials import Credentials, NotReadyError, Shown
from agent.outbox import MAX_BYTES, Counters, Outbox, UnknownSequenceError
from agent.pace import Pace, Throttle
from agent.spool import Limits, Spool, SpoolStatus
from agent.step import Recovered, Step

__all__ = ["Pace", "Sender"]

_log = logging.getLogger(__name__)

METHOD = "/peerwatch.v1.IngestService/Stream"

Call = grpc.aio.StreamStreamCall[bytes, ingest_pb2.StreamResponse]

MAX_TEXT = 200
"""Characters of a foreign error that go into a log line."""


@dataclass(slots=True)
class _Outage:
    """What the log was told: one line when it begins, one when it ends."""

    failures: int = 0
    since: float = field(default_factory=time.monotonic)
    told: bool = False


class _BrokenError(Exception):
    """This connection is of no use any more. `vague`: the collector may have said why, but gRPC has not handed it on."""

    def __init__(self, why: str, *, vague: bool = False) -> None:
        super().__init__(why)
        self.vague = vague


class _NextSessionError(Exception):
    """This connection's session is done; the next one needs another connection."""


class Sender:
    """Sends steps to one collector. Belongs to one event loop: call it from there only.

    `run` in a task, `put` as often as there is something, `close` at the end. `recovered` is what the spool knew at first.
    """

    def __init__(
        self,
        collector: str,
        *,
        cluster: str,
        node: str,
        session: str,
        version: str,
        spool: Limits | None = None,
        memory_bytes: int = MAX_BYTES,
        pace: Pace | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        """Open the spool, if there is to be one.

        Args:
            collector: HOST:PORT.
            cluster: goes into Hello.
            node: goes into Hello.
            session: random, one per agent process.
            version: goes into Hello.
            spool: where events are kept until they are delivered; None: in memory only.
            memory_bytes: bound of what is kept in memory.
            pace: how fast and how patiently to send.
            credentials: how both sides know each other; None: not at all.

        Raises:
            ConfigError: the spool's folder cannot be used, or holds events of another node.
        """
        self._collector = collector
        self._credentials = credentials or Credentials()
        self._renewed = False  # files have changed since the present connection began
        self._pace = pace or Pace()
        self._hello = ingest_pb2.Hello(cluster=cluster, node=node, agent_version=version)
        opened = None if spool is None else Spool(spool, cluster=cluster, node=node, session=session)
        self.recovered = Recovered() if opened is None else opened.recovered
        self._outbox = Outbox(cluster, node, memory_bytes, session=session, spool=opened)
        self._throttle = Throttle(self._pace.resend_bytes_per_s, 0.0)  # one for each connection
        self._spool_bytes = 0 if spool is None else spool.max_bytes
        # What an outage may fill, for the log.
        self._room = memory_bytes if spool is None else spool.max_bytes
        self._backoff = Backoff(self._pace.retry_first_s, self._pace.retry_cap_s)
        self._outage = _Outage()
        self._connected = self._running = False
        self.connections = 0
        """How often a collector has answered on a new connection."""
        self._progress_at = time.monotonic()
        # `_news`: there may be something to write. `_settled`: nothing is left. `_closed`: give up.
        self._news = asyncio.Event()
        self._settled = asyncio.Event()
        if not self._outbox:
            self._settled.set()
        self._closed = asyncio.Event()

    @property
    def counters(self) -> Counters:
        """Events found, put in, acknowledged and given up."""
        return self._outbox.counters

    @property
    def held_bytes(self) -> int:
        """What is kept in memory now, bytes."""
        return self._outbox.held_bytes

    @property
    def held_events(self) -> int:
        """How many events are kept now, wherever."""
        return self._outbox.held_events

    @property
    def spool_status(self) -> SpoolStatus:
        """How the spool is."""
        return self._outbox.spool_status

    @property
    def spool_max_bytes(self) -> int:
        """How much the spool may hold, bytes; 0 without one."""
        return self._spool_bytes

    @property
    def connected(self) -> bool:
        """Whether the collector has answered on the present connection."""
        return self._connected

    async def put(self, step: Step) -> None:
        """Take a step in; it is safe then. Never waits for the network, and does not fail: see `Outbox.put`."""
        added = self._outbox.put(step)
        if self._connected and self._outbox.behind:
            self._throttle.produced(added)
        if self._outbox:
            self._settled.clear()
            self._news.set()

    async def close(self, timeout_s: float) -> int:
        """Deliver what is held, for at most `timeout_s` seconds, and end `run`; return how many events were left over.

        What is left over is in the spool, if there is one. Nothing can be put in afterwards.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), timeout_s)
        left = self._outbox.held_events
        self._closed.set()
        if not self._running:
            self._outbox.close()
        return left

    async def run(self) -> None:
        """Connect, send, connect again; returns after `close`."""
        self._running = True
        sending = asyncio.create_task(self._keep_connected())
        ticking = asyncio.create_task(self._tick())
        closed = asyncio.create_task(self._closed.wait())
        try:
            await asyncio.wait((sending, ticking, closed), return_when=asyncio.FIRST_COMPLETED)
            if not closed.done():
                (sending if sending.done() else ticking).result()  # neither returns: this raises
        finally:
            sending.cancel()
            ticking.cancel()
            closed.cancel()
            await asyncio.gather(sending, ticking, closed, return_exceptions=True)
            self._outbox.close()

    async def _tick(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._pace.tick_s)
            self._outbox.tick()
            self._news.set()  # what expired has left a gap

    async def _keep_connected(self) -> NoReturn:
        while True:
            begin = time.monotonic()
            try:
                await self._connect()
            except _BrokenError as broken:
                self._failed(str(broken), expected=self._connected or broken.vague)
            except _NextSessionError:
                continue
            finally:
                self._connected = False
            # A collector that answers and then fails at once is asked less and less often, too.
            if time.monotonic() - begin >= self._pace.retry_cap_s:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.next_s())

    async def _connect(self) -> NoReturn:
        """Use one connection until it breaks.

        Raises:
            _BrokenError: always, the text says why, save for
            _NextSessionError: it worked, and is done.
        """
        pace = self._pace
        options = (
            ("grpc.keepalive_time_ms", int(pace.keepalive_s * 1000)),
            ("grpc.keepalive_timeout_ms", int(pace.keepalive_timeout_s * 1000)),
            # A channel per connection, with no memory of earlier failures: the pauses between tries are ours.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
        )
        try:
            shown = self._credentials.read()
        except NotReadyError as error:
            raise _BrokenError(str(error)) from None
        self._renewed = False
        async with _channel(self._collector, shown, options) as channel:
            method = channel.stream_stream(METHOD, _as_it_is, ingest_pb2.StreamResponse.FromString)
            call = method(metadata=shown.metadata)
            try:
                async with _errors():
                    await self._converse(call, shown)
            finally:
                call.cancel()

    async def _converse(self, call: Call, shown: Shown) -> NoReturn:
        session = self._outbox.session
        self._hello.session = session
        try:
            async with asyncio.timeout(self._pace.hello_s):
                await call.write(ingest_pb2.StreamRequest(hello=self._hello).SerializeToString())
                acknowledged = await self._read(call)
        except TimeoutError:
            raise _BrokenError(f"no answer in {self._pace.hello_s:.0f} s") from None
        self._acknowledge(acknowledged)
        self._progress_at = time.monotonic()
        self._throttle = Throttle(self._pace.resend_bytes_per_s, time.monotonic())
        self._connected = True
        self.connections += 1
        if not self._outbox.unacknowledged:
            self._recovered()
        parts = (
            self._read_all(call, session),
            self._write_all(call, session),
            self._watch_progress(),
            self._watch_credentials(shown),
        )
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            # The first that fails ends the connection; none of them returns.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        raise next((each for each in results if isinstance(each, Exception)), _BrokenError("the stream was cancelled"))

    async def _write_all(self, call: Call, session: str) -> NoReturn:
        written = 0
        while True:
            self._news.clear()
            if self._outbox.session != session:
                raise _NextSessionError
            # A renewed token is shown before the old one ends; what is under way is waited for, so that nothing is sent twice.
            if self._renewed and not self._outbox.unacknowledged:
                raise _NextSessionError
            batch = None if self._renewed else self._outbox.next(written)
            if batch is None:
                await self._news.wait()
                continue
            written = batch.sequence
            if self._outbox.behind:
                await asyncio.sleep(self._throttle.sent(len(batch.request), time.monotonic()))
            if self._outbox.unacknowledged == 1:
                self._progress_at = time.monotonic()  # the wait for an acknowledgement begins here
            await call.write(batch.request + _sent_at(time.time_ns()))

    async def _read_all(self, call: Call, session: str) -> NoReturn:
        while True:
            acknowledged = await self._read(call)
            if self._outbox.session == session:  # else all of it is acknowledged, and the connection about to end
                self._acknowledge(acknowledged)

    async def _watch_progress(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._pace.stall_s / 4)
            if self._outbox.unacknowledged and time.monotonic() - self._progress_at > self._pace.stall_s:
                raise _BrokenError(f"nothing acknowledged for {self._pace.stall_s:.0f} s")

    async def _watch_credentials(self, shown: Shown) -> NoReturn:
        while True:
            await asyncio.sleep(self._pace.renewal_s)
            with contextlib.suppress(NotReadyError):  # what was shown is still good, or the collector will say so
                if self._credentials.read() != shown:
                    self._renewed = True
                    self._news.set()

    async def _read(self, call: Call) -> int:
        response = await call.read()
        if not isinstance(response, ingest_pb2.StreamResponse):
            raise _BrokenError("it ended the stream")
        return response.acknowledged

    def _acknowledge(self, sequence: int) -> None:
        try:
            news = self._outbox.acknowledge(sequence)
        except UnknownSequenceError as error:
            raise _BrokenError(str(error)) from None
        if news:
            self._progress_at = time.monotonic()
            self._recovered()
            self._backoff.reset()
            self._news.set()
        if not self._outbox:
            self._settled.set()

    def _failed(self, why: str, *, expected: bool) -> None:
        outage = self._outage
        if not outage.failures:
            outage.since = time.monotonic()
        outage.failures += 1
        # A connection that breaks after it worked is not told, since most are back at once, nor one without a reason, since the
        # next try will have it; a second failure is.
        if not outage.told and (outage.failures > 1 or not expected):
            outage.told = True
            _log.warning(
                "collector %s is not reachable (%s); events are kept (up to %s) and sent when it is back",
                self._collector,
                why,
                _size(self._room),
            )

    def _recovered(self) -> None:
        if self._outage.told:
            _log.info("collector %s is back after %.0f s", self._collector, time.monotonic() - self._outage.since)
        self._outage = _Outage()


def _channel(collector: str, shown: Shown, options: tuple[tuple[str, int], ...]) -> grpc.aio.Channel:
    if shown.authority is None:
        return grpc.aio.insecure_channel(collector, options=options)
    trust = grpc.ssl_channel_credentials(shown.authority, shown.key, shown.certificate)
    return grpc.aio.secure_channel(collector, trust, options=options)


def _sent_at(now_ns: int) -> bytes:
    """Return what makes a batch's request say when it was sent: parts of one message that follow each other are merged."""
    return ingest_pb2.StreamRequest(batch=ingest_pb2.EventBatch(sent_at=now_ns)).SerializeToString()


def _as_it_is(request: bytes) -> bytes:
    return request


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


@contextlib.asynccontextmanager
async def _errors() -> AsyncIterator[None]:
    """Turn what gRPC raises into `_BrokenError`."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        details = " ".join((error.details() or "no details").split())[:MAX_TEXT]
        # A write that meets the end of its call half-way: the client's own error takes the place of the server's status.
        vague = error.code() is grpc.StatusCode.INTERNAL and "execute_batch" in (error.debug_error_string() or "")
        raise _BrokenError(f"{error.code().name}: {details}", vague=vague) from error
    except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:  # written to a call that has just ended
        raise _BrokenError(f"the stream ended: {error}", vague=True) from error
