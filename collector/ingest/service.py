"""Takes the agents' streams: Hello, then batches up and acknowledgements down. Nothing is acknowledged before it is on disk.

Batches of all streams that arrive while the disk is busy are written together. A stream has a few batches under way; beyond
that it is simply not read, and gRPC's flow control holds the agent.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import grpc
from peerwatch.v1 import ingest_pb2, ingest_pb2_grpc
from typing_extensions import override

from collector.ingest.admission import hello_problem
from collector.ingest.counters import Counters
from collector.ingest.pipeline import Pipeline, Received, StoredBatch
from collector.records import Incident

__all__ = ["IngestService"]

LOG = logging.getLogger(__name__)

STREAMS_MAX = 6_000
"""Open streams: one for each node of the largest cluster that Kubernetes supports, and some that reconnect."""

IN_FLIGHT = 8
"""Batches of one stream between reading and acknowledgement."""

GROUP_BYTES = 16 << 20
"""Batches that are written together, bytes on the wire; bounds how long a write takes."""

HELLO_TIMEOUT_S = 10.0
"""A stream that says nothing for this long is closed."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    received: Received
    outcome: "asyncio.Future[StoredBatch]"


class IngestService(ingest_pb2_grpc.IngestServiceServicer):
    """Serves `IngestService` of `ingest.proto`.

    Args:
        pipeline: stores batches; called in `worker` only.
        worker: the one thread that `pipeline` belongs to.
        publish: told of incidents as they come.
        counters: what was refused.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        worker: Executor,
        publish: Callable[[Sequence[Incident]], None],
        counters: Counters,
        streams_max: int = STREAMS_MAX,
    ) -> None:
        self._pipeline = pipeline
        self._worker = worker
        self._publish = publish
        self._counters = counters
        self._streams_max = streams_max
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
        self._streams[key] += 1
        try:
            loop = asyncio.get_running_loop()
            last = await loop.run_in_executor(self._worker, self._pipeline.greet, hello)
            yield ingest_pb2.StreamResponse(acknowledged=last)
            outcomes: asyncio.Queue[asyncio.Future[StoredBatch] | None] = asyncio.Queue(maxsize=IN_FLIGHT)
            reader = asyncio.create_task(self._read(hello, request_iterator, outcomes))
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
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._worker, self._pipeline.admits, first.hello):
            self._counters.add("too_many_nodes")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "this collector knows as many nodes as it may")
        return first.hello

    async def _read(
        self,
        hello: ingest_pb2.Hello,
        requests: AsyncIterator[ingest_pb2.StreamRequest],
        outcomes: "asyncio.Queue[asyncio.Future[StoredBatch] | None]",
    ) -> None:
        """Hand batches in, in order, until the agent ends the stream.

        Raises:
            ValueError: the agent breaks the protocol.
        """
        loop = asyncio.get_running_loop()
        problem = ""
        async for request in requests:
            if request.WhichOneof("message") != "batch":
                problem = "after Hello, every request must be a batch"
                break
            outcome: asyncio.Future[StoredBatch] = loop.create_future()
            await outcomes.put(outcome)
            await self._waiting.put(_Waiting(Received(time.time_ns(), hello, request.batch), outcome))
        await outcomes.put(None)
        if problem:
            self._counters.add("bad_request")
            raise ValueError(problem)
