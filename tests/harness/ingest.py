"""A collector as an agent sees it: a real gRPC server on loopback whose answers a test chooses, and what it stored."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from peerwatch.columns import EventColumns, EventKind
from peerwatch.v1 import ingest_pb2, ingest_pb2_grpc
from peerwatch.wire import decode

__all__ = ["Store", "collector", "free_port", "until"]


class Store:
    """A collector's memory across restarts: each (session, number) once."""

    def __init__(self) -> None:
        self.hellos: list[ingest_pb2.Hello] = []
        self.sessions: dict[str, dict[int, EventColumns]] = {}
        self.received: list[int] = []
        self.sent_at: list[int] = []
        """What the sender's clock showed, for each that was received."""
        self.answer: Callable[[int], int | None] = lambda number: number
        self.first_answer: Callable[[], int | None] = lambda: max(self.sessions.get(self.hellos[-1].session, {}), default=0)
        self.pause_s = 0.0

    @property
    def batches(self) -> dict[int, EventColumns]:
        """What is stored, by number: for those that have one session only."""
        (batches,) = self.sessions.values() or ({},)
        return batches

    @property
    def tables(self) -> list[EventColumns]:
        """What is stored, in the order of sessions and numbers."""
        return [table for batches in self.sessions.values() for _, table in sorted(batches.items())]

    @property
    def pids(self) -> list[int]:
        """The pids of all execs that are stored, in that order."""
        return [
            int(each.processes.pid[process]) for each in self.tables for process in each.process[each.kind == EventKind.EXEC]
        ]

    @property
    def lost(self) -> int:
        """How many events were reported lost."""
        return sum(int(each.losses.count.sum()) for each in self.tables)


class _Ingest(ingest_pb2_grpc.IngestServiceServicer):
    def __init__(self, store: Store) -> None:
        self.store = store

    async def Stream(self, request_iterator: Any, context: Any) -> AsyncIterator[ingest_pb2.StreamResponse]:  # noqa: ANN401, N802, ARG002 — as gRPC calls it
        store, session = self.store, ""
        async for request in request_iterator:
            if request.HasField("hello"):
                store.hellos.append(request.hello)
                session = request.hello.session
                answer = store.first_answer()
            else:
                if store.pause_s:
                    await asyncio.sleep(store.pause_s)
                number = request.batch.sequence
                store.received.append(number)
                store.sent_at.append(request.batch.sent_at)
                answer = store.answer(number)
                if answer is not None:
                    store.sessions.setdefault(session, {}).setdefault(number, decode(request.batch.columns))
            if answer is not None:
                yield ingest_pb2.StreamResponse(acknowledged=answer)


@contextlib.asynccontextmanager
async def collector(store: Store, port: int) -> AsyncIterator[None]:
    """Listen on a port of loopback."""
    server = grpc.aio.server()
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(_Ingest(store), server)
    assert server.add_insecure_port(f"127.0.0.1:{port}") == port
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def free_port() -> int:
    """Return a port of loopback that nobody listens on, and that no client is given either while nobody does.

    Clients get theirs from 32768 on (ip_local_port_range), and one of theirs is taken for a minute after it was closed.
    """
    while True:
        port = random.SystemRandom().randrange(16_384, 32_768)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that sets no event."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 — servers in other tasks set no event
            await asyncio.sleep(0.005)
