"""The sender against real gRPC servers that acknowledge, stall, die, come back and talk nonsense."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
import pytest
from harness.ingest import Store, collector, free_port, until
from peerwatch.columns import ColumnsBuilder, EventColumns
from peerwatch.subjects import Subject
from peerwatch.v1 import ingest_pb2, ingest_pb2_grpc

from agent.step import Step
from agent.stream import Pace, Sender

FAST = Pace(retry_first_s=0.02, retry_cap_s=0.2, hello_s=2, stall_s=0.4)


def table(start: int, count: int = 10, size: int = 0) -> EventColumns:
    builder = ColumnsBuilder()
    subject = builder.subject(Subject("c", "n"))
    for time in range(start, start + count):
        builder.exec(time, subject, builder.process(pid=time, exe=f"/bin/{time}".ljust(size, "x")))
    return builder.build()


def has_more_than(store: Store, batches: int) -> bool:
    return len(store.batches) > batches


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return our own lines: gRPC's poller, too, has something to say when a test's event loop ends before it."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("agent")]


def with_sender(body: Callable[[Sender, int], Awaitable[None]], memory_bytes: int = 1 << 20, pace: Pace = FAST) -> None:
    async def main() -> None:
        port = free_port()
        sender = Sender(
            f"127.0.0.1:{port}", cluster="c", node="n", session="s", version="1", memory_bytes=memory_bytes, pace=pace
        )
        run = asyncio.create_task(sender.run())
        await body(sender, port)
        await sender.close(0.5)
        await run

    asyncio.run(main())


def test_events_arrive_in_order_and_close_waits_for_them() -> None:
    store = Store()

    async def body(sender: Sender, port: int) -> None:
        async with collector(store, port):
            for start in range(0, 1000, 10):
                await sender.put(Step([table(start)]))
            assert await sender.close(10) == 0

    with_sender(body)

    assert store.pids == list(range(1000))
    assert sorted(store.batches) == list(range(1, 101))
    assert store.hellos[0] == ingest_pb2.Hello(cluster="c", node="n", session="s", agent_version="1")


def test_a_collector_that_dies_and_comes_back_misses_nothing_and_stores_nothing_twice() -> None:
    store = Store()

    async def body(sender: Sender, port: int) -> None:
        start = 0
        for _ in range(4):
            async with collector(store, port):
                for _ in range(20):
                    await sender.put(Step([table(start)]))
                    start += 10
                half = start // 20
                await until(partial(has_more_than, store, half))
            await sender.put(Step([table(start)]))
            start += 10
        async with collector(store, port):
            assert await sender.close(10) == 0

    with_sender(body)

    assert store.pids == list(range(840))


def test_what_was_not_acknowledged_is_sent_again_under_the_same_number() -> None:
    store = Store()
    store.answer = lambda _: None

    async def body(sender: Sender, port: int) -> None:
        async with collector(store, port):
            await sender.put(Step([table(0)]))
            await sender.put(Step([table(10)]))
            await until(lambda: store.received == [1, 2])
        store.answer = lambda sequence: sequence
        async with collector(store, port):
            assert await sender.close(10) == 0

    with_sender(body)

    assert store.received == [1, 2, 1, 2]
    assert store.pids == list(range(20))


def test_a_batch_says_what_the_clock_shows_each_time_that_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    store.answer = lambda _: None
    shown = 5
    monkeypatch.setattr("agent.stream.time.time_ns", lambda: shown)

    async def body(sender: Sender, port: int) -> None:
        nonlocal shown
        async with collector(store, port):
            await sender.put(Step([table(0)]))
            await until(lambda: store.received == [1])
            shown = -(2**40)
            await sender.put(Step([table(10)]))
            await until(lambda: store.received == [1, 2])
        store.answer = lambda sequence: sequence
        shown = 2**62
        async with collector(store, port):
            assert await sender.close(10) == 0

    with_sender(body)

    assert store.received == [1, 2, 1, 2]
    assert store.sent_at == [5, -(2**40), 2**62, 2**62]
    assert store.pids == list(range(20))


def test_a_collector_that_has_the_batches_but_did_not_say_so_does_not_get_them_again() -> None:
    store = Store()
    store.answer = lambda sequence: 0 if sequence else None

    async def body(sender: Sender, port: int) -> None:
        async with collector(store, port):
            await sender.put(Step([table(0)]))
            await until(lambda: store.received == [1])
        async with collector(store, port):
            assert await sender.close(10) == 0

    with_sender(body)

    assert store.received == [1]


def test_a_collector_that_never_acknowledges_is_left_and_asked_again() -> None:
    store = Store()
    store.answer = lambda _: None

    async def body(sender: Sender, port: int) -> None:
        async with collector(store, port):
            await sender.put(Step([table(0)]))
            await until(lambda: len(store.hellos) >= 2)
            store.answer = lambda sequence: sequence
            assert await sender.close(10) == 0

    with_sender(body)

    assert store.pids == list(range(10))


def test_a_collector_that_does_not_answer_hello_is_left() -> None:
    store = Store()
    store.first_answer = lambda: None

    async def body(sender: Sender, port: int) -> None:
        async with collector(store, port):
            await until(lambda: len(store.hellos) >= 2)
            assert not sender.connected

    with_sender(body, pace=Pace(retry_first_s=0.02, retry_cap_s=0.2, hello_s=0.2, stall_s=1))


def test_an_acknowledgement_of_what_was_never_sent_is_not_believed(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.answer = lambda _: 2**63

    async def body(sender: Sender, port: int) -> None:
        async with collector(store, port):
            await sender.put(Step([table(0)]))
            await until(lambda: len(store.hellos) >= 4)
            assert sender.counters.acknowledged in (0, 10)  # the next Hello's answer is true
            store.answer = lambda sequence: sequence
            assert await sender.close(10) == 0

    store.first_answer = lambda: 0
    with_sender(body)

    assert "batch 9223372036854775808 was acknowledged, but the last one sent is 1" in caplog.text
    assert store.pids == list(range(10))


def test_a_slow_collector_slows_nobody_and_what_it_misses_is_reported() -> None:
    store = Store()
    store.pause_s = 0.02

    async def body(sender: Sender, port: int) -> None:
        async with collector(store, port):
            await until(lambda: sender.connected)
            for start in range(0, 5000, 50):
                async with asyncio.timeout(1):
                    await sender.put(Step([table(start, 50, size=100)]))
                assert sender.held_bytes <= 70_000
                await asyncio.sleep(0)
            store.pause_s = 0.0
            assert await sender.close(10) == 0
        assert sender.counters.produced == 5000
        assert sender.counters.lost == {"QUEUE_FULL": store.lost}

    with_sender(body, memory_bytes=64_000)

    assert store.lost > 0
    assert len(store.pids) + store.lost == 5000
    assert store.pids == sorted(set(store.pids))


def test_an_outage_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent.stream")
    store = Store()

    async def body(sender: Sender, port: int) -> None:
        await sender.put(Step([table(0)]))
        await asyncio.sleep(0.5)  # several tries
        async with collector(store, port):
            await until(lambda: store.pids)
            await until(lambda: len(told(caplog)) == 2)

    with_sender(body, memory_bytes=32 << 20)

    down, up = told(caplog)
    assert down.startswith("collector 127.0.0.1:")
    assert "is not reachable (UNAVAILABLE: " in down
    assert down.endswith("; events are kept (up to 32 MiB) and sent when it is back")
    assert " is back after " in up
    assert "\n" not in down + up


def test_a_collector_that_restarts_at_once_is_not_worth_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent.stream")
    store = Store()

    async def body(sender: Sender, port: int) -> None:
        async with collector(store, port):
            await until(lambda: sender.connected)
        async with collector(store, port):
            await until(lambda: len(store.hellos) == 2)

    with_sender(body, pace=Pace(retry_first_s=1, retry_cap_s=1))

    assert told(caplog) == []


def test_close_gives_up_in_time_and_says_how_many_events_are_left() -> None:
    left: list[int] = []

    async def body(sender: Sender, port: int) -> None:  # noqa: ARG001 — nobody listens there
        await sender.put(Step([table(0, 23)]))
        async with asyncio.timeout(2):
            left.append(await sender.close(0.1))

    with_sender(body)

    assert left == [23]


def test_a_refusal_is_told_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(ingest_pb2_grpc.IngestServiceServicer):
        async def Stream(self, request_iterator: Any, context: Any) -> None:  # noqa: ANN401, N802, ARG002 — as gRPC calls it
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "node n may not speak for m")

    async def body(sender: Sender, port: int) -> None:  # noqa: ARG001 — what counts is the log
        server = grpc.aio.server()
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(Refusing(), server)
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await until(lambda: told(caplog))
        await server.stop(None)

    with_sender(body)

    assert "PERMISSION_DENIED: node n may not speak for m" in caplog.text
