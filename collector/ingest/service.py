"""Takes the agents' streams: Hello, then batches up and acknowledgements down. Nothing is acknowledged before it is on disk.

Batches of all streams that arrive while the disk is busy are written together. A stream has a few batches under way; beyond
that it is simply not read, and gRPC's flow control holds the agent.

Where agents prove which node they are on, a stream is about that node. Who they are is found out before a call comes here.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import grpc
from peerwatch.v1 import ingest_pb2, ingest_pb2_grpc
from typing_extensions import override

from collector.access import callers
from collector.ingest.admission import hello_problem
from collector.ingest.counters import Counters
from collector.ingest.notices import Notices
from collector.ingest.patience import Patience
from collector.ingest.pipeline import Pipeline, Received, StoredBatch
from collector.records import Incident

__all__ = ["IngestService"]

LOG = logging.getLogger(__name__)

STREAMS_MAX = 6_000
"""Open streams: one for each node of the largest cluster that Kubernetes supports, and some that reconnect."""

STREAMS_OF_A_NODE = 8
"""Open streams of one node: an agent has one, and some that broke may not be known to be gone, for a minute or so."""

IN_FLIGHT = 8
"""Batches of one stream between reading and acknowledgement."""

GROUP_BYTES = 16 << 20
"""Batches that are written together, bytes on the wire; bounds how long a write takes."""

ROOM_BYTES = 32 << 20
"""What the batches of one node that wait may hold, bytes on the wire; one batch may always wait. Agents send 100 kB."""

HELLO_TIMEOUT_S = 10.0
"""A stream that says nothing for this long is closed."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    received: Received
    outcome: "asyncio.Future[StoredBatch]"


@dataclass(slots=True)
class _Room:
    """What the streams of one node may have waiting together: a node that sends the largest messages takes no other's place."""

    streams: int = 0
    bytes: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, size: int, outcome: "asyncio.Future[StoredBatch]") -> None:
        """Wait until there is room, and give it back when the outcome is known."""
        while self.bytes and self.bytes + size > ROOM_BYTES:
            self.left.clear()
            await self.left.wait()
        self.bytes += size
        outcome.add_done_callback(lambda _: self._give(size))

    def _give(self, size: int) -> None:
        self.bytes -= size
        self.left.set()


class IngestService(ingest_pb2_grpc.IngestServiceServicer):
    """Serves `IngestService` of `ingest.proto`.

    Args:
        pipeline: stores batches; called in `worker` only.
        worker: the one thread that `pipeline` belongs to.
        publish: told of incidents as they come.
        counters: what was refused.
        cluster: what agents that prove their node may name as their cluster; empty: anything.
        patience: waits for the names of what a batch speaks of; None: there is nobody who knows them.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        worker: Executor,
        publish: Callable[[Sequence[Incident]], None],
        counters: Counters,
        cluster: str = "",
        patience: Patience | None = None,
        streams_max: int = STREAMS_MAX,
    ) -> None:
        self._pipeline = pipeline
        self._worker = worker
        self._publish = publish
        self._counters = counters
        self._cluster = cluster
        self._patience = patience
        self._streams_max = streams_max
        self._rooms: dict[str | tuple[str, str], _Room] = {}
        self._liars = Notices()  # of proven nodes
        self._streams: Counter[tuple[str, str]] = Counter()
        # Bounded by what streams may have in flight; the policy is to wait.
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(maxsize=256)

    def connected(self, cluster: str, node: str) -> bool:
        """Say whether this node has a stream now."""
        return self._streams[cluster, node] > 0

    async def run(self) -> None:
        """Store what waits, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            group = [await self._waiting.get()]
            size = group[0].received.batch.ByteSize()
            while size < GROUP_BYTES and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
                size += group[-1].received.batch.ByteSize()
            try:
                outcomes, incidents = await loop.run_in_executor(
                    self._worker, self._pipeline.store, [each.received for each in group]
                )
            except Exception:  # a fault in one group must not stop the taking in of events
                LOG.exception("storing failed; nothing of it was acknowledged")
                self._counters.add("store_failed")
                outcomes, incidents = [StoredBatch(error="storing failed; see the collector's log")] * len(group), []
            for each, outcome in zip(group, outcomes, strict=True):
                if not each.outcome.done():
                    each.outcome.set_result(outcome)
            self._publish(incidents)

    @override
    async def Stream(
        self,
        request_iterator: AsyncIterator[ingest_pb2.StreamRequest],
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> AsyncIterator[ingest_pb2.StreamResponse]:
        """Serve one agent."""
        hello = await self._greet(request_iterator, context)
        key = (hello.cluster, hello.node)
        owner = callers.current().node or key  # what is proven, whatever cluster it names
        room = self._rooms.setdefault(owner, _Room())
        if room.streams >= STREAMS_OF_A_NODE:
            self._counters.add("too_many_streams")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{STREAMS_OF_A_NODE} streams of this node are open")
        self._streams[key] += 1
        room.streams += 1
        try:
            loop = asyncio.get_running_loop()
            last = await loop.run_in_executor(self._worker, self._pipeline.greet, hello)
            yield ingest_pb2.StreamResponse(acknowledged=last)
            outcomes: asyncio.Queue[asyncio.Future[StoredBatch] | None] = asyncio.Queue(maxsize=IN_FLIGHT)
            reader = asyncio.create_task(self._read(hello, request_iterator, outcomes, room))
            try:
                while (pending := await outcomes.get()) is not None:
                    outcome = await pending
                    if outcome.error:
                        await context.abort(grpc.StatusCode.UNAVAILABLE, outcome.error)
                    yield ingest_pb2.StreamResponse(acknowledged=outcome.acknowledged)
                try:
                    await reader
                except ValueError as error:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            finally:
                reader.cancel()
        finally:
            self._streams[key] -= 1
            if not self._streams[key]:
                del self._streams[key]
            room.streams -= 1
            if not room.streams:
                del self._rooms[owner]

    async def _greet(
        self, requests: AsyncIterator[ingest_pb2.StreamRequest], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> ingest_pb2.Hello:
        """Return the Hello of a stream that may go on."""
        if self._streams.total() >= self._streams_max:
            self._counters.add("too_many_streams")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{self._streams_max} streams are open; try again later")
        try:
            first = await asyncio.wait_for(anext(requests), HELLO_TIMEOUT_S)
        except (StopAsyncIteration, TimeoutError):
            first = ingest_pb2.StreamRequest()
        problem = hello_problem(first.hello) if first.WhichOneof("message") == "hello" else "the first request must be a Hello"
        if problem:
            self._counters.add("bad_hello")
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        await self._check_node(first.hello, context)
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._worker, self._pipeline.admits, first.hello):
            self._counters.add("too_many_nodes")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "this collector knows as many nodes as it may")
        return first.hello

    async def _check_node(self, hello: ingest_pb2.Hello, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        """End a stream that is about another node than its agent has proven to be on."""
        proven = callers.current().node
        if not proven:
            return
        if hello.node != proven:
            self._tell(proven, f"says that it is node {hello.node[:100]!r}")
            self._counters.add("hello_of_another_node")
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "an agent speaks for its own node only: --node must name it")
        if self._cluster and hello.cluster != self._cluster:
            self._tell(proven, f"says that its cluster is {hello.cluster[:100]!r}, not {self._cluster!r}")
            self._counters.add("hello_of_another_cluster")
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "an agent speaks for its own cluster only: --cluster must be the collector's"
            )

    def _tell(self, node: str, what: str) -> None:
        if self._liars.due(node):
            LOG.warning("the agent of node %r was refused: it %s", node, what)

    async def _read(
        self,
        hello: ingest_pb2.Hello,
        requests: AsyncIterator[ingest_pb2.StreamRequest],
        outcomes: "asyncio.Queue[asyncio.Future[StoredBatch] | None]",
        room: _Room,
    ) -> None:
        """Hand batches in, in order, until the agent ends the stream.

        Raises:
            ValueError: the agent breaks the protocol.
            RefusedCallError: it sends what cannot be read.
        """
        try:
            async for request in requests:
                if request.WhichOneof("message") != "batch":
                    self._counters.add("bad_request")
                    raise ValueError("after Hello, every request must be a batch")  # noqa: TRY301 — one place ends the queue
                await self._hand_in(Received(time.time_ns(), hello, request.batch), outcomes, room)
        except asyncio.CancelledError:  # nobody reads the outcomes any more
            raise
        except BaseException:
            await outcomes.put(None)
            raise
        await outcomes.put(None)

    async def _hand_in(
        self, received: Received, outcomes: "asyncio.Queue[asyncio.Future[StoredBatch] | None]", room: _Room
    ) -> None:
        outcome: asyncio.Future[StoredBatch] = asyncio.get_running_loop().create_future()
        try:
            await room.take(received.batch.ByteSize(), outcome)
            if self._patience is not None:
                await self._patience.wait(received.hello, received.batch)
            await outcomes.put(outcome)
            await self._waiting.put(_Waiting(received, outcome))
        except asyncio.CancelledError:
            outcome.cancel()  # it is waited for by nobody, and gives its room back
            raise
